/* Certificates for fresh or derived keys, and the demo certificate. */
#include <string.h>

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa.h"
#include "crypto/random.h"
#include "evidence.h"
#include "guest_v0.pb-c.h"
#include "guest_v1.pb-c.h"
#include "serve/agent.h"
#include "serve/guard.h"
#include "serve/shared_evidence.h"

/* 9999-12-31T23:59:59Z: the last moment a certificate can state (RFC 5280, section 4.1.2.5). */
#define LAST_MOMENT 253402300799ULL

/* What GetTlsKey, IssueCert and DeriveKey have in common. */
typedef struct issue {
    dstack_csr_spec spec;
    dstack_attestation_form form;
    const dstack_secret *key; /* PEM; NULL: a fresh one */
} issue;

static int validity_check(const dstack_csr_spec *spec, dstack_error *err) {
    if (spec->has_not_before && spec->has_not_after && spec->not_before >= spec->not_after) {
        return error_set(err, DSTACK_E_ARGUMENT, "not_before must be earlier than not_after");
    }
    if ((spec->has_not_before && spec->not_before > LAST_MOMENT) ||
        (spec->has_not_after && spec->not_after > LAST_MOMENT)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "not_before and not_after must be at most 253402300799");
    }
    return 0;
}

static int evidence_for(agent *a, dstack_bytes spki, shared_evidence **out, dstack_error *err) {
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_report_data(spki, report_data, err);
    if (rc == 0) {
        rc = shared_evidence_get(a, report_data, out, err);
    }
    return rc != 0 ? error_prefix(err, rc, "Failed to get certificate attestation") : 0;
}

/* A fresh key and its public part at once: deriving the one from the other again costs as much as a
 * signature. */
static int key_make(dstack_secret **pem, dstack_buf *spki, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    int rc = ecdsa_private_generate(&key, ECDSA_P256, err);
    if (rc != 0 || (rc = ecdsa_key_spki(ecdsa_private_public(key), spki, err)) != 0) {
        return rc;
    }
    return ecdsa_private_pem(key, pem, err);
}

/* `spki_out` may be NULL; else it gets the key's public part. */
static int issue_run(agent *a, const issue *what, dstack_secret **fresh, cert_chain *chain,
                     dstack_buf *spki_out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf own = {0};
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    dstack_buf *spki = spki_out != NULL ? spki_out : &own;
    int rc = validity_check(&what->spec, err);
    if (rc == 0) {
        rc = what->key != NULL ? dstack_cert_key_public(what->key, spki, err)
                               : key_make(fresh, spki, err);
    }
    if (rc != 0 || (rc = evidence_for(a, bytes_of_buf(spki), &evidence, err)) != 0) {
        return rc;
    }
    rc = cert_client_sign(&a->certs, &what->spec, what->key != NULL ? what->key : *fresh,
                          bytes_of_buf(spki), shared_evidence_peek(evidence), what->form,
                          clock_unix(), chain, err);
    return rc != 0 ? error_prefix(err, rc, "Failed to sign the CSR") : 0;
}

/* Both responses have the same two fields. */
static void answer_fill(const dstack_secret *key, const cert_chain *chain, char **key_field,
                        size_t *count, char ***items) {
    char text[1024];
    size_t len = dstack_secret_len(key);
    if (len < sizeof text) {
        memcpy(text, dstack_secret_peek(key), len);
        text[len] = '\0';
        rpc_set_str(key_field, text);
        explicit_bzero(text, sizeof text);
    }
    for (size_t i = 0; i < chain->count; i++) {
        rpc_add_str(count, items, chain->pem[i]);
    }
}

/* The two calls take and give the same under other type names. */
#define SPEC_OF(args)                                                                              \
    {                                                                                              \
        .subject = (args)->subject, .alt_names = (const char *const *)(args)->alt_names,           \
        .alt_name_count = (args)->n_alt_names, .server_auth = (args)->usage_server_auth,           \
        .client_auth = (args)->usage_client_auth, .with_quote = (args)->usage_ra_tls,              \
        .with_app_info = (args)->with_app_info,                                                    \
        .has_not_before = (args)->opt_not_before_case != 0, .not_before = (args)->not_before,      \
        .has_not_after = (args)->opt_not_after_case != 0, .not_after = (args)->not_after,          \
    }

