/* libcrypto's EC_KEY interface is marked deprecated since 3.0, and is used on purpose: loading a
 * key through EVP_PKEY_fromdata costs nine times as much (22 against 2.5 microseconds, measured on
 * 3.0.22), and a fresh key arrives with every quote. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/ecdsa_backend.h"

#include <pthread.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/obj_mac.h>

/* The two groups, made at first use and constant from then on. */
static pthread_once_t groups_once = PTHREAD_ONCE_INIT;
static EC_GROUP *groups[2];

static void groups_make(void) {
    groups[ECDSA_P256] = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    groups[ECDSA_P384] = EC_GROUP_new_by_curve_name(NID_secp384r1);
}

static EC_KEY *key_new(ecdsa_curve curve) {
    pthread_once(&groups_once, groups_make);
    EC_KEY *key = EC_KEY_new();
    if (key != NULL && (groups[curve] == NULL || EC_KEY_set_group(key, groups[curve]) != 1)) {
        EC_KEY_free(key);
        key = NULL;
    }
    return key;
}

static void *load(ecdsa_curve curve, const uint8_t *point) {
    EC_KEY *key = key_new(curve);
    if (key != NULL && EC_KEY_oct2key(key, point, 2 * ecdsa_scalar_size(curve) + 1, NULL) != 1) {
        EC_KEY_free(key); /* oct2key tests that the point is on the curve */
        key = NULL;
    }
    return key;
}

static void unload(void *key) {
    EC_KEY_free(key);
}

static ECDSA_SIG *signature_from_raw(const uint8_t *raw, int size) {
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, size, NULL);
    BIGNUM *s = BN_bin2bn(raw + size, size, NULL);
    if (signature != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(signature, r, s) == 1) {
        return signature;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return NULL;
}

static bool verify(const void *key, ecdsa_curve curve, dstack_bytes digest, const uint8_t *raw) {
    ECDSA_SIG *signature = signature_from_raw(raw, (int)ecdsa_scalar_size(curve));
    /* Verification only reads the key; the parameter is not const for want of const in the API. */
    bool good = signature != NULL && ECDSA_do_verify(digest.data, (int)digest.len, signature,
                                                     (EC_KEY *)(uintptr_t)key) == 1;
    ECDSA_SIG_free(signature);
    return good;
}

const ecdsa_backend_ops ecdsa_libcrypto = {
    .name = "libcrypto",
    .load = load,
    .unload = unload,
    .verify = verify,
};

/* A key with its private half, in ordinary memory for the time of one operation; EC_KEY_free wipes
 * it. */
static EC_KEY *private_load(ecdsa_curve curve, const uint8_t *scalar) {
    EC_KEY *key = key_new(curve);
    BIGNUM *number = BN_secure_new();
    bool loaded = key != NULL && number != NULL &&
                  BN_bin2bn(scalar, (int)ecdsa_scalar_size(curve), number) != NULL &&
                  EC_KEY_set_private_key(key, number) == 1;
    BN_clear_free(number);
    if (!loaded) {
        EC_KEY_free(key);
        key = NULL;
    }
    return key;
}

bool ecdsa_libcrypto_point(ecdsa_curve curve, const uint8_t *scalar, uint8_t *point) {
    size_t size = 2 * ecdsa_scalar_size(curve) + 1;
    EC_KEY *key = private_load(curve, scalar);
    const EC_GROUP *group = key == NULL ? NULL : EC_KEY_get0_group(key);
    EC_POINT *made = group == NULL ? NULL : EC_POINT_new(group);
    bool good =
        made != NULL &&
        EC_POINT_mul(group, made, EC_KEY_get0_private_key(key), NULL, NULL, NULL) == 1 &&
        EC_POINT_point2oct(group, made, POINT_CONVERSION_UNCOMPRESSED, point, size, NULL) == size;
    EC_POINT_free(made);
    EC_KEY_free(key);
    return good;
}

bool ecdsa_libcrypto_sign(ecdsa_curve curve, const uint8_t *scalar, dstack_bytes digest,
                          uint8_t *raw) {
    int size = (int)ecdsa_scalar_size(curve);
    EC_KEY *key = private_load(curve, scalar);
    ECDSA_SIG *signature = key == NULL ? NULL : ECDSA_do_sign(digest.data, (int)digest.len, key);
    bool good = signature != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, size) == size &&
                BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + size, size) == size;
    ECDSA_SIG_free(signature);
    EC_KEY_free(key);
    return good;
}
