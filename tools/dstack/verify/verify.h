/* What `dstack verify` is made of: answers taken from an address (connect.c), parsed (answers.c),
 * judged step by step (party.c, app.c, chain.c), and shown (report.c). Only connect.c does I/O; the
 * rest are calculators that take what it brought. */
#ifndef DSTACK_VERIFY_VERIFY_H
#define DSTACK_VERIFY_VERIFY_H

#include <jansson.h>

#include <dstack/attestation.h>
#include <dstack/cert.h>
#include <dstack/policy.h>
#include <dstack/verifier.h>

#include "base/auto.h"

#define VERIFY_NONCE_SIZE 32
#define VERIFY_CHAIN_MAX 8
/* Longest answers that are read. */
#define VERIFY_ACME_INFO_MAX ((size_t)16 << 20)
#define VERIFY_EVIDENCE_MAX ((size_t)8 << 20)

/* ---- the address ------------------------------------------------------------------------------
 */

/* A host name as gateways form it: <id>[-[<port>][s|g]].<base>. */
typedef struct verify_name {
    char host[256];
    char id[48];    /* app or instance id in lower case, or "gateway"; "": a name of another form */
    char base[256]; /* "" for a name of another form */
} verify_name;

void verify_name_split(const char *host, verify_name *out);
bool verify_name_is_gateway(const verify_name *name);

/* ---- answers ----------------------------------------------------------------------------------
 */

/* What came over the network. Nothing in it is believed. */
typedef struct verify_answers {
    verify_name name;
    char tls[96];                       /* version and cipher of the connection that is judged */
    dstack_buf chain[VERIFY_CHAIN_MAX]; /* its server's certificates, DER, leaf first */
    size_t chain_count;
    dstack_buf acme_info; /* the gateway's answer */
    dstack_error acme_error;
    uint8_t nonce[VERIFY_NONCE_SIZE]; /* ours, fresh */
    dstack_buf evidence;              /* the guest's answer to it */
    dstack_buf evidence_leaf; /* DER of the certificate of the connection that it came over */
    dstack_error evidence_error;
} verify_answers;

void verify_answers_clear(verify_answers *answers);
DSTACK_AUTO_DEFINE_CLEAR(verify_answers, verify_answers, verify_answers_clear)

/* The attestation that acme-info gives for a key. DSTACK_E_NOT_FOUND when the key is not there;
 * *keys counts those that are. */
int verify_parse_acme_info(dstack_bytes text, dstack_bytes spki, dstack_attestation **out,
                           size_t *keys, dstack_error *err);
/* The guest's public evidence: its attestation, and its certificate chain as PEM text. */
int verify_parse_evidence(dstack_bytes text, dstack_attestation **out, dstack_buf *chain_pem,
                          dstack_error *err);

/* ---- what the caller demands ------------------------------------------------------------------
 */

typedef struct verify_demands {
    dstack_verifier *verifier; /* roots are in it, and the collateral that was given; NULL:
                                            Intel quotes are refused */
    dstack_collateral_source collateral; /* gets what is missing, or NULL */
    void *collateral_user;
    dstack_snp_certs_source snp_certs; /* the same for AMD's certificates */
    void *snp_certs_user;
    dstack_tpm_collateral_source tpm_collateral; /* and for a cloud's vTPM */
    void *tpm_collateral_user;
    const dstack_platform_roots *roots; /* in place of other vendors' than Intel, or NULL */
    const dstack_policy *policy;
    bool policy_is_default; /* nobody chose it: platforms without TCB levels may pass */
    int64_t now;
    const char *const *images; /* folders of reference images */
    size_t image_count;
    const uint8_t *compose_hash;   /* 32 bytes of the manifest that it must be, or NULL */
    const uint8_t *app_id;         /* 20 bytes, or NULL */
    const uint8_t *gateway_app_id; /* 20 bytes, or NULL */
    dstack_bytes kms_root;         /* certificate, PEM or DER; empty: none */
    bool insecure_dev;             /* insecure modes of issuers may pass */
    dstack_bytes ca;               /* PEM roots for the public name; empty: the system's store */
} verify_demands;

/* ---- steps ------------------------------------------------------------------------------------
 */

/* In the order of the chain of trust. The first four of either party stand together. */
typedef enum verify_step_id {
    VERIFY_ROOT,
    VERIFY_TCB,
    VERIFY_FIRMWARE,
    VERIFY_IMAGE,
    VERIFY_KMS,
    VERIFY_MANIFEST,
    VERIFY_IDENTITY,
    VERIFY_EVIDENCE,
    VERIFY_GATEWAY_ROOT,
    VERIFY_GATEWAY_TCB,
    VERIFY_GATEWAY_FIRMWARE,
    VERIFY_GATEWAY_IMAGE,
    VERIFY_GATEWAY_IDENTITY,
    VERIFY_ROUTING,
    VERIFY_CERTIFICATE,
    VERIFY_PUBLIC_NAME,
    VERIFY_CONNECTION,
    VERIFY_STEPS,
} verify_step_id;