/* A certificate for a fresh key, into the fields of either answer. */
static int issue_fresh(rpc_call *call, const issue *what, char **key_field, size_t *count,
                       char ***items, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(cert_chain) cert_chain chain = {0};
    int rc = guard_right_of(call, GUARD_CERTIFICATES, err);
    rc = rc != 0 ? rc : issue_run(call->app, what, &key, &chain, NULL, err);
    if (rc == 0) {
        answer_fill(key, &chain, key_field, count, items);
    }
    return rc;
}

int v0_get_tls_key(rpc_call *call, dstack_error *err) {
    const DstackGuest__GetTlsKeyArgs *args = (const void *)call->request;
    DstackGuest__GetTlsKeyResponse *out = (void *)call->response;
    const issue what = {.spec = SPEC_OF(args), .form = DSTACK_ATTESTATION_LEGACY_CHOICE};
    return issue_fresh(call, &what, &out->key, &out->n_certificate_chain, &out->certificate_chain,
                       err);
}

int v1_issue_cert(rpc_call *call, dstack_error *err) {
    const Dstack__Guest__V1__IssueCertRequest *args = (const void *)call->request;
    Dstack__Guest__V1__IssueCertResponse *out = (void *)call->response;
    const issue what = {.spec = SPEC_OF(args), .form = DSTACK_ATTESTATION_V1};
    return issue_fresh(call, &what, &out->key, &out->n_certificate_chain, &out->certificate_chain,
                       err);
}

/* A P-256 key that is the same wherever the app runs. */
static int derived_key(agent *a, dstack_bytes path, bool random_seed, dstack_secret **pem,
                       dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *seed = NULL;
    DSTACK_AUTO(secret) dstack_secret *scalar = NULL;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    if (random_seed) {
        seed = dstack_secret_new(32);
        if (seed == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        random_fill(dstack_secret_data(seed), 32);
    }
    int rc;
    if ((rc = dstack_key_derive_p256(random_seed ? seed : a->keys.k256_key, &path, 1, &scalar,
                                     err)) != 0 ||
        (rc = ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(dstack_secret_peek(scalar), 32),
                                        err)) != 0) {
        return rc;
    }
    return ecdsa_private_pem(key, pem, err);
}

int tappd_derive_key(rpc_call *call, dstack_error *err) {
    const DstackGuest__DeriveKeyArgs *args = (const void *)call->request;
    DstackGuest__GetTlsKeyResponse *out = (void *)call->response;
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(cert_chain) cert_chain chain = {0};
    const dstack_bytes path = bytes_of(args->path.data, args->path.len);
    int rc = guard_right_of(call, GUARD_CERTIFICATES, err);
    if (rc == 0 && !args->random_seed) {
        rc = guard_path(call, path, err);
    }
    rc = rc != 0 ? rc : derived_key(call->app, path, args->random_seed, &key, err);
    if (rc != 0) {
        return rc;
    }
    const issue what = {
        .spec = {.subject = args->subject,
                 .alt_names = (const char *const *)args->alt_names,
                 .alt_name_count = args->n_alt_names,
                 .server_auth = args->usage_server_auth,
                 .client_auth = args->usage_client_auth,
                 .with_quote = args->usage_ra_tls},
        .form = DSTACK_ATTESTATION_LEGACY_CHOICE,
        .key = key,
    };
    if ((rc = issue_run(call->app, &what, NULL, &chain, NULL, err)) == 0) {
        answer_fill(key, &chain, &out->key, &out->n_certificate_chain, &out->certificate_chain);
    }
    return rc;
}

int agent_app_cert_make(agent *a, dstack_error *err) {
    pthread_mutex_lock(&a->info_lock);
    bool have = a->app_cert.count > 0;
    pthread_mutex_unlock(&a->info_lock);
    if (have) {
        return 0;
    }
    const issue what = {
        .spec = {.subject = "demo-cert", .client_auth = true, .with_quote = true},
        .form = DSTACK_ATTESTATION_LEGACY_CHOICE,
    };
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(cert_chain) cert_chain chain = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc;
    if ((rc = issue_run(a, &what, &key, &chain, &spki, err)) != 0) {
        return rc;
    }
    pthread_mutex_lock(&a->info_lock);
    if (a->app_cert.count == 0) {
        a->app_cert = chain;
        a->app_cert_spki = spki;
        memset(&chain, 0, sizeof chain);
        memset(&spki, 0, sizeof spki);
        agent_info_forget_answers(a);
    }
    pthread_mutex_unlock(&a->info_lock);
    return 0;
}
