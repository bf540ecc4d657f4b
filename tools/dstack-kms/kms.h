/* The running KMS. */
#ifndef KMS_KMS_H
#define KMS_KMS_H

#include <pthread.h>

#include "auth.h"
#include "freshness.h"
#include "issue.h"
#include "measures.h"
#include "service/collateral.h"
#include "service/daemon.h"
#include "service/http.h"
#include "service/kms.pb-c.h"
#include "service/collateral_watch.h"
#include "service/rate.h"
#include "service/rpc.h"
#include "service/snp_certs.h"
#include "service/tlog_store.h"
#include "service/trust.h"
#include "service/workload.h"
#include "store.h"

#define KMS_RECENT 64 /* records that the page shows */

typedef struct kms {
    const service_config *config;
    bool insecure;
    trust trust;
    collateral_fetcher *fetcher;
    snp_fetcher *snp_fetcher;
    struct dstack_tpm_fetcher *tpm_fetcher; /* NULL: nothing is fetched for vTPMs */
    collateral_watch *watch;
    workload
        *workload; /* NULL: evidence comes from the guest agent, or (insecure-dev) there is none */
    kms_store store;
    kms_signer *signer;
    kms_authority authority;
    kms_auth *auth;
    struct image_answers *answers;
    struct image_store *images; /* NULL: nothing is downloaded */
    freshness *freshness;
    dstack_buf own_boot_info; /* JSON of the own measured identity; empty without a TEE */
    http_server *server;
    http_tls *tls;
    int64_t rpc_issued; /* UNIX time of the present server certificate */
    rate_limit *rate;
    measures measures;
    rpc_binding binding;
    http_route routes[8];
    int store_lock; /* -1: not held */
    http_tls *admin_tls;
    uint8_t admin_token_hash[32];
    rpc_binding admin_binding;
    http_route admin_routes[5];
    tlog_store *log;
    uint8_t node_id[32];     /* SHA-256 of the log's key */
    dstack_buf log_evidence; /* encoded attestation of that key */
    pthread_mutex_t recent_lock;
    json_t *recent[KMS_RECENT]; /* a ring, under the lock */
    uint64_t recorded;
} kms;

/* Opens what needs no keys: trust, own TEE, policy. */
int kms_open(kms *k, const service_config *config, bool insecure, dstack_error *err);
/* Loads keys, issues the server certificate, starts the main listener. */
int kms_serve(kms *k, dstack_error *err);
/* Issues and installs a new server certificate when the present one is half through its life. */
int kms_renew(kms *k, dstack_error *err);
void kms_close(kms *k);

/* ---- own evidence (own.c) ---------------------------------------------------------------------
 */

bool kms_has_evidence(const kms *k);
int kms_own_open(kms *k, dstack_error *err);
int kms_own_attest(kms *k, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                   dstack_attestation **out, dstack_error *err);

/* ---- authorisation (authorize.c) --------------------------------------------------------------
 */

/* The caller of a connection: its certificate, whose evidence has been verified. */
typedef struct kms_caller {
    dstack_cert *cert;
    uint8_t requester[32]; /* SHA-256 of its key */
    uint8_t evidence[32];  /* SHA-256 of its evidence */
} kms_caller;

/* Verifies the own evidence once and keeps the boot info. */
int kms_learn_self(kms *k, dstack_error *err);
/* The KMS's own policy check; "KMS self authorization failed: ..." */
int kms_authorize_self(kms *k, dstack_error *err);
/* The decision alone; allowed where the check is switched off. */
int kms_decide_self(kms *k, kms_decision *decision, dstack_error *err);

/* What evidence is judged by. vm_config: the request's, "" for the one inside. */
dstack_attestation_options kms_judge_options(kms *k, const char *vm_config, bool boot_time,
                                             bool image);
typedef int (*kms_verify_again)(void *user, const dstack_attestation_options *options,
                                dstack_verified **out, dstack_error *err);
/* Evidence that is judged, more than once: with and without its image. */
typedef struct kms_question {
    kms_verify_again verify;
    void *user;
    const dstack_attestation *evidence;
    int64_t not_before; /* of the certificate around it; 0: there is none */
    const char *vm_config;
    bool boot_time;
} kms_question;
/* Who asks, as far as it got: `verified` is set once the evidence holds, on refusals too, for the
 * log. */
typedef struct kms_asker {
    dstack_verified *verified;
    evidence_age age;
} kms_asker;
void kms_asker_clear(kms_asker *asker);
DSTACK_AUTO_DEFINE_CLEAR(kms_asker, kms_asker, kms_asker_clear)
/* The evidence's age, then the policy, then the image check by question->verify, then the release
 * gate. */
int kms_authorize(kms *k, kms_boot_kind kind, const kms_question *question, kms_asker *asker,
                  kms_decision *decision, dstack_error *err);
/* The images that callers may have (images.c). */
int kms_images_open(kms *k, dstack_error *err);
void kms_images_close(kms *k);
/* A dstack_image_check; user is the kms. */
int kms_image_check(void *user, const dstack_image_question *question, dstack_anchor *anchor,
                    uint8_t hash[32], dstack_error *err);
