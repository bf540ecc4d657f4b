/* libcrypto's EC_KEY interface is marked deprecated since 3.0, and is used on purpose: loading a
 * key through EVP_PKEY_fromdata costs nine times as much (22 against 2.5 microseconds, measured on
 * 3.0.22), and a fresh key arrives with every quote. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/ecdsa_backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

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

/* ---- a key's multiples, computed beforehand ----
 *
 * libcrypto has such a table for the base point alone. A copy of the group whose generator is the
 * public point gets one for that point (EC_GROUP_precompute_mult), and each of the two products of
 * a verification then costs 8 microseconds instead of 8 and 47. ECDSA_do_verify cannot be told to
 * use it, so the equation of FIPS 186-5, section 6.4.2, is put together here from libcrypto's
 * operations. All of it is public. */

/* Numbers and points that one verification works with. */
typedef struct scratch {
    BN_CTX *ctx;
    EC_POINT *sum, *part;
} scratch;

/* Scratch is kept for the next verification, so that none of them needs memory: one for each of
 * this many threads at a time. */
#define SPARE_SCRATCH 4

typedef struct key_table {
    EC_GROUP *own; /* its generator is the key */
    _Atomic(scratch *) spare[SPARE_SCRATCH];
} key_table;

static void scratch_free(scratch *s) {
    if (s != NULL) {
        EC_POINT_free(s->part);
        EC_POINT_free(s->sum);
        BN_CTX_free(s->ctx);
        free(s);
    }
}

static scratch *scratch_new(void) {
    scratch *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->ctx = BN_CTX_new();
        s->sum = EC_POINT_new(groups[ECDSA_P256]);
        s->part = EC_POINT_new(groups[ECDSA_P256]);
        if (s->ctx == NULL || s->sum == NULL || s->part == NULL) {
            scratch_free(s);
            s = NULL;
        }
    }
    return s;
}

static scratch *scratch_take(key_table *table) {
    scratch *s = NULL;
    for (size_t i = 0; s == NULL && i < SPARE_SCRATCH; i++) {
        s = atomic_exchange(&table->spare[i], NULL);
    }
    return s != NULL ? s : scratch_new();
}

static void scratch_give(key_table *table, scratch *s) {
    for (size_t i = 0; s != NULL && i < SPARE_SCRATCH; i++) {
        scratch *none = NULL;
        if (atomic_compare_exchange_strong(&table->spare[i], &none, s)) {
            s = NULL;
        }
    }
    scratch_free(s);
}

static EC_GROUP *group_with_generator(const EC_GROUP *base, const uint8_t *point) {
    EC_GROUP *own = EC_GROUP_dup(base);
    EC_POINT *generator = own == NULL ? NULL : EC_POINT_new(own);
    bool made = generator != NULL && EC_POINT_oct2point(own, generator, point, 65, NULL) == 1 &&
                EC_GROUP_set_generator(own, generator, EC_GROUP_get0_order(base),
                                       EC_GROUP_get0_cofactor(base)) == 1 &&
                EC_GROUP_precompute_mult(own, NULL) == 1 && EC_GROUP_have_precompute_mult(own) == 1;
    EC_POINT_free(generator);
    if (!made) {
        EC_GROUP_free(own);
        own = NULL;
    }
    return own;
}

static void table_free(void *made) {
    key_table *table = made;
    for (size_t i = 0; table != NULL && i < SPARE_SCRATCH; i++) {
        scratch_free(atomic_load(&table->spare[i]));
    }
    EC_GROUP_free(table == NULL ? NULL : table->own);
    free(table);
}

static void *table_make(const uint8_t *point) {
    pthread_once(&groups_once, groups_make);
    const EC_GROUP *base = groups[ECDSA_P256];
    key_table *table = base == NULL ? NULL : calloc(1, sizeof *table);
    if (table != NULL) {
        table->own = group_with_generator(base, point);
    }
    if (table != NULL && table->own == NULL) {
        free(table);
        table = NULL;
    }
    return table;
}

/* x(u1 G + u2 Q) mod n = r, where u1 = e / s and u2 = r / s. */
static bool equation_holds(const EC_GROUP *own, const uint8_t *digest, const uint8_t *raw,
                           scratch *at) {
    const EC_GROUP *base = groups[ECDSA_P256];
    const BIGNUM *n = EC_GROUP_get0_order(base);
    BN_CTX *ctx = at->ctx;
    BIGNUM *r = BN_CTX_get(ctx), *s = BN_CTX_get(ctx), *u1 = BN_CTX_get(ctx);
    BIGNUM *u2 = BN_CTX_get(ctx), *x = BN_CTX_get(ctx);
    return x != NULL && BN_bin2bn(raw, 32, r) != NULL && BN_bin2bn(raw + 32, 32, s) != NULL &&
           BN_bin2bn(digest, 32, u1) != NULL && BN_mod_inverse(s, s, n, ctx) != NULL &&
           BN_mod_mul(u1, u1, s, n, ctx) == 1 && BN_mod_mul(u2, r, s, n, ctx) == 1 &&
           EC_POINT_mul(base, at->sum, u1, NULL, NULL, ctx) == 1 &&
           EC_POINT_mul(own, at->part, u2, NULL, NULL, ctx) == 1 &&
           EC_POINT_add(base, at->sum, at->sum, at->part, ctx) == 1 &&
           EC_POINT_is_at_infinity(base, at->sum) == 0 &&
           EC_POINT_get_affine_coordinates(base, at->sum, x, NULL, ctx) == 1 &&
           BN_nnmod(x, x, n, ctx) == 1 && BN_cmp(x, r) == 0;
}

static bool table_verify(const void *made, dstack_bytes digest, const uint8_t *raw) {
    key_table *table =
        (key_table *)(uintptr_t)made; /* its multiples do not change, its scratch does */
    scratch *at = scratch_take(table);
    bool good = false;
    if (at != NULL) {
        BN_CTX_start(at->ctx);
        good = equation_holds(table->own, digest.data, raw, at); /* the leftmost 256 bits */
        BN_CTX_end(at->ctx);
    }
    scratch_give(table, at);
    return good;
}

const ecdsa_backend_ops ecdsa_libcrypto = {
    .name = "libcrypto",
    .load = load,
    .unload = unload,
    .verify = verify,
    .table_make = table_make,
    .table_free = table_free,
    .table_verify = table_verify,
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
