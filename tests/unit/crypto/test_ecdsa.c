/* ECDSA: both backends, and a key with a table of its multiples, give one verdict on every
 * signature, good or crafted. */
#include <openssl/bn.h>

#include "ecdsa_subject.h"

static const char *const prime_hex[] = {
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffff"
    "ff",
};

/* The verdict of both backends on a raw signature, which must agree. */
static bool raw_holds(const subject *s, dstack_bytes digest, dstack_bytes raw) {
    int first = ecdsa_verify_raw(s->loaded[0], digest, raw, NULL);
    int second = ecdsa_verify_raw(s->loaded[1], digest, raw, NULL);
    assert_int_equal(first, second);
    assert_int_equal(ecdsa_verify_raw(s->reused, digest, raw, NULL), first);
    return first == 0;
}

static bool der_holds(const subject *s, dstack_bytes der) {
    dstack_bytes digest = bytes_of(s->digest, s->size);
    int first = ecdsa_verify_der(s->loaded[0], digest, der, NULL);
    int second = ecdsa_verify_der(s->loaded[1], digest, der, NULL);
    assert_int_equal(first, second);
    assert_int_equal(ecdsa_verify_der(s->reused, digest, der, NULL), first);
    return first == 0;
}

static void signatures_verify_with_every_digest_size(void **state) {
    (void)state;
    static const size_t sizes[] = {32, 48, 64};
    subject s;
    FOR_EACH_CURVE(s) {
        for (size_t i = 0; i < 3; i++) {
            dstack_error err = {0};
            dstack_bytes digest = bytes_of(s.digest, sizes[i]);
            assert_ok(ecdsa_sign_raw(s.key, digest, s.raw, &err), err);
            assert_true(raw_holds(&s, digest, bytes_of(s.raw, 2 * s.size)));
            s.raw[3] ^= 1;
            assert_false(raw_holds(&s, digest, bytes_of(s.raw, 2 * s.size)));
        }
        assert_int_equal(ecdsa_sign_raw(s.key, bytes_of(s.digest, 20), s.raw, NULL),
                         DSTACK_E_ARGUMENT);
    }
}

static void scalars_outside_the_order_are_refused(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        DSTACK_AUTO(buf) dstack_buf order = {0};
        DSTACK_AUTO(buf) dstack_buf above = {0};
        put_hex(&order, order_hex[s.curve]);
        put_hex(&above, order_hex[s.curve]);
        above.data[above.len - 1]++;
        uint8_t zero[ECDSA_MAX_SCALAR_SIZE] = {0}, ones[ECDSA_MAX_SCALAR_SIZE];
        memset(ones, 0xff, sizeof ones);
        const uint8_t *bad[] = {zero, order.data, above.data, ones};
        for (size_t place = 0; place < 2; place++) {
            for (size_t i = 0; i < 4; i++) {
                uint8_t forged[ECDSA_MAX_RAW_SIZE];
                memcpy(forged, s.raw, 2 * s.size);
                memcpy(forged + place * s.size, bad[i], s.size);
                assert_false(
                    raw_holds(&s, bytes_of(s.digest, s.size), bytes_of(forged, 2 * s.size)));
                DSTACK_AUTO(buf) dstack_buf der = {0};
                assert_int_equal(
                    ecdsa_raw_to_der(s.curve, bytes_of(forged, 2 * s.size), &der, NULL), 0);
                assert_false(der_holds(&s, bytes_of_buf(&der)));
            }
        }
    }
}

/* r = s = 1 and friends: signatures that a sloppy verifier takes for some digest or key. */
static void trivial_signatures_are_refused(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        for (uint8_t r = 1; r <= 3; r++) {
            for (uint8_t t = 1; t <= 3; t++) {
                uint8_t forged[ECDSA_MAX_RAW_SIZE] = {0};
                uint8_t zeros[64] = {0};
                forged[s.size - 1] = r;
                forged[2 * s.size - 1] = t;
                assert_false(
                    raw_holds(&s, bytes_of(s.digest, s.size), bytes_of(forged, 2 * s.size)));
                assert_false(raw_holds(&s, bytes_of(zeros, s.size), bytes_of(forged, 2 * s.size)));
            }
        }
    }
}

static void the_other_half_of_s_is_a_valid_signature(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        DSTACK_AUTO(buf) dstack_buf order = {0};
        put_hex(&order, order_hex[s.curve]);
        int borrow = 0;
        for (size_t i = s.size; i-- > 0;) { /* s := n - s */
            int d = order.data[i] - s.raw[s.size + i] - borrow;
            borrow = d < 0;
            s.raw[s.size + i] = (uint8_t)(d + (borrow ? 256 : 0));
        }
        assert_true(raw_holds(&s, bytes_of(s.digest, s.size), bytes_of(s.raw, 2 * s.size)));
    }
}

