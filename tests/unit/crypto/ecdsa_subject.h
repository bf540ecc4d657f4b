/* A key on each curve, its public half in both backends, and one message signed by it. */
#ifndef TEST_ECDSA_SUBJECT_H
#define TEST_ECDSA_SUBJECT_H

#include "check.h"

#include "crypto/ecdsa.h"
#include "crypto/ecdsa_backend.h"
#include "crypto/hash.h"

static const ecdsa_backend_ops *const backends[] = {&ecdsa_libcrypto, &ecdsa_gnutls};
#define BACKENDS 2

static const char *const order_hex[] = {
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc529"
    "73",
};

typedef struct subject {
    ecdsa_curve curve;
    size_t size;
    ecdsa_private *key;
    ecdsa_key *loaded[BACKENDS];
    ecdsa_key *reused; /* one that has its table, on P-256 */
    ecdsa_tables tables;
    uint8_t digest[64];
    uint8_t raw[ECDSA_MAX_RAW_SIZE];
} subject;

static inline void subject_make(subject *s, ecdsa_curve curve) {
    dstack_error err = {0};
    *s = (subject){.curve = curve, .size = ecdsa_scalar_size(curve)};
    assert_ok(ecdsa_private_generate(&s->key, curve, &err), err);
    hash_once(HASH_SHA512, bytes_of_str("message"), s->digest);
    for (size_t b = 0; b < BACKENDS; b++) {
        assert_ok(ecdsa_key_load(&s->loaded[b], backends[b], curve,
                                 ecdsa_key_point(ecdsa_private_public(s->key)), &err),
                  err);
    }
    assert_ok(ecdsa_sign_raw(s->key, bytes_of(s->digest, s->size), s->raw, &err), err);
    assert_ok(ecdsa_key_load(&s->reused, &ecdsa_libcrypto, curve,
                             ecdsa_key_point(ecdsa_private_public(s->key)), &err),
              err);
    s->tables.left = 1;
    ecdsa_key_expect_reuse(s->reused, &s->tables);
    for (int i = 0; i < (curve == ECDSA_P256 ? ECDSA_TABLE_AFTER : 1); i++) {
        assert_false(ecdsa_key_has_table(s->reused));
        assert_ok(ecdsa_verify_raw(s->reused, bytes_of(s->digest, s->size),
                                   bytes_of(s->raw, 2 * s->size), &err),
                  err);
    }
    assert_int_equal(ecdsa_key_has_table(s->reused), curve == ECDSA_P256);
    assert_int_equal(s->tables.left, curve == ECDSA_P256 ? 0 : 1);
}

static inline void subject_clear(subject *s) {
    ecdsa_key_free(s->reused);
    assert_int_equal(s->tables.left, 1);
    ecdsa_private_free(s->key);
    for (size_t b = 0; b < BACKENDS; b++) {
        ecdsa_key_free(s->loaded[b]);
    }
}

#define FOR_EACH_CURVE(s)                                                                          \
    for (ecdsa_curve curve_ = ECDSA_P256; curve_ <= ECDSA_P384; curve_++)                          \
        for (subject_make(&(s), curve_); (s).key != NULL; subject_clear(&(s)), (s).key = NULL)

#endif