typedef enum verify_outcome {
    VERIFY_NOT_REACHED, /* something before it failed */
    VERIFY_HOLDS,
    VERIFY_FAILS,
} verify_outcome;

typedef struct verify_step {
    bool used;     /* belongs to this address's chain */
    bool optional; /* told, but the verdict does not rest on it */
    bool caveat;   /* holds, but nothing of the caller's own was compared */
    verify_outcome outcome;
    dstack_anchor anchor;
    char evidence[256];
    char detail[DSTACK_ERROR_MESSAGE_SIZE];
} verify_step;

typedef enum verify_mode {
    VERIFY_TERMINATED,  /* a gateway ends TLS before the app */
    VERIFY_PASSTHROUGH, /* the app ends TLS itself */
    VERIFY_GATEWAY,     /* the gateway's own pages */
} verify_mode;

typedef struct verify_report {
    verify_mode mode;
    verify_step steps[VERIFY_STEPS];
    bool insecure; /* simulated hardware, or an issuer in an insecure mode, had a part in it */
    dstack_verified *app;     /* NULL when not verified */
    dstack_verified *gateway; /* the same */
} verify_report;

void verify_report_clear(verify_report *report);
DSTACK_AUTO_DEFINE_CLEAR(verify_report, verify_report, verify_report_clear)

/* "hardware-root", "gateway.os-image", "connection", ... */
const char *verify_step_name(verify_step_id id);
void verify_holds(verify_report *report, verify_step_id id, dstack_anchor anchor);
/* Copies the error's message. */
void verify_fails(verify_report *report, verify_step_id id, const dstack_error *err);
void verify_evidence(verify_report *report, verify_step_id id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void verify_detail(verify_report *report, verify_step_id id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Marks a step as holding, with something left for the caller to judge. */
void verify_caveat(verify_report *report, verify_step_id id);

/* The step for which the address is refused: the first that fails, else the first that was not
 * reached. False when every step holds that the verdict rests on. */
bool verify_refusal(const verify_report *report, verify_step_id *id);

/* ---- judging ----------------------------------------------------------------------------------
 */

/* Judges evidence into the four steps that begin with `first` (VERIFY_ROOT or
 * VERIFY_GATEWAY_ROOT). True, and *out, when all hold. */
bool verify_judge_party(const verify_demands *demands, const dstack_attestation *attestation,
                        verify_step_id first, verify_report *report, dstack_verified **out);
/* KMS, manifest and identity of a verified app. False when one fails. */
bool verify_judge_app(const verify_demands *demands, const verify_name *name,
                      verify_report *report);
/* Which gateway it is. False when it is another than the one demanded. */
bool verify_judge_gateway(const verify_demands *demands, verify_report *report);
/* The chain of an app's certificate, PEM: each as its issuer may have made it for this app, under
 * the KMS that is demanded, if one is. *marked when an issuer says that it runs in an insecure
 * mode, which is refused unless the caller let that pass. */
int verify_check_issuer(const verify_demands *demands, dstack_bytes chain_pem,
                        const dstack_identity *app, bool *marked, dstack_error *err);
/* Whether the public PKI vouches that the chain is the host's. */
int verify_check_public_name(const verify_answers *answers, dstack_bytes ca, int64_t now,
                             dstack_error *err);
/* Judges everything. */
void verify_judge(const verify_demands *demands, const verify_answers *answers,
                  verify_report *report);

/* ---- edges ------------------------------------------------------------------------------------
 */

typedef struct verify_target {
    const char *url;
    const char *connect; /* "address:port", or NULL */
    int timeout_ms;      /* of each exchange */
} verify_target;

/* Connects and takes the answers. Fails only when the address itself cannot be reached; what cannot
 * be had beyond it is in the answers as an error. */
int verify_connect(const verify_target *target, verify_answers *answers, dstack_error *err);

/* The document of --json. */
json_t *verify_report_json(const verify_report *report, const char *url);
struct cli;
/* The tree for people. */
void verify_report_print(struct cli *cli, const verify_report *report, const char *url);

DSTACK_AUTO_DEFINE(dstack_attestation, dstack_attestation, dstack_attestation_free)
DSTACK_AUTO_DEFINE(dstack_cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(dstack_verified, dstack_verified, dstack_verified_free)

#endif