static void only_the_canonical_der_is_accepted(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        /* Small r and s make every variant expressible; whether they verify is not the question, so
         * the conversion is asked. */
        static const struct {
            const char *der;
            bool canonical;
        } cases[] = {
            {"3006020101020102", true},
            {"3007020101020102", false},     /* length beyond the end */
            {"300602010102010200", false},   /* something follows */
            {"30070201010201020500", false}, /* lengths disagree */
            {"3008020101020102"
             "0500",
             false},                       /* a third element */
            {"308106020101020102", false}, /* long form for a short length */
            {"30820006020101020102", false},
            {"3080020101020102"
             "0000",
             false},                       /* indefinite length */
            {"300702020001020102", false}, /* r with a needless zero */
            {"300702010102020002", false}, /* s with a needless zero */
            {"3006020181020102", false},   /* negative r */
            {"3006020101020182", false},   /* negative s */
            {"300502000201"
             "02",
             false},                     /* empty r */
            {"3006020101030102", false}, /* s is no INTEGER */
            {"3106020101020102", false}, /* a SET */
            {"3003020101", false},       /* s is missing */
            {"", false},
            {"30", false},
            {"3000", false},
        };
        uint8_t raw[ECDSA_MAX_RAW_SIZE];
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            DSTACK_AUTO(buf) dstack_buf der = {0};
            put_hex(&der, cases[i].der);
            int rc = ecdsa_der_to_raw(s.curve, bytes_of_buf(&der), raw, NULL);
            if ((rc == 0) != cases[i].canonical) {
                fail_msg("%s: verdict %d", cases[i].der, rc);
            }
            if (!cases[i].canonical) {
                assert_false(der_holds(&s, bytes_of_buf(&der)));
            }
        }
        DSTACK_AUTO(buf) dstack_buf good = {0};
        assert_int_equal(ecdsa_raw_to_der(s.curve, bytes_of(s.raw, 2 * s.size), &good, NULL), 0);
        assert_true(der_holds(&s, bytes_of_buf(&good)));
        assert_int_equal(ecdsa_der_to_raw(s.curve, bytes_of_buf(&good), raw, NULL), 0);
        assert_memory_equal(raw, s.raw, 2 * s.size);
        for (size_t len = 0; len < good.len; len++) {
            assert_false(der_holds(&s, bytes_of(good.data, len)));
        }
    }
}

static void raw_signatures_of_other_lengths_are_refused(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        uint8_t padded[ECDSA_MAX_RAW_SIZE + 8] = {0};
        memcpy(padded, s.raw, 2 * s.size);
        for (size_t len = 0; len <= 2 * s.size + 8; len++) {
            assert_true(raw_holds(&s, bytes_of(s.digest, s.size), bytes_of(padded, len)) ==
                        (len == 2 * s.size));
        }
    }
}

/* Bytes that a seed makes: the same in every run. */
static void put_noise(uint8_t *out, size_t len, uint32_t seed) {
    uint8_t block[HASH_SHA512_SIZE];
    hash_once(HASH_SHA512, bytes_of(&seed, sizeof seed), block);
    memcpy(out, block, len);
}

static void random_and_altered_signatures_get_one_verdict(void **state) {
    (void)state;
    subject s;
    subject_make(&s, ECDSA_P256);
    for (uint32_t i = 0; i < 1500; i++) {
        uint8_t digest[32], raw[64];
        put_noise(digest, sizeof digest, i);
        assert_int_equal(ecdsa_sign_raw(s.key, bytes_of(digest, 32), raw, NULL), 0);
        assert_true(raw_holds(&s, bytes_of(digest, 32), bytes_of(raw, 64)));
        raw[i % 64] ^= (uint8_t)(1 << i % 8);
        assert_false(raw_holds(&s, bytes_of(digest, 32), bytes_of(raw, 64)));
        put_noise(raw, sizeof raw, ~i);
        assert_false(raw_holds(&s, bytes_of(digest, 32), bytes_of(raw, 64)));
    }
    subject_clear(&s);
}

/* Numbers modulo the order of P-256, for signatures that drive a verification into a corner. */
typedef struct numbers {
    BN_CTX *ctx;
    BIGNUM *n, *d, *r, *e, *s, *k;
} numbers;

static numbers numbers_new(const subject *s) {
    numbers m = {BN_CTX_new(), NULL, BN_new(), BN_new(), BN_new(), BN_new(), BN_new()};
    BN_hex2bn(&m.n, order_hex[ECDSA_P256]);
    BN_bin2bn(ecdsa_private_scalar(s->key).data, 32, m.d);
    return m;
}

static void numbers_free(numbers *m) {
    BIGNUM *all[] = {m->n, m->d, m->r, m->e, m->s, m->k};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        BN_free(all[i]);
    }
    BN_CTX_free(m->ctx);
}