/* Whether keys may go to this kind of platform at all. */
int kms_release_gate(const kms *k, dstack_tee_variant variant, dstack_error *err);

/* The same for a caller known by its client certificate. */
int kms_authorize_caller(const rpc_call *call, kms_boot_kind kind, const char *vm_config,
                         kms_asker *asker, kms_decision *decision, dstack_error *err);
/* rpc_service.attest and what goes with it, for services whose callers show certificates. The app of
 * their calls is the kms. */
int kms_attest_caller(rpc_call *call, dstack_bytes client_cert, void **identity, dstack_error *err);
void kms_free_caller(void *identity);
/* Of a client certificate within the handshake: an http_client_cert_check. */
int kms_check_client_cert(dstack_bytes leaf_der, int64_t now, void *user, dstack_error *err);
const char *kms_no_attestation_text(const rpc_method *method);

/* ---- records ----------------------------------------------------------------------------------
 */

typedef enum kms_record_kind {
    KMS_RECORD_KEYS,
    KMS_RECORD_CERTIFICATE,
    KMS_RECORD_HANDOVER, /* root keys given */
    KMS_RECORD_ONBOARD,  /* root keys taken */
    KMS_RECORD_ADMIN,
    KMS_RECORD_KINDS,
} kms_record_kind;

typedef struct kms_record_of {
    kms_record_kind kind;
    const dstack_verified *verified; /* NULL: whoever asked did not get as far as being known */
    evidence_age age;                /* of the evidence that was judged */
    const uint8_t *requester;        /* 32 bytes, or NULL */
    const uint8_t *evidence;
    const char *peer;    /* for the text log; NULL: none */
    const char *request; /* id, for the text log; NULL: none */
    const char *what;    /* of an admin act; becomes the reason when it succeeded */
} kms_record_of;

/* Records what was decided: a release for rc 0, else a refusal with err's text. Returns rc, or a
 * status when the record cannot be made: then nothing may be released. Refusals of callers that are
 * not known go to the text log alone, or anybody could make the other one grow. */
int kms_record(kms *k, const kms_record_of *record, int rc, dstack_error *err);
/* The same for a caller known by its client certificate. */
int kms_record_call(const rpc_call *call, kms_record_kind kind, const kms_asker *asker, int rc,
                    dstack_error *err);
int kms_hash_evidence(const dstack_attestation *evidence, uint8_t out[32], dstack_error *err);
/* Opens the log, and puts its newest entries into what is recent. */
int kms_audit_open(kms *k, dstack_error *err);
void kms_audit_close(kms *k);
/* The page of the admin listener (page.c). */
void kms_page_file(http_response *response, const char *name);
json_t *kms_page_state(kms *k);
/* Makes evidence for the log's key, with which it is served. */
int kms_audit_attest(kms *k, dstack_error *err);
/* http_handler of GET /log/..., user is the kms. */
void kms_audit_serve(http_request *request, http_response *response, void *user);
/* The newest records, newest first, as JSON objects. */
json_t *kms_audit_recent(kms *k);

DSTACK_AUTO_DEFINE(verified, dstack_verified, dstack_verified_free)
DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

/* http_handlers (health.c); the second one's user is the kms. */
void kms_serve_health(http_request *request, http_response *response, void *user);
void kms_serve_ready(http_request *request, http_response *response, void *user);

/* ---- RPC tables -------------------------------------------------------------------------------
 */

extern const rpc_service kms_rpc_service;   /* methods.c */
extern const rpc_service kms_admin_service; /* admin.c */
extern const rpc_service kms_setup_service; /* onboard.c */
/* Root keys for another KMS (handover.c): by the main listener, and by the admin's. */
int kms_get_kms_key_public(rpc_call *call, dstack_error *err);
int kms_get_kms_key(rpc_call *call, dstack_error *err);
/* Evidence that binds the exporter of the connection that carries keys, by its source or its target
 * (tags below): made, and checked to be of the machine that the certificate named. */
#define KMS_CHANNEL_SOURCE "kms-handover-source"
#define KMS_CHANNEL_TARGET "kms-handover-target"
int kms_make_channel(kms *k, const uint8_t binding[32], const char *tag, dstack_buf *out,
                     dstack_error *err);
int kms_check_channel(kms *k, dstack_bytes encoded, const uint8_t binding[32], const char *tag,
                      const dstack_identity *expected, dstack_error *err);

/* Runs the set-up listener until Finish. 0 when keys exist afterwards; DSTACK_E_STATE when the
 * process was asked to stop. */
int kms_onboard(kms *k, dstack_error *err);
/* Starts the admin listener on the server when it is enabled (admin.c). */
int kms_admin_open(kms *k, dstack_error *err);
/* Copies the root keys of the KMS at in->source_url, after judging it, and stores them
 * (replicate.c). */
int kms_replicate(kms *k, const Kms__OnboardRequest *in, uint8_t k256_public[33],
                  dstack_error *err);
/* Puts keys made or received into the store. */
int kms_keep(const kms *k, const char *domain, const kms_keys *keys, dstack_bytes bootstrap_info,
             dstack_error *err);

#endif
