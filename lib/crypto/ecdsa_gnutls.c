#include "crypto/ecdsa_backend.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "base/buf.h"
#include "base/cursor.h"

static gnutls_ecc_curve_t curve_id(ecdsa_curve curve) {
    return curve == ECDSA_P256 ? GNUTLS_ECC_CURVE_SECP256R1 : GNUTLS_ECC_CURVE_SECP384R1;
}

static gnutls_sign_algorithm_t sign_id(size_t digest_len) {
    switch (digest_len) {
    case 32:
        return GNUTLS_SIGN_ECDSA_SHA256;
    case 48:
        return GNUTLS_SIGN_ECDSA_SHA384;
    case 64:
        return GNUTLS_SIGN_ECDSA_SHA512;
    default:
        return GNUTLS_SIGN_UNKNOWN;
    }
}

static gnutls_datum_t datum(const uint8_t *data, size_t len) {
    return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)data, .size = (unsigned)len};
}

static void *load(ecdsa_curve curve, const uint8_t *point) {
    size_t size = ecdsa_scalar_size(curve);
    gnutls_datum_t x = datum(point + 1, size);
    gnutls_datum_t y = datum(point + 1 + size, size);
    gnutls_pubkey_t key = NULL;
    if (gnutls_pubkey_init(&key) != 0) {
        return NULL;
    }
    /* Import takes any pair of numbers; the check that the point is on the curve comes with use. */
    if (gnutls_pubkey_import_ecc_raw(key, curve_id(curve), &x, &y) != 0 ||
        gnutls_pubkey_verify_params(key) != 0) {
        gnutls_pubkey_deinit(key);
        return NULL;
    }
    return key;
}

static void unload(void *key) {
    gnutls_pubkey_deinit(key);
}

static bool verify(const void *key, ecdsa_curve curve, dstack_bytes digest, const uint8_t *raw) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    if (ecdsa_raw_to_der(curve, bytes_of(raw, 2 * ecdsa_scalar_size(curve)), &der, NULL) != 0) {
        return false;
    }
    gnutls_datum_t hash = datum(digest.data, digest.len);
    gnutls_datum_t signature = datum(der.data, der.len);
    return gnutls_pubkey_verify_hash2((gnutls_pubkey_t)(uintptr_t)key, sign_id(digest.len), 0,
                                      &hash, &signature) >= 0;
}

const ecdsa_backend_ops ecdsa_gnutls = {
    .name = "gnutls",
    .load = load,
    .unload = unload,
    .verify = verify,
};

bool ecdsa_gnutls_sign_deterministic(ecdsa_curve curve, const uint8_t *scalar, const uint8_t *point,
                                     dstack_bytes digest, dstack_buf *der) {
    size_t size = ecdsa_scalar_size(curve);
    gnutls_datum_t x = datum(point + 1, size);
    gnutls_datum_t y = datum(point + 1 + size, size);
    gnutls_datum_t k = datum(scalar, size);
    gnutls_datum_t hash = datum(digest.data, digest.len);
    gnutls_datum_t signature = {0};
    gnutls_privkey_t key = NULL;
    if (gnutls_privkey_init(&key) != 0) {
        return false;
    }
    bool good = gnutls_privkey_import_ecc_raw(key, curve_id(curve), &x, &y, &k) == 0 &&
                gnutls_privkey_sign_hash2(key, sign_id(digest.len),
                                          GNUTLS_PRIVKEY_FLAG_REPRODUCIBLE, &hash, &signature) == 0;
    if (good) {
        buf_put(der, signature.data, signature.size);
    }
    gnutls_free(signature.data);
    gnutls_privkey_deinit(key);
    return good && !der->failed;
}
