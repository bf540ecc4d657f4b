/* First start: the set-up listener, guarded by a one-time token, and keys made without an operator.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <dstack/keys.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "kms.h"
#include "service/kms.pb-c.h"
#include "service/log.h"

#define TOKEN_FILE "setup-token"

typedef struct setup {
    kms *kms;
    pthread_mutex_t lock; /* one Bootstrap at a time */
    atomic_bool finished;
} setup;

/* ---- bootstrap --------------------------------------------------------------------------------
 */

/* Binds the public keys to the evidence of the machine that made them. The spelling is the wire
 * format's. */
static int public_keys(const kms_keys *keys, dstack_buf *spki, uint8_t k256[33],
                       uint8_t report_data[DSTACK_REPORT_DATA_SIZE], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = dstack_cert_key_public(keys->root_pem, spki, err);
    rc = rc != 0 ? rc : dstack_key_k256_public(keys->k256, k256, err);
    buf_put_str(&text, "dstack-kms-genereted-keys-v1:");
    buf_put_hex(&text, bytes_of_buf(spki));
    buf_put_str(&text, ";");
    buf_put_hex(&text, bytes_of(k256, 33));
    buf_put_str(&text, ";");
    rc = rc != 0 ? rc : buf_check(&text, err);
    if (rc == 0) {
        memset(report_data, 0, DSTACK_REPORT_DATA_SIZE);
        hash_keccak256(bytes_of_buf(&text), report_data);
    }
    return rc;
}

static int bootstrap_attestation(kms *k, const uint8_t *report_data, dstack_buf *out,
                                 dstack_error *err) {
    if (!kms_has_evidence(k)) {
        return 0;
    }
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    int rc = kms_own_attest(k, report_data, &evidence, err);
    return rc != 0
               ? rc
               : dstack_attestation_encode(evidence, DSTACK_ATTESTATION_LEGACY_CHOICE, out, err);
}

static int may_bootstrap(kms *k, const char *domain, dstack_error *err) {
    kms_decision decision;
    int rc =
        kms_store_check_new(config_str(k->config, "core.cert_dir"), domain, "bootstrapped", err);
    if (rc == 0) {
        rc = kms_decide_self(k, &decision, err);
        if (rc == 0 && !decision.allowed) {
            rc = error_set(err, DSTACK_E_REFUSED, "boot denied: %s", decision.reason);
        }
        rc = rc != 0 ? error_prefix(err, rc, "KMS is not allowed to bootstrap") : 0;
    }
    return rc;
}

int kms_keep(const kms *k, const char *domain, const kms_keys *keys, dstack_bytes bootstrap_info,
             dstack_error *err) {
    return kms_store_create(config_str(k->config, "core.cert_dir"), domain, k->insecure, keys,
                            bootstrap_info, err);
}

static int record_made(kms *k, dstack_error *err) {
    kms_record_of record = {.kind = KMS_RECORD_ADMIN, .what = "root keys made"};
    return kms_record(k, &record, 0, err);
}

static int auto_bootstrap(kms *k, const char *domain, dstack_error *err) {
    DSTACK_AUTO(kms_keys) kms_keys keys = {0};
    int rc = may_bootstrap(k, domain, err);
    rc = rc != 0 ? rc : kms_keys_make(&keys, err);
    rc = rc != 0 ? rc : record_made(k, err);
    return rc != 0 ? rc : kms_keep(k, domain, &keys, (dstack_bytes){0}, err);
}

/* The text of bootstrap-info.json. */
static int describe(const Kms__BootstrapResponse *out, dstack_buf *text, dstack_error *err) {
    Kms__BootstrapInfo info = KMS__BOOTSTRAP_INFO__INIT;
    info.ca_pubkey = out->ca_pubkey;
    info.k256_pubkey = out->k256_pubkey;
    info.attestation = out->attestation;
    return rpc_message_to_json(&info.base, text, err);
}

static int bootstrap(kms *k, const char *domain, Kms__BootstrapResponse *out, dstack_error *err) {
    DSTACK_AUTO(kms_keys) kms_keys keys = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf evidence = {0};
    DSTACK_AUTO(buf) dstack_buf info = {0};
    uint8_t k256[DSTACK_K256_PUBLIC_SIZE];
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = may_bootstrap(k, domain, err);
    rc = rc != 0 ? rc : kms_keys_make(&keys, err);
    rc = rc != 0 ? rc : public_keys(&keys, &spki, k256, report_data, err);
    rc = rc != 0 ? rc : bootstrap_attestation(k, report_data, &evidence, err);
    if (rc == 0) {
        rpc_set_bytes(&out->ca_pubkey, bytes_of_buf(&spki));
        rpc_set_bytes(&out->k256_pubkey, bytes_of(k256, sizeof k256));
        rpc_set_bytes(&out->attestation, bytes_of_buf(&evidence));
    }
    rc = rc != 0 ? rc : describe(out, &info, err);
    rc = rc != 0 ? rc : record_made(k, err);
    return rc != 0 ? rc : kms_keep(k, domain, &keys, bytes_of_buf(&info), err);
}

