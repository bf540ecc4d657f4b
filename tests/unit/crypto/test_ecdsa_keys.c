/* ECDSA keys and deterministic signatures: private keys and their encodings, SEC 1 and SPKI forms. */
#include "ecdsa_subject.h"

/* RFC 6979, A.2.5 (P-256, SHA-256) and A.2.6 (P-384, SHA-384), message "sample". */
static void deterministic_signatures_are_those_of_rfc_6979(void **state) {
    (void)state;
    static const struct {
        ecdsa_curve curve;
        hash_algorithm hash;
        const char *scalar, *raw;
    } cases[] = {
        {ECDSA_P256, HASH_SHA256,
         "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
         "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
         "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"},
        {ECDSA_P384, HASH_SHA384,
         "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8"
         "96d5724e4c70a825f872c9ea60d2edf5",
         "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c"
         "81a648152e44acf96e36dd1e80fabe46"
         "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94f"
         "a329c145786e679e7b82c71a38628ac8"},
    };
    for (size_t i = 0; i < 2; i++) {
        dstack_error err = {0};
        uint8_t digest[HASH_MAX_SIZE], raw[ECDSA_MAX_RAW_SIZE];
        DSTACK_AUTO(buf) dstack_buf scalar = {0};
        DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
        put_hex(&scalar, cases[i].scalar);
        assert_ok(ecdsa_private_from_scalar(&key, cases[i].curve, bytes_of_buf(&scalar), &err),
                  err);
        hash_once(cases[i].hash, bytes_of_str("sample"), digest);
        assert_ok(ecdsa_sign_deterministic(key, bytes_of(digest, scalar.len), raw, &err), err);
        assert_hex(bytes_of(raw, 2 * scalar.len), cases[i].raw);
        assert_ok(ecdsa_verify_raw(ecdsa_private_public(key), bytes_of(digest, scalar.len),
                                   bytes_of(raw, 2 * scalar.len), &err),
                  err);
    }
}

static void private_keys_survive_their_encodings(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        dstack_error err = {0};
        DSTACK_AUTO(secret) dstack_secret *der = NULL;
        DSTACK_AUTO(secret) dstack_secret *pem = NULL;
        DSTACK_AUTO(ecdsa_private) ecdsa_private *from_der = NULL;
        DSTACK_AUTO(ecdsa_private) ecdsa_private *from_pem = NULL;
        assert_ok(ecdsa_private_pkcs8(s.key, &der, &err), err);
        assert_int_equal(dstack_secret_len(der), s.curve == ECDSA_P256 ? 138 : 185);
        assert_ok(ecdsa_private_pem(s.key, &pem, &err), err);
        assert_ok(ecdsa_private_from_der(
                      &from_der, bytes_of(dstack_secret_peek(der), dstack_secret_len(der)), &err),
                  err);
        assert_ok(ecdsa_private_from_pem(
                      &from_pem, bytes_of(dstack_secret_peek(pem), dstack_secret_len(pem)), &err),
                  err);
        assert_true(bytes_equal(ecdsa_private_scalar(s.key), ecdsa_private_scalar(from_der)));
        assert_true(bytes_equal(ecdsa_private_scalar(s.key), ecdsa_private_scalar(from_pem)));
        /* A public point of another key inside is noticed. */
        uint8_t *bytes = dstack_secret_data(der);
        bytes[dstack_secret_len(der) - 1] ^= 1;
        ecdsa_private *wrong = NULL;
        assert_int_equal(
            ecdsa_private_from_der(&wrong, bytes_of(bytes, dstack_secret_len(der)), &err),
            DSTACK_E_CRYPTO);
        assert_null(wrong);
    }
}

static void sec1_keys_are_read(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    put_hex(&der, "30310201010420c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
                  "a00a06082a8648ce3d030107");
    assert_ok(ecdsa_private_from_der(&key, bytes_of_buf(&der), &err), err);
    assert_hex(ecdsa_key_point(ecdsa_private_public(key)),
               "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
               "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
    ecdsa_private *refused = NULL;
    for (size_t len = 0; len < der.len; len++) {
        assert_int_not_equal(ecdsa_private_from_der(&refused, bytes_of(der.data, len), NULL), 0);
    }
    assert_null(refused);
}

static void scalars_that_are_no_keys_are_refused(void **state) {
    (void)state;
    for (ecdsa_curve curve = ECDSA_P256; curve <= ECDSA_P384; curve++) {
        ecdsa_private *key = NULL;
        DSTACK_AUTO(buf) dstack_buf order = {0};
        uint8_t zero[ECDSA_MAX_SCALAR_SIZE] = {0};
        put_hex(&order, order_hex[curve]);
        assert_int_equal(ecdsa_private_from_scalar(&key, curve, bytes_of_buf(&order), NULL),
                         DSTACK_E_CRYPTO);
        assert_int_equal(ecdsa_private_from_scalar(&key, curve, bytes_of(zero, order.len), NULL),
                         DSTACK_E_CRYPTO);
        assert_int_equal(ecdsa_private_from_scalar(&key, curve, bytes_of(zero, 31), NULL),
                         DSTACK_E_FORMAT);
        order.data[order.len - 1]--; /* n - 1 is a key */
        assert_int_equal(ecdsa_private_from_scalar(&key, curve, bytes_of_buf(&order), NULL), 0);
        ecdsa_private_free(key);
    }
}

static void spki_round_trips_and_other_forms_are_refused(void **state) {
    (void)state;
    subject s;
    FOR_EACH_CURVE(s) {
        dstack_error err = {0};
        DSTACK_AUTO(buf) dstack_buf spki = {0};
        DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
        assert_ok(ecdsa_key_spki(ecdsa_private_public(s.key), &spki, &err), err);
        assert_ok(ecdsa_key_from_spki(&key, bytes_of_buf(&spki), &err), err);
        assert_true(
            bytes_equal(ecdsa_key_point(key), ecdsa_key_point(ecdsa_private_public(s.key))));
        ecdsa_key *refused = NULL;
        assert_int_equal(ecdsa_key_from_spki(&refused, bytes_of(spki.data, spki.len - 1), NULL),
                         DSTACK_E_UNSUPPORTED);
        spki.data[12] ^= 1; /* another algorithm or curve */
        assert_int_equal(ecdsa_key_from_spki(&refused, bytes_of_buf(&spki), NULL),
                         DSTACK_E_UNSUPPORTED);
        assert_null(refused);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deterministic_signatures_are_those_of_rfc_6979),
        cmocka_unit_test(private_keys_survive_their_encodings),
        cmocka_unit_test(sec1_keys_are_read),
        cmocka_unit_test(scalars_that_are_no_keys_are_refused),
        cmocka_unit_test(spki_round_trips_and_other_forms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
