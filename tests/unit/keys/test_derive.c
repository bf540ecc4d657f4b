/* Derivations against their vectors: a few pinned here, all of the shared data where it is there.
 */
#include "check.h"

#include <dstack/keys.h>

#include "crypto/ecdsa.h"

#define ROOT "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1"
#define ROOT_K256 "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define APP_ID "5bb4ff9a3837357f19dc176407a5709c62eb6c56"
#define INSTANCE_ID "1691ed1b47506cad7d08834668691d88246f5b1f"

static dstack_secret *secret_from_hex(const char *hex) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    put_hex(&bytes, hex);
    return dstack_secret_copy(bytes.data, bytes.len);
}

static void assert_secret(const dstack_secret *secret, const char *hex) {
    assert_hex(bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret)), hex);
}

static void the_dh_secret_is_the_hash_of_the_pinned_encoding(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *parent = secret_from_hex(ROOT);
    DSTACK_AUTO(secret) dstack_secret *child = NULL;
    DSTACK_AUTO(secret) dstack_secret *secret = NULL;
    const dstack_bytes context[] = {bytes_of_str("context one"), bytes_of_str("context two")};
    assert_ok(dstack_key_derive_p256(parent, context, 2, &child, &err), err);
    assert_secret(child, "b60ac47b8fcfbdf96031b9e94f0b60cfe9de05eccb5a1dca41a26f757833c0e7");
    assert_ok(dstack_key_derive_dh(parent, context, 2, &secret, &err), err);
    assert_secret(secret, "663afd58820be8ad645f9c035e93199d114ab16f738db62393bc1d7d623e8813");
}

/* sec_03: a secret derived from a library's encoding of a P-256 key is pinned to fixed bytes. */
static void sec_03_pkcs8_layout_is_the_pinned_138_bytes(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret)
    dstack_secret *scalar =
        secret_from_hex("b60ac47b8fcfbdf96031b9e94f0b60cfe9de05eccb5a1dca41a26f757833c0e7");
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *der = NULL;
    assert_ok(
        ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(dstack_secret_peek(scalar), 32), &err),
        err);
    assert_ok(ecdsa_private_pkcs8(key, &der, &err), err);
    assert_secret(der, "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"
                       "b60ac47b8fcfbdf96031b9e94f0b60cfe9de05eccb5a1dca41a26f757833c0e7"
                       "a1440342000"
                       "4da30d49a17cdcbd8be942b1370eb19b3cd8764adecf326aa3379a0e7af96fb19"
                       "b635ad07cd66080d61e6f3d15e735aaf2fddd717531d2da8aee57f40b4651ca5");
}

static void the_kms_derives_the_known_keys(void **state) {
    (void)state;
    dstack_error err = {0};
    uint8_t public_key[33];
    DSTACK_AUTO(buf) dstack_buf app = {0};
    DSTACK_AUTO(buf) dstack_buf instance = {0};
    put_hex(&app, APP_ID);
    put_hex(&instance, INSTANCE_ID);
    dstack_bytes app_id = bytes_of_buf(&app);
    DSTACK_AUTO(secret) dstack_secret *root = secret_from_hex(ROOT);
    DSTACK_AUTO(secret) dstack_secret *root_k256 = secret_from_hex(ROOT_K256);
    DSTACK_AUTO(secret) dstack_secret *ca = NULL;
    DSTACK_AUTO(secret) dstack_secret *disk = NULL;
    DSTACK_AUTO(secret) dstack_secret *shared_disk = NULL;
    DSTACK_AUTO(secret) dstack_secret *env = NULL;
    DSTACK_AUTO(secret) dstack_secret *k256 = NULL;

    assert_ok(dstack_key_app_ca(root, app_id, &ca, &err), err);
    assert_secret(ca, "b7aaa3fad9afc9093b2562590207013d4f0c460e4ca97097cd933abac7e18001");
    assert_ok(dstack_key_app_disk(root, app_id, bytes_of_buf(&instance), &disk, &err), err);
    assert_secret(disk, "f6fe5ab7893178666e7489553ac4ad84f416278cbec0c3aa3d4bebc0db8e8558");
    assert_ok(dstack_key_app_disk(root, app_id, (dstack_bytes){0}, &shared_disk, &err), err);
    assert_secret(shared_disk, "f0d1eda4832d2f10d22f393889e8fc8323782a3793ecd5ad15f4d30db028ea5f");
    assert_ok(dstack_key_app_env(root, app_id, &env, &err), err);
    assert_secret(env, "9076d1704969285e45b388ef690eb02b00e0136271d687a4a1ea2ead67c33f5d");
    assert_ok(dstack_key_x25519_public(env, public_key, &err), err);
    assert_hex(bytes_of(public_key, 32),
               "4a4d30b8973c08c75b404d5d2f433aaa3baaee0d85389fbd2ce29d09c28a0019");
    assert_ok(dstack_key_app_k256(root_k256, app_id, &k256, &err), err);
    assert_secret(k256, "2bb47ea2f92feae0e3c700d9332d5a4c4bb886f2d5d693198653931b19b310aa");
    assert_ok(dstack_key_k256_public(k256, public_key, &err), err);
    assert_hex(bytes_of(public_key, 33),
               "036ed0aeb938a928b823a68afc1d366894cf5398ccc5cad137e73ff0e5cc501416");
}