/* u1 G = -(u2 Q): the sum is the point at infinity, which has no x. */
static void a_sum_at_infinity_is_refused(void **state) {
    (void)state;
    subject s;
    subject_make(&s, ECDSA_P256);
    numbers m = numbers_new(&s);
    uint8_t digest[32];
    BN_bin2bn(s.raw, 32, m.r);
    assert_int_equal(BN_mod_mul(m.e, m.r, m.d, m.n, m.ctx), 1);
    assert_int_equal(BN_sub(m.e, m.n, m.e), 1); /* e = -r d */
    assert_int_equal(BN_bn2binpad(m.e, digest, 32), 32);
    assert_false(raw_holds(&s, bytes_of(digest, 32), bytes_of(s.raw, 64)));
    memset(digest, 0, sizeof digest); /* and u1 = 0: the sum is u2 Q alone */
    assert_false(raw_holds(&s, bytes_of(digest, 32), bytes_of(s.raw, 64)));
    numbers_free(&m);
    subject_clear(&s);
}

/* u1 G = u2 Q: adding them is doubling. With R = k G, r = x(R), e = r d and s = 2 r d / k the
 * signature is a good one; k and r come from signing: s' = (e' + r d) / k gives k. */
static void a_signature_whose_halves_are_equal_is_good(void **state) {
    (void)state;
    subject s;
    subject_make(&s, ECDSA_P256);
    numbers m = numbers_new(&s);
    uint8_t digest[32], raw[64];
    BN_bin2bn(s.raw, 32, m.r);
    BN_bin2bn(s.raw + 32, 32, m.s);
    BN_bin2bn(s.digest, 32, m.e);
    assert_non_null(BN_mod_inverse(m.s, m.s, m.n, m.ctx));
    assert_int_equal(BN_mod_mul(m.k, m.r, m.d, m.n, m.ctx), 1); /* r d */
    assert_int_equal(BN_mod_add(m.e, m.e, m.k, m.n, m.ctx), 1);
    assert_int_equal(BN_mod_mul(m.s, m.e, m.s, m.n, m.ctx), 1); /* k */
    assert_int_equal(BN_bn2binpad(m.k, digest, 32), 32);
    assert_non_null(BN_mod_inverse(m.s, m.s, m.n, m.ctx));
    assert_int_equal(BN_mod_lshift1(m.k, m.k, m.n, m.ctx), 1);
    assert_int_equal(BN_mod_mul(m.s, m.k, m.s, m.n, m.ctx), 1);
    memcpy(raw, s.raw, 32);
    assert_int_equal(BN_bn2binpad(m.s, raw + 32, 32), 32);
    assert_int_equal(ecdsa_verify_raw(s.loaded[0], bytes_of(digest, 32), bytes_of(raw, 64), NULL),
                     0);
    assert_int_equal(ecdsa_verify_raw(s.reused, bytes_of(digest, 32), bytes_of(raw, 64), NULL), 0);
    /* nettle takes the two points for different ones and refuses; see ecdsa.h */
    numbers_free(&m);
    subject_clear(&s);
}

/* With a digest of zero u1 G is the point at infinity; s = r d / k makes that a good signature. */
static void a_zero_digest_can_be_signed(void **state) {
    (void)state;
    subject s;
    subject_make(&s, ECDSA_P256);
    uint8_t zero[32] = {0};
    assert_int_equal(ecdsa_sign_raw(s.key, bytes_of(zero, 32), s.raw, NULL), 0);
    assert_true(raw_holds(&s, bytes_of(zero, 32), bytes_of(s.raw, 64)));
    s.raw[40] ^= 1;
    assert_false(raw_holds(&s, bytes_of(zero, 32), bytes_of(s.raw, 64)));
    subject_clear(&s);
}

static void a_table_is_made_only_where_one_is_left(void **state) {
    (void)state;
    subject s;
    subject_make(&s, ECDSA_P256);
    dstack_bytes point = ecdsa_key_point(ecdsa_private_public(s.key));
    dstack_bytes digest = bytes_of(s.digest, 32), raw = bytes_of(s.raw, 64);
    ecdsa_key *second = NULL;
    assert_int_equal(ecdsa_key_load(&second, &ecdsa_libcrypto, ECDSA_P256, point, NULL), 0);
    ecdsa_key_expect_reuse(second, &s.tables); /* the subject's key has the only one */
    for (int i = 0; i < ECDSA_TABLE_AFTER; i++) {
        assert_int_equal(ecdsa_verify_raw(second, digest, raw, NULL), 0);
    }
    assert_false(ecdsa_key_has_table(second));
    s.tables.left = 1;
    for (int i = 0; i < ECDSA_TABLE_AFTER; i++) {
        assert_int_equal(ecdsa_verify_raw(second, digest, raw, NULL), 0);
    }
    assert_true(ecdsa_key_has_table(second));
    ecdsa_key_free(second);
    s.tables.left = 0;
    subject_clear(&s);
}

