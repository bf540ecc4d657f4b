/* What the verifier trusts and how it judges one request. No HTTP here. Shared among threads. */
#ifndef VERIFIER_ENGINE_H
#define VERIFIER_ENGINE_H

#include <pthread.h>

#include <dstack/attestation.h>
#include <dstack/attestation_policy.h>
#include <dstack/cert.h>
#include <dstack/tpm.h>
#include <dstack/verifier.h>

#include "base/auto.h"
#include "service/image_store.h"
#include "request.h"
#include "service/collateral.h"
#include "service/snp_certs.h"

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)
DSTACK_AUTO_DEFINE(policy, dstack_attestation_policy, dstack_attestation_policy_free)
DSTACK_AUTO_DEFINE(verified, dstack_verified, dstack_verified_free)

#define ENGINE_ROOTS_MAX 16
#define ENGINE_FOLDERS_MAX 32

/* Texts are borrowed while engine_open() runs. */
typedef struct engine_options {
    const char *tdx_root; /* PEM (one or more) or DER, in place of Intel's; NULL or "": Intel's */
    const char *snp_milan_root, *snp_genoa_root, *snp_turin_root; /* in place of AMD's, the same */
    const char *nitro_enclave_root, *nitro_tpm_root;              /* in place of AWS's */
    const char *gcp_tpm_root;                                     /* in place of Google's */
    const char *const *collateral;                                /* bundle files */
    size_t collateral_count;
    const char *const *pccs; /* servers; none: nothing is fetched */
    size_t pccs_count;
    int64_t pccs_timeout_ms;
    bool fetch_tpm;         /* certificates and lists of vTPM keys, from Google Cloud's storage */
    const char *pccs_cache; /* folder in which what was fetched is kept; NULL: none */
    const char *const
        *kds; /* AMD's key distribution service or mirrors; none: nothing is fetched */
    size_t kds_count;
    bool snp_require_crl;
    const char *const *image_dirs; /* folders of images that the operator vouches for */
    size_t image_dir_count;
    const char *policy; /* document that every attestation must satisfy; NULL or "": none */
    bool download;      /* by the options below */
    image_store_options store;
} engine_options;

typedef struct engine_folder {
    char *path;
    char hash[65];
    bool is_dev;
    char version[32];
} engine_folder;

typedef struct engine {
    dstack_verifier *verifier;
    dstack_buf root_ders[6];        /* DER; what the next member borrows */
    dstack_platform_roots platform; /* empty ones: the vendors' own */
    collateral_fetcher *fetcher;
    dstack_tpm_fetcher *tpm_fetcher; /* NULL: nothing is fetched for vTPMs */
    image_store *store;              /* NULL: nothing is downloaded */
    snp_fetcher *snp_fetcher;
    bool snp_require_crl;
    engine_folder folders[ENGINE_FOLDERS_MAX];
    size_t folder_count;
    bool open;
    pthread_rwlock_t policy_lock; /* of the pointer below */
    dstack_attestation_policy *policy;
} engine;

/* The engine stays where it is until it is closed. */
int engine_open(engine *out, const engine_options *options, dstack_error *err);
/* Reads the policy again; on failure the old one stays. */
int engine_load_policy(engine *e, const char *path, dstack_error *err);
void engine_close(engine *e);
DSTACK_AUTO_DEFINE_CLEAR(engine, engine, engine_close)

/* Where the image that the registers follow from came from. */
typedef enum image_source {
    IMAGE_NONE,     /* no image was established */
    IMAGE_DOCUMENT, /* the measurement document that the prover brought */
    IMAGE_FOLDER,   /* the operator's own copy */
    IMAGE_DOWNLOAD, /* fetched by its hash */
} image_source;
const char *image_source_name(image_source source);

/* The first check that failed, in the order in which they run. */
typedef enum verdict_stage {
    STAGE_DECODE,
    STAGE_QUOTE, /* evidence, report data, event log against registers */
    STAGE_IMAGE,
    STAGE_IDENTITY,
    STAGE_POLICY, /* the evidence holds; the operator's policy refuses */
    STAGE_DONE,
} verdict_stage;

typedef struct verdict {
    bool valid;
    bool bare; /* a quote without an event log: has_quote is all that there is */
    verdict_stage stage;
    const dstack_attestation *attestation; /* NULL when it could not be decoded */
    dstack_attestation *owned;             /* the same, or NULL when it is the certificate's */
    dstack_cert *cert;                     /* where the attestation came in one */
    dstack_verified *verified; /* from STAGE_IMAGE on: all that holds without the image */
    bool has_quote;            /* the quote below was verified, whatever failed later */
    dstack_quote_report quote;
    bool config_unreadable; /* `verified` is then what holds with an empty configuration */
    dstack_attestation_decision *decision; /* NULL without a policy, or before it was asked */
    image_source source;
    bool acpi_recomputed;
    bool debug;                           /* asked for */
    json_t *acpi_tables, *register_debug; /* NULL: not asked for, or nothing to tell */
    bool image_known; /* is_dev and version below come from an image's metadata */
    bool is_dev;
    char version[32];
    dstack_error error;
    int64_t now;
    bool now_given;                               /* not this machine's clock */
    char reason[DSTACK_ERROR_MESSAGE_SIZE + 128]; /* "" when valid */
} verdict;

void engine_judge(engine *e, const verify_request *request, int64_t now, verdict *out);
/* The attestation of a certificate (PEM or DER), bound to its key. Who issued it does not matter. */
void engine_judge_cert(engine *e, dstack_bytes encoded, int64_t now, verdict *out);
/* A bare Intel quote: genuine or not. What runs it does not tell. */
void engine_judge_quote(engine *e, dstack_bytes quote, int64_t now, verdict *out);
void verdict_clear(verdict *v);
DSTACK_AUTO_DEFINE_CLEAR(verdict, verdict, verdict_clear)

#endif