static void a_seed_gives_the_known_keys(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret)
    dstack_secret *seed =
        secret_from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    dstack_seed_keys keys = {0};
    assert_ok(dstack_seed_keys_derive(seed, &keys, &err), err);
    assert_secret(keys.disk, "16271dff935a2b916181f4c8a0a6666de98224ba51437c329171a11dd481a09a");
    assert_secret(keys.k256, "091c9c36eb873f1aacde93e91631256e1610ce9940166b45f437d635d76ba95e");
    dstack_seed_keys_clear(&keys);
}

/* sec_01: context items of the ambiguous derivation are held to their lengths. */
static void sec_01_context_items_have_fixed_lengths(void **state) {
    (void)state;
    static const uint8_t zeros[64] = {0};
    DSTACK_AUTO(secret) dstack_secret *root = secret_from_hex(ROOT);
    dstack_bytes app_id = bytes_of(zeros, 20);
    for (size_t len = 0; len <= 64; len++) {
        dstack_secret *key = NULL;
        dstack_bytes item = bytes_of(zeros, len);
        int want = len == 20 ? 0 : DSTACK_E_ARGUMENT;
        assert_int_equal(dstack_key_app_ca(root, item, &key, NULL), want);
        dstack_secret_free(key);
        key = NULL;
        assert_int_equal(dstack_key_app_env(root, item, &key, NULL), want);
        dstack_secret_free(key);
        key = NULL;
        assert_int_equal(dstack_key_app_k256(root, item, &key, NULL), want);
        dstack_secret_free(key);
        key = NULL;
        assert_int_equal(dstack_key_app_disk(root, item, bytes_of(zeros, 20), &key, NULL), want);
        dstack_secret_free(key);
        key = NULL;
        want = len == 20 || len == 0 ? 0 : DSTACK_E_ARGUMENT;
        assert_int_equal(dstack_key_app_disk(root, app_id, item, &key, NULL), want);
        dstack_secret_free(key);
    }
}

static void a_short_root_key_is_refused(void **state) {
    (void)state;
    dstack_secret *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *root = secret_from_hex("0102030405060708090a0b0c0d0e0f10");
    assert_int_equal(dstack_key_derive(root, NULL, 0, 32, &key, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(dstack_key_derive(NULL, NULL, 0, 32, &key, NULL), DSTACK_E_ARGUMENT);
    assert_null(key);
}

static void every_derivation_vector_holds(void **state) {
    (void)state;
    need_shared_data();
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "kms/derivation.json");
    json_t *vectors = json_object_get(file, "vectors");
    size_t i;
    json_t *vector;
    assert_true(json_array_size(vectors) >= 6);
    json_array_foreach(vectors, i, vector) {
        DSTACK_AUTO(secret)
        dstack_secret *ikm = secret_from_hex(json_string_value(json_object_get(vector, "ikm")));
        DSTACK_AUTO(secret) dstack_secret *okm = NULL;
        DSTACK_AUTO(secret) dstack_secret *dh = NULL;
        dstack_buf parts[8] = {{0}};
        dstack_bytes context[8];
        json_t *list = json_object_get(vector, "context_parts");
        size_t count = json_array_size(list);
        assert_true(count <= 8);
        for (size_t k = 0; k < count; k++) {
            put_hex(&parts[k], json_string_value(json_array_get(list, k)));
            context[k] = bytes_of_buf(&parts[k]);
        }
        assert_ok(dstack_key_derive(ikm, context, count, 32, &okm, &err), err);
        assert_secret(okm, json_string_value(json_object_get(vector, "okm")));
        json_t *secret = json_object_get(vector, "secret_sha256_of_pkcs8");
        if (secret != NULL) {
            assert_ok(dstack_key_derive_dh(ikm, context, count, &dh, &err), err);
            assert_secret(dh, json_string_value(secret));
        }
        json_t *point = json_object_get(vector, "k256_public_compressed");
        if (point != NULL) {
            uint8_t public_key[33];
            assert_ok(dstack_key_k256_public(okm, public_key, &err), err);
            assert_hex(bytes_of(public_key, 33), json_string_value(point));
        }
        for (size_t k = 0; k < count; k++) {
            dstack_buf_clear(&parts[k]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dh_secret_is_the_hash_of_the_pinned_encoding),
        cmocka_unit_test(sec_03_pkcs8_layout_is_the_pinned_138_bytes),
        cmocka_unit_test(the_kms_derives_the_known_keys),
        cmocka_unit_test(a_seed_gives_the_known_keys),
        cmocka_unit_test(sec_01_context_items_have_fixed_lengths),
        cmocka_unit_test(a_short_root_key_is_refused),
        cmocka_unit_test(every_derivation_vector_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