static void keys_that_keep_nothing_verify_alike(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        dstack_bytes point = ecdsa_key_point(ecdsa_private_public(s.key));
        dstack_bytes digest = bytes_of(s.digest, s.size), raw = bytes_of(s.raw, 2 * s.size);
        uint8_t bad[ECDSA_MAX_POINT_SIZE];
        DSTACK_AUTO(ecdsa_key) ecdsa_key *compact = NULL, *off = NULL;
        assert_int_equal(ecdsa_key_compact(&compact, s.curve, point, NULL), 0);
        assert_int_equal(ecdsa_verify_raw(compact, digest, raw, NULL), 0);
        assert_int_equal(ecdsa_verify_point(s.curve, point, digest, raw, NULL), 0);
        memcpy(bad, point.data, point.len);
        bad[point.len - 1] ^= 1;
        point = bytes_of(bad, point.len);
        assert_int_equal(ecdsa_key_compact(&off, s.curve, point, NULL), 0);
        assert_int_equal(ecdsa_verify_raw(off, digest, raw, NULL), DSTACK_E_CRYPTO);
        assert_int_equal(ecdsa_verify_point(s.curve, point, digest, raw, NULL), DSTACK_E_CRYPTO);
        assert_int_equal(
            ecdsa_verify_point(s.curve, bytes_of(bad, point.len - 2), digest, raw, NULL),
            DSTACK_E_FORMAT);
        s.raw[5] ^= 1;
        assert_int_equal(ecdsa_verify_raw(compact, digest, raw, NULL), DSTACK_E_CRYPTO);
    }
}

static void points_off_the_curve_are_refused(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        DSTACK_AUTO(buf) dstack_buf prime = {0};
        put_hex(&prime, prime_hex[s.curve]);
        dstack_bytes point = ecdsa_key_point(ecdsa_private_public(s.key));
        for (size_t b = 0; b < BACKENDS; b++) {
            ecdsa_key *key = NULL;
            uint8_t bad[ECDSA_MAX_POINT_SIZE];
            memcpy(bad, point.data, point.len);
            bad[point.len - 1] ^= 1;
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, point.len), NULL),
                DSTACK_E_CRYPTO);
            memset(bad + 1, 0, point.len - 1); /* the origin, and what infinity is encoded as */
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, point.len), NULL),
                DSTACK_E_CRYPTO);
            memcpy(bad, point.data, point.len);
            memcpy(bad + 1, prime.data, s.size); /* x is not reduced */
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, point.len), NULL),
                DSTACK_E_CRYPTO);
            memset(bad + 1, 0xff, point.len - 1);
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, point.len), NULL),
                DSTACK_E_CRYPTO);
            bad[0] = 2; /* compressed and hybrid forms, and truncated ones */
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, s.size + 1), NULL),
                DSTACK_E_FORMAT);
            bad[0] = 6;
            assert_int_equal(
                ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, point.len), NULL),
                DSTACK_E_FORMAT);
            assert_int_equal(ecdsa_key_load(&key, backends[b], s.curve, bytes_of(bad, 0), NULL),
                             DSTACK_E_FORMAT);
            assert_null(key);
        }
    }
}

static void backends_agree_on_thousands_of_flipped_bits(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        dstack_bytes digest = bytes_of(s.digest, s.size);
        for (size_t bit = 0; bit < 16 * s.size; bit += 5) {
            s.raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            assert_false(raw_holds(&s, digest, bytes_of(s.raw, 2 * s.size)));
            s.raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        assert_true(raw_holds(&s, digest, bytes_of(s.raw, 2 * s.size)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_verify_with_every_digest_size),
        cmocka_unit_test(scalars_outside_the_order_are_refused),
        cmocka_unit_test(trivial_signatures_are_refused),
        cmocka_unit_test(the_other_half_of_s_is_a_valid_signature),
        cmocka_unit_test(only_the_canonical_der_is_accepted),
        cmocka_unit_test(raw_signatures_of_other_lengths_are_refused),
        cmocka_unit_test(random_and_altered_signatures_get_one_verdict),
        cmocka_unit_test(a_sum_at_infinity_is_refused),
        cmocka_unit_test(a_signature_whose_halves_are_equal_is_good),
        cmocka_unit_test(a_zero_digest_can_be_signed),
        cmocka_unit_test(a_table_is_made_only_where_one_is_left),
        cmocka_unit_test(keys_that_keep_nothing_verify_alike),
        cmocka_unit_test(points_off_the_curve_are_refused),
        cmocka_unit_test(backends_agree_on_thousands_of_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
