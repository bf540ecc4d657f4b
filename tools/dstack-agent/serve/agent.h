/* The agent that serves the guest's containers and, in a small part, the world. */
#ifndef AGENT_SERVE_AGENT_H
#define AGENT_SERVE_AGENT_H

#include <pthread.h>
#include <stdatomic.h>

#include <dstack/attestation.h>
#include <dstack/keys.h>
#include <dstack/manifest.h>

#include "boot/sys_config.h"
#include "keys/app_keys.h"
#include "keys/cert_client.h"
#include "service/http.h"
#include "service/rpc.h"

#define AGENT_VERSION "0.6.0" /* API level that clients ask for */

/* The Info answers that differ: v0 and v1, each with its documents and without. */
#define AGENT_INFO_FORMS 4

/* Makes one attestation; called by one thread at a time. */
typedef int agent_attest_fn(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                            dstack_attestation **out, dstack_error *err);

/* Identity and registers, taken once: they are fixed when the boot is done. */
typedef struct agent_info {
    dstack_identity identity;
    char *tcb_info; /* pretty JSON text */
} agent_info;

/* Shared among the server's threads; what changes is behind a lock. */
typedef struct agent {
    app_keys keys;
    dstack_manifest *manifest;
    const dstack_manifest_fields *app;
    char *compose_text;
    sys_config config;
    char *vm_config;
    char cloud_vendor[128], cloud_product[128];
    bool insecure_dev;
    bool evidence_at_once;   /* no device to wait for (simulator) */
    bool full_log;           /* GetQuote gives the log as it is (simulator) */
    struct metrics *metrics; /* never NULL */
    struct live *live;       /* never NULL */
    const char *engine;      /* the container engine's socket */
    void (*shutdown)(void);  /* begins to power off and returns; NULL: there is nothing to */
    dstack_ca *ca;           /* the app's own; NULL: the KMS signs */
    cert_client certs;
    struct caller_book *callers; /* NULL: no key policy to hold them to; see caller.h */

    struct key_cache *kept_keys; /* of GetKey; see key_cache.h */
    pthread_mutex_t sign_lock;
    dstack_app_key sign_keys[2]; /* secp256k1 and ed25519; no secret until the first use */

    agent_attest_fn *attest;
    void *source;
    pthread_mutex_t evidence_lock;         /* one quote at a time at the device */
    struct shared_evidence *last_evidence; /* see shared_evidence.h; under the lock */

    pthread_mutex_t info_lock;
    agent_info *info;        /* NULL until the first success */
    dstack_error info_error; /* of the last attempt, */
    int64_t info_retry_ms;   /* which is not made again before this */
    atomic_bool info_known;
    cert_chain app_cert; /* demo certificate; also the leaf that public evidence names */
    dstack_buf app_cert_spki;
    dstack_buf info_answers[AGENT_INFO_FORMS][2]; /* encoded, protobuf and JSON; see info.c */

    pthread_mutex_t public_lock; /* rate limit and last answer of the public evidence */
    struct {
        int64_t tokens_at_ms;
        double tokens;
        int64_t answered_at_ms;
        uint8_t nonce[64];
        size_t nonce_len;
        dstack_buf body;
    } public_evidence;
} agent;

/* Reads keys, manifest and configuration. `*out` is heap memory. */
typedef struct agent_files {
    const char *keys, *compose, *sys_config;
    const char *engine; /* the container engine's socket; NULL: ENGINE_SOCKET_PATH */
} agent_files;
int agent_new(const agent_files *files, agent_attest_fn *attest, void *source, bool insecure_dev,
              agent **out, dstack_error *err);
void agent_free(agent *a);

/* An attestation under the lock. */
int agent_attest(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                 dstack_attestation **out, dstack_error *err);
/* The same by a caller that holds evidence_lock. */
int agent_attest_locked(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                        dstack_attestation **out, dstack_error *err);
/* The cached identity; taken at the first call. After a failure at most once a second. */
int agent_info_get(agent *a, const agent_info **out, dstack_error *err);
/* Encoded answers are made anew: something in them has changed. Under info_lock, or alone. */
void agent_info_forget_answers(agent *a);
/* Whether that first call was made with success. */
bool agent_info_is_known(const agent *a);
/* Asks for the demo certificate where it is missing. */
int agent_app_cert_make(agent *a, dstack_error *err);

/* Its blocks as one text, "" while it is missing; to be freed. */
char *agent_app_cert_text(agent *a);

/* The mounts. Each takes the listener's user, an agent. */
extern const http_route agent_internal_routes[];
extern const size_t agent_internal_route_count;
extern const http_route agent_tappd_routes[];
extern const size_t agent_tappd_route_count;
extern const http_route agent_external_routes[];
extern const size_t agent_external_route_count;

/* GET /.well-known/dstack/evidence */
void evidence_endpoint(http_request *request, http_response *response, void *user);
/* Takes one from the public budget; false: too many. Pure but for `a`'s bucket. */
bool evidence_budget_take(agent *a, int64_t now_ms);

/* Handlers, by file. */
rpc_handler v0_get_key, v0_sign, v0_verify, v1_get_key, tappd_derive_k256_key;
rpc_handler v0_get_tls_key, v1_issue_cert, tappd_derive_key;
rpc_handler v0_get_quote, v0_attest, v1_attest, v1_attest_gpu, tappd_tdx_quote, tappd_raw_quote;
rpc_handler worker_attest_app_key;
rpc_handler v0_info, v1_info, worker_info, worker_info_v1, agent_version, agent_version_v1;
rpc_handler v0_emit_event, worker_health;

/* The event log text that GetQuote gives. Pure. */
int quote_event_log(const dstack_event_log *full, bool keep_all, dstack_buf *out,
                    dstack_error *err);

#endif
