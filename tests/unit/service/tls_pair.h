/* A self-signed certificate with its key, for tests of TLS. */
#ifndef TESTS_UNIT_SERVICE_TLS_PAIR_H
#define TESTS_UNIT_SERVICE_TLS_PAIR_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#include "check.h"

typedef struct tls_pair {
    gnutls_datum_t certificate;
    gnutls_datum_t key;
} tls_pair;

static inline void tls_pair_make(tls_pair *pair, const char *name) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
    unsigned char serial = 1;
    gnutls_x509_privkey_init(&key);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    gnutls_x509_crt_init(&cert);
    gnutls_x509_crt_set_version(cert, 3);
    gnutls_x509_crt_set_serial(cert, &serial, 1);
    gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                  (unsigned)strlen(name));
    gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, name, (unsigned)strlen(name), 0);
    gnutls_x509_crt_set_activation_time(cert, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 3600);
    gnutls_x509_crt_set_basic_constraints(cert, 1, 0);
    gnutls_x509_crt_set_key(cert, key);
    assert_int_equal(gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0), 0);
    gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pair->certificate);
    gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                      &pair->key);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}

static inline void tls_pair_free(tls_pair *pair) {
    gnutls_free(pair->certificate.data);
    gnutls_free(pair->key.data);
}

static inline dstack_bytes tls_pair_cert(const tls_pair *pair) {
    return bytes_of(pair->certificate.data, pair->certificate.size);
}

static inline dstack_bytes tls_pair_key(const tls_pair *pair) {
    return bytes_of(pair->key.data, pair->key.size);
}

#endif