/* ---- methods ----------------------------------------------------------------------------------
 */

static int rpc_bootstrap(rpc_call *call, dstack_error *err) {
    setup *s = call->app;
    pthread_mutex_lock(&s->lock);
    int rc = bootstrap(s->kms, ((Kms__BootstrapRequest *)call->request)->domain,
                       (Kms__BootstrapResponse *)call->response, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int rpc_onboard(rpc_call *call, dstack_error *err) {
    setup *s = call->app;
    const Kms__OnboardRequest *in = (Kms__OnboardRequest *)call->request;
    uint8_t k256[DSTACK_K256_PUBLIC_SIZE];
    pthread_mutex_lock(&s->lock);
    int rc = kms_replicate(s->kms, in, k256, err);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        rpc_set_bytes(&((Kms__OnboardResponse *)call->response)->k256_pubkey,
                      bytes_of(k256, sizeof k256));
    }
    return rc;
}

static void set_value(ProtobufCBinaryData *field, const dstack_value *value) {
    rpc_set_bytes(field, bytes_of(value->data, value->len));
}

/* What an operator registers with the policy. */
static int rpc_attestation_info(rpc_call *call, dstack_error *err) {
    kms *k = ((setup *)call->app)->kms;
    Kms__AttestationInfoResponse *out = (Kms__AttestationInfoResponse *)call->response;
    static const uint8_t zeros[DSTACK_REPORT_DATA_SIZE];
    DSTACK_AUTO(attestation) dstack_attestation *own = NULL;
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    dstack_attestation_options options = kms_judge_options(k, NULL, false, false);
    options.report_data = zeros;
    int rc = kms_has_evidence(k) ? kms_own_attest(k, zeros, &own, err)
                                 : error_set(err, DSTACK_E_STATE, "this KMS has no evidence");
    rc = rc != 0 ? rc : dstack_attestation_verify(k->trust.verifier, own, &options, &verified, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_identity *identity = dstack_verified_identity(verified);
    const dstack_quote_report *quote = dstack_verified_quote(verified);
    set_value(&out->device_id, &identity->device_id);
    set_value(&out->mr_aggregated, &identity->mr_aggregated);
    set_value(&out->os_image_hash, &identity->os_image_hash);
    rpc_set_str(&out->tee_variant, dstack_tee_variant_name(dstack_verified_variant(verified)));
    rpc_set_str(&out->site_name, config_str(k->config, "core.site_name"));
    if (quote != NULL) {
        rpc_set_bytes(&out->ppid, bytes_of(quote->pck.ppid, sizeof quote->pck.ppid));
    }
    kms_auth_info info;
    dstack_error unknown = {0};
    if (kms_auth_info_get(k->auth, &info, &unknown) == 0 && info.has_contract) {
        rpc_set_str(&out->eth_rpc_url, info.eth_rpc_url);
        rpc_set_str(&out->kms_contract_address, info.contract_address);
    }
    return 0;
}

static int rpc_finish(rpc_call *call, dstack_error *err) {
    (void)err;
    setup *s = call->app;
    atomic_store(&s->finished, true);
    daemon_request_stop();
    return 0;
}

/* The same for a browser. */
static void finish_page(http_request *request, http_response *response, void *user) {
    const rpc_binding *binding = user;
    if (!rpc_token_is_right(request, binding->token_hash)) {
        http_response_text(response, 401, "a bearer token is required\n");
        rpc_refuse_token(response, binding);
        return;
    }
    setup *s = binding->app;
    atomic_store(&s->finished, true);
    daemon_request_stop();
    http_response_text(response, 200, "OK");
}

static const rpc_method methods[] = {
    {"Bootstrap", &kms__bootstrap_request__descriptor, &kms__bootstrap_response__descriptor,
     RPC_CALLER_TOKEN, rpc_bootstrap, 4096},
    {"Onboard", &kms__onboard_request__descriptor, &kms__onboard_response__descriptor,
     RPC_CALLER_TOKEN, rpc_onboard, 8192},
    {"GetAttestationInfo", NULL, &kms__attestation_info_response__descriptor, RPC_CALLER_TOKEN,
     rpc_attestation_info, 4096},
    {"Finish", NULL, NULL, RPC_CALLER_TOKEN, rpc_finish, 4096},
};

const rpc_service kms_setup_service = {
    .name = "onboard",
    .prefix = "Onboard.",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};

/* ---- the listener -----------------------------------------------------------------------------
 */

/* Shown once on the console, and kept beside the key store for an operator who was not looking. */
static int announce_token(const char *dir, uint8_t hash[32], dstack_error *err) {
    uint8_t random[32];
    char token[65];
    DSTACK_AUTO(str) char *path = NULL;
    randombytes_buf(random, sizeof random);
    hex_encode(bytes_of(random, sizeof random), token);
    hash_sha256(bytes_of(token, 64), hash);
    if (asprintf(&path, "%s/" TOKEN_FILE, dir) < 0) {
        path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = file_make_dirs(dir, 0700, err);
    rc = rc != 0 ? rc : file_write_atomic(path, bytes_of(token, 64), 0600, err);
    if (rc == 0) {
        printf("set-up token (also in %s): %s\n", path, token);
        fflush(stdout);
    }
    sodium_memzero(token, sizeof token);
    sodium_memzero(random, sizeof random);
    return rc;
}

static int serve_setup(kms *k, dstack_error *err) {
    setup s = {.kms = k};
    uint8_t hash[32];
    char address[80];
    const char *dir = config_str(k->config, "core.cert_dir");
    int rc = announce_token(dir, hash, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_init(&s.lock, NULL);
    rpc_binding binding = {.service = &kms_setup_service, .app = &s, .token_hash = hash};
    const http_route routes[] = {
        {"GET", "/health", kms_serve_health, NULL, 0, HTTP_ROUTE_INLINE},
        {"GET", "/finish", finish_page, &binding, 0, 0},
        {"*", "/prpc/*", rpc_handle, &binding, 8192, HTTP_ROUTE_TAKES_OVERSIZE},
    };
    snprintf(address, sizeof address, "%s:%lld", config_str(k->config, "core.onboard.address"),
             (long long)config_int(k->config, "core.onboard.port"));
    http_server *server =
        http_server_new(&(http_server_config){.name = "dstack-kms", .workers = 1});
    http_listener_config listener = {.name = "onboard",
                                     .address = address,
                                     .routes = routes,
                                     .route_count = sizeof routes / sizeof routes[0],
                                     .limits = {.connections = 16}};
    rc = server != NULL ? http_server_listen(server, &listener, err)
                        : error_set(err, DSTACK_E_MEMORY, "out of memory");
    if (rc == 0) {
        snprintf(address, sizeof address, "set-up listener on %s:%u",
                 config_str(k->config, "core.onboard.address"),
                 http_server_port(server, "onboard"));
        daemon_ready(address);
        while (daemon_wait(-1) != DAEMON_STOP) {
        }
        if (!atomic_load(&s.finished)) {
            rc = error_set(err, DSTACK_E_STATE, "stopped during set-up");
        }
    }
    if (server != NULL) {
        http_server_drain(server, 2000);
        http_server_free(server);
    }
    pthread_mutex_destroy(&s.lock);
    return rc;
}

int kms_onboard(kms *k, dstack_error *err) {
    const char *dir = config_str(k->config, "core.cert_dir");
    const char *domain = config_str(k->config, "core.onboard.auto_bootstrap_domain");
    bool exists = false;
    int rc = kms_store_lock(dir, &k->store_lock, err);
    rc = rc != 0 ? rc : kms_store_recover(dir, err);
    rc = rc != 0 ? rc : kms_audit_open(k, err);
    rc = rc != 0 ? rc : kms_store_exists(dir, &exists, err);
    if (rc != 0 || exists) {
        return rc;
    }
    if (!config_bool(k->config, "core.onboard.enabled")) {
        return error_set(err, DSTACK_E_STATE, "%s holds no keys and core.onboard.enabled is false",
                         dir);
    }
    if (domain[0] != 0) {
        return auto_bootstrap(k, domain, err);
    }
    rc = serve_setup(k, err);
    rc = rc != 0 ? rc : kms_store_exists(dir, &exists, err);
    if (rc == 0 && !exists) {
        rc = error_set(err, DSTACK_E_STATE, "Failed to onboard: no keys were made");
    }
    if (rc == 0) {
        DSTACK_AUTO(str) char *path = NULL;
        if (asprintf(&path, "%s/" TOKEN_FILE, dir) >= 0) {
            unlink(path); /* its time is over */
        }
    }
    return rc;
}
