/* Signed requests of the ACME client. The expected texts were computed apart from this code, with
 * Python's hashlib and cryptography, for the key whose scalar is 1. */
#include "check.h"

#include "cert/acme_jws.h"
#include "crypto/ecdsa.h"
#include "crypto/hash.h"

#define JWK                                                                                        \
    "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","     \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"

static ecdsa_private *key_one(void) {
    uint8_t scalar[32] = {[31] = 1};
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(scalar, 32), &err), err);
    return key;
}

static void key_thumbprint_and_record_have_their_published_form(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = key_one();
    const ecdsa_key *public_key = ecdsa_private_public(key);
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_ok(acme_jwk(public_key, &out, &err), err);
    assert_string_equal(buf_text(&out), JWK);
    buf_reset(&out);
    assert_ok(acme_thumbprint(public_key, &out, &err), err);
    assert_string_equal(buf_text(&out), "xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M");
    buf_reset(&out);
    assert_ok(
        acme_dns01_value(public_key, "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", &out, &err),
        err);
    assert_string_equal(buf_text(&out), "lhY3jTCZrD2A91f9GXXahiVSdiBOnlptwTdjJnnYJsQ");
}

static json_t *decoded(const json_t *request, const char *member) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    const char *encoded = json_string_value(json_object_get(request, member));
    assert_ok(base64_decode(bytes_of_str(encoded), BASE64_URL_NOPAD, &text, &err), err);
    return json_parse(bytes_of_buf(&text), 4096, member, &err);
}

static json_t *signed_request(const ecdsa_private *key, const char *account, const char *payload) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_ok(acme_jws_sign(key, account, "n\"1", "https://ca.test/x", payload, &text, &err), err);
    json_t *request = json_parse(bytes_of_buf(&text), 4096, "request", &err);
    assert_non_null(request);
    return request;
}

static void a_request_is_signed_over_header_and_payload(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = key_one();
    DSTACK_AUTO(json) json_t *request = signed_request(key, "https://ca.test/acct/1", "{\"a\":1}");
    DSTACK_AUTO(json) json_t *header = decoded(request, "protected");
    assert_string_equal(json_string_value(json_object_get(header, "alg")), "ES256");
    assert_string_equal(json_string_value(json_object_get(header, "nonce")), "n\"1");
    assert_string_equal(json_string_value(json_object_get(header, "kid")),
                        "https://ca.test/acct/1");
    assert_null(json_object_get(header, "jwk"));
    DSTACK_AUTO(buf) dstack_buf covered = {0};
    buf_put_fmt(&covered, "%s.%s", json_string_value(json_object_get(request, "protected")),
                json_string_value(json_object_get(request, "payload")));
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(bytes_of_buf(&covered), digest);
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    const char *text = json_string_value(json_object_get(request, "signature"));
    assert_ok(base64_decode(bytes_of_str(text), BASE64_URL_NOPAD, &signature, &err), err);
    const ecdsa_key *public_key = ecdsa_private_public(key);
    dstack_bytes hashed = bytes_of(digest, sizeof digest);
    assert_ok(ecdsa_verify_raw(public_key, hashed, bytes_of_buf(&signature), &err), err);
    digest[0] ^= 1;
    assert_int_equal(ecdsa_verify_raw(public_key, hashed, bytes_of_buf(&signature), &err),
                     DSTACK_E_CRYPTO);
}

static void without_an_account_the_key_itself_is_named(void **state) {
    (void)state;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = key_one();
    DSTACK_AUTO(json) json_t *request = signed_request(key, NULL, NULL);
    DSTACK_AUTO(json) json_t *header = decoded(request, "protected");
    assert_null(json_object_get(header, "kid"));
    DSTACK_AUTO(json) json_t *want = json_loads(JWK, 0, NULL);
    assert_true(json_equal(json_object_get(header, "jwk"), want));
    assert_string_equal(json_string_value(json_object_get(request, "payload")), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_thumbprint_and_record_have_their_published_form),
        cmocka_unit_test(a_request_is_signed_over_header_and_payload),
        cmocka_unit_test(without_an_account_the_key_itself_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
