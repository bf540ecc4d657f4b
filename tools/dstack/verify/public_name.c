/* What the public PKI says about a name (RFC 5280, RFC 6125). GnuTLS does it, as for any browser:
 * public CAs use algorithms that dstack itself never needs. */
#include <gnutls/x509.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/verify.h"

typedef struct trust {
    gnutls_x509_trust_list_t list;
    gnutls_x509_crt_t certs[VERIFY_CHAIN_MAX];
    unsigned count;
} trust;

static void trust_clear(trust *t) {
    for (unsigned i = 0; i < t->count; i++) {
        gnutls_x509_crt_deinit(t->certs[i]);
    }
    if (t->list != NULL) {
        gnutls_x509_trust_list_deinit(t->list, 1);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(trust, trust, trust_clear)

static int load_roots(trust *t, dstack_bytes ca, dstack_error *err) {
    gnutls_datum_t pem = {(unsigned char *)(uintptr_t)ca.data, (unsigned)ca.len};
    int code = gnutls_x509_trust_list_init(&t->list, 0);
    if (code < 0) {
        t->list = NULL;
        return error_set(err, DSTACK_E_MEMORY, "%s", gnutls_strerror(code));
    }
    code = ca.len > 0 ? gnutls_x509_trust_list_add_trust_mem(t->list, &pem, NULL,
                                                             GNUTLS_X509_FMT_PEM, 0, 0)
                      : gnutls_x509_trust_list_add_system_trust(t->list, 0, 0);
    return code >= (ca.len > 0 ? 1 : 0) ? 0
                                        : error_set(err, DSTACK_E_FORMAT, "%s",
                                                    ca.len > 0 ? "--ca holds no CA certificate"
                                                               : "this machine has no trust store");
}

static int load_chain(trust *t, const verify_answers *answers, dstack_error *err) {
    for (size_t i = 0; i < answers->chain_count; i++) {
        gnutls_datum_t der = {answers->chain[i].data, (unsigned)answers->chain[i].len};
        if (gnutls_x509_crt_init(&t->certs[t->count]) < 0) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        t->count++;
        if (gnutls_x509_crt_import(t->certs[t->count - 1], &der, GNUTLS_X509_FMT_DER) < 0) {
            return error_set(err, DSTACK_E_FORMAT, "certificate %zu of the chain is malformed", i);
        }
    }
    return 0;
}

/* GnuTLS would compare with its own clock. */
static int check_dates(const trust *t, int64_t now, dstack_error *err) {
    for (unsigned i = 0; i < t->count; i++) {
        if (now < gnutls_x509_crt_get_activation_time(t->certs[i]) ||
            now > gnutls_x509_crt_get_expiration_time(t->certs[i])) {
            return error_set(err, DSTACK_E_X509_EXPIRED,
                             "certificate %u of the chain is not valid at this time", i);
        }
    }
    return 0;
}

static int check_path(trust *t, const char *host, dstack_error *err) {
    unsigned status = 0;
    gnutls_typed_vdata_st names[] = {
        {GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)(uintptr_t)host, 0},
        {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_SERVER, 0},
    };
    int code = gnutls_x509_trust_list_verify_crt2(t->list, t->certs, t->count, names, 2,
                                                  GNUTLS_VERIFY_DISABLE_TIME_CHECKS |
                                                      GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS,
                                                  &status, NULL);
    if (code < 0) {
        return error_set(err, DSTACK_E_X509_PATH, "%s", gnutls_strerror(code));
    }
    if (status != 0) {
        gnutls_datum_t text = {0};
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
        error_set(err, DSTACK_E_X509_PATH, "%s",
                  text.data != NULL ? (const char *)text.data : "not trusted");
        gnutls_free(text.data);
        return DSTACK_E_X509_PATH;
    }
    return 0;
}

int verify_check_public_name(const verify_answers *answers, dstack_bytes ca, int64_t now,
                             dstack_error *err) {
    DSTACK_AUTO(trust) trust t = {0};
    int rc = load_roots(&t, ca, err);
    rc = rc != 0 ? rc : load_chain(&t, answers, err);
    rc = rc != 0 ? rc : check_dates(&t, now, err);
    return rc != 0 ? rc : check_path(&t, answers->name.host, err);
}
