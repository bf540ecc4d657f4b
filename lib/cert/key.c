/* Private keys as PEM text or DER in guarded memory. */
#include <string.h>

#include "base/error.h"
#include "cert/cert.h"
#include "x509/pem.h"

int cert_key_load(const dstack_secret *key, ecdsa_private **out, dstack_error *err) {
    dstack_bytes bytes = {dstack_secret_peek(key), dstack_secret_len(key)};
    if (bytes.len == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "no private key was given");
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *loaded = NULL;
    int rc = pem_looks_like(bytes) ? ecdsa_private_from_pem(&loaded, bytes, err)
                                   : ecdsa_private_from_der(&loaded, bytes, err);
    if (rc == 0 && ecdsa_key_curve(ecdsa_private_public(loaded)) != ECDSA_P256) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "the private key must be of curve P-256");
    }
    if (rc == 0) {
        *out = loaded;
        loaded = NULL;
    }
    return rc;
}

int dstack_cert_key_new(dstack_secret **pem, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    int rc = ecdsa_private_generate(&key, ECDSA_P256, err);
    return rc == 0 ? ecdsa_private_pem(key, pem, err) : rc;
}

int dstack_cert_key_public(const dstack_secret *key, dstack_buf *spki, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *loaded = NULL;
    int rc = cert_key_load(key, &loaded, err);
    return rc == 0 ? ecdsa_key_spki(ecdsa_private_public(loaded), spki, err) : rc;
}

int dstack_cert_report_data(dstack_bytes spki, uint8_t out[DSTACK_REPORT_DATA_SIZE],
                            dstack_error *err) {
    if (spki.len == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "no public key was given");
    }
    return dstack_report_data("ratls-cert", NULL, spki, out, err);
}
