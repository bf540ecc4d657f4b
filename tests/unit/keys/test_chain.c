/* Keys of an app, the signatures over them, and chains that must not hold. */
#include "check.h"

#include <dstack/keys.h>

#include "crypto/hash.h"

#define KMS_ROOT "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define APP_ID "5bb4ff9a3837357f19dc176407a5709c62eb6c56"
#define APP_KEY "d6e88992cdeeee35fe70b5db61ab66cdb191fb9b6ec9313757ef162dd7214d5d"
#define V1_ROOT "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b"

static dstack_secret *secret_from_hex(const char *hex) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    put_hex(&bytes, hex);
    return dstack_secret_copy(bytes.data, bytes.len);
}

static void assert_secret(const dstack_secret *secret, const char *hex) {
    assert_hex(bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret)), hex);
}

static const char *text_at(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static dstack_key_algorithm algorithm_at(const json_t *object) {
    return strcmp(text_at(object, "algorithm"), "ed25519") == 0 ? DSTACK_KEY_ED25519
                                                                : DSTACK_KEY_SECP256K1;
}

static void v0_keys_and_links_are_the_known_ones(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *app = secret_from_hex(APP_KEY);
    dstack_app_key key = {0};
    assert_ok(dstack_app_key_derive(app, bytes_of_str("test"), bytes_of_str("signing"),
                                    DSTACK_KEY_SECP256K1, &key, &err),
              err);
    assert_secret(key.secret, "133e8ca6e532ead3e38f00347408771da296e9c70e8e3e362f485154e64ef4e8");
    assert_hex(bytes_of(key.public_key, key.public_key_len),
               "02c53a10a891f3c5d599539056edcfa080555ac975cae78e59b5d519dcdaf03389");
    assert_hex(bytes_of(key.link, 65),
               "c2ac442934a10d730c14b553e6b93e4db61aa7afa48b7aa51e649841115d6f41"
               "60a29b24a87e0ef4c02e37c10b176913f1449ebb41466fccdc44a6ef5d9b247300");
    dstack_app_key_clear(&key);
    assert_ok(dstack_app_key_derive(app, bytes_of_str("test"), bytes_of_str("signing"),
                                    DSTACK_KEY_ED25519, &key, &err),
              err);
    assert_hex(bytes_of(key.public_key, key.public_key_len),
               "1cbb894af8792a8f6e1e9d58ae2a37364fd8e8378ce9d2300fab933b58aaa6cb");
    assert_hex(bytes_of(key.link, 65),
               "d85afcef55a4be6b46dc03f2644537c6bbf29c1184472aa812012846c8352eaa"
               "414ea1d1bc7c4958257bbc19cbb4b1c7b4b1230f6356ccca5ccfd23375240d7801");
    dstack_app_key_clear(&key);
}

static void v1_keys_and_links_are_the_known_ones(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *app = secret_from_hex(V1_ROOT);
    dstack_app_key key = {0};
    assert_ok(dstack_app_key_derive_v1(app, bytes_of_str("storage-encryption"),
                                       DSTACK_KEY_SECP256K1, &key, &err),
              err);
    assert_secret(key.secret, "5510330f86902ddae38c6d89c93a8408019332c17a429e1abd01c4a28d1544a6");
    assert_hex(bytes_of(key.link, 65),
               "5b6193729ce7976ec67863f21692d4b98c69832698aae8e001a7d33a6f818b6e"
               "46ca950725b6e90e8ca9bcf394abd03ce264bf9b7eec1e91693247f9dd53c26901");
    dstack_app_key_clear(&key);
    assert_ok(dstack_app_key_derive_v1(app, (dstack_bytes){0}, DSTACK_KEY_ED25519, &key, &err),
              err);
    assert_secret(key.secret, "b023493030669cf22e9cafa6a464d4cf3ae4edfe5474ec796710f21ea011946d");
    dstack_app_key_clear(&key);
}

/* sec_17: v0 gives one set of bytes at a path for both algorithms; v1 separates them. */
static void sec_17_v1_separates_algorithms_and_versions(void **state) {
    (void)state;
    DSTACK_AUTO(secret) dstack_secret *app = secret_from_hex(V1_ROOT);
    dstack_app_key k[4] = {{0}};
    dstack_bytes path = bytes_of_str("wallet");
    assert_int_equal(dstack_app_key_derive(app, path, path, DSTACK_KEY_SECP256K1, &k[0], NULL), 0);
    assert_int_equal(dstack_app_key_derive(app, path, path, DSTACK_KEY_ED25519, &k[1], NULL), 0);
    assert_int_equal(dstack_app_key_derive_v1(app, path, DSTACK_KEY_SECP256K1, &k[2], NULL), 0);
    assert_int_equal(dstack_app_key_derive_v1(app, path, DSTACK_KEY_ED25519, &k[3], NULL), 0);
    assert_true(dstack_secret_equal(k[0].secret, k[1].secret));
    assert_false(dstack_secret_equal(k[2].secret, k[3].secret));
    assert_false(dstack_secret_equal(k[0].secret, k[2].secret));
    for (size_t i = 0; i < 4; i++) {
        dstack_app_key_clear(&k[i]);
    }
}

typedef struct made_chain {
    dstack_app_key key;
    uint8_t issued[65], kms[33], app[33];
    dstack_buf app_id;
} made_chain;

static void chain_make(made_chain *c) {
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *kms = secret_from_hex(KMS_ROOT);
    DSTACK_AUTO(secret) dstack_secret *app = NULL;
    *c = (made_chain){0};
    put_hex(&c->app_id, APP_ID);
    assert_ok(dstack_key_app_k256(kms, bytes_of_buf(&c->app_id), &app, &err), err);
    assert_ok(dstack_key_k256_public(kms, c->kms, &err), err);
    assert_ok(dstack_key_k256_public(app, c->app, &err), err);
    assert_ok(
        dstack_key_sign_app(kms, bytes_of_buf(&c->app_id), bytes_of(c->app, 33), c->issued, &err),
        err);
    assert_ok(dstack_app_key_derive(app, bytes_of_str("p"), bytes_of_str("signing"),
                                    DSTACK_KEY_SECP256K1, &c->key, &err),
              err);
}

static void chain_clear(made_chain *c) {
    dstack_app_key_clear(&c->key);
    dstack_buf_clear(&c->app_id);
}

static int chain_check(const made_chain *c, const char *purpose, uint8_t app[33]) {
    return dstack_key_chain_verify(bytes_of(c->key.public_key, c->key.public_key_len),
                                   bytes_of_str(purpose), bytes_of(c->key.link, 65),
                                   bytes_of(c->issued, 65), bytes_of_buf(&c->app_id),
                                   bytes_of(c->kms, 33), app, NULL);
}

static void a_chain_holds_and_names_the_app_key(void **state) {
    (void)state;
    made_chain c;
    uint8_t app[33];
    chain_make(&c);
    assert_hex(bytes_of(c.issued, 65),
               "ac1faee283f6c59ad2f38f0ced98c74f3db32f6a7b2696f50f83a526d5bdf9a1"
               "73991ea4de557b8a53ec5f6400b26a974f1dead4497c1bc1f01f855300ed28f901");
    assert_int_equal(chain_check(&c, "signing", app), 0);
    assert_memory_equal(app, c.app, 33);
    chain_clear(&c);
}

static void a_chain_with_any_byte_changed_is_refused(void **state) {
    (void)state;
    made_chain c;
    chain_make(&c);
    uint8_t *parts[] = {c.key.public_key, c.key.link, c.issued, c.kms, c.app_id.data};
    const size_t sizes[] = {33, 65, 65, 33, 20};
    for (size_t p = 0; p < 5; p++) {
        for (size_t i = 0; i < sizes[p]; i++) {
            parts[p][i] ^= 1;
            assert_int_not_equal(chain_check(&c, "signing", NULL), 0);
            parts[p][i] ^= 1;
        }
    }
    assert_int_not_equal(chain_check(&c, "Signing", NULL), 0);
    assert_int_not_equal(chain_check(&c, "", NULL), 0);
    assert_int_equal(chain_check(&c, "signing", NULL), 0);
    chain_clear(&c);
}

/* sec_04: the signed concatenations have no length prefixes, so lengths are held at every entry. */
static void sec_04_signed_items_have_fixed_lengths(void **state) {
    (void)state;
    static const uint8_t zeros[64] = {0};
    uint8_t signature[65], signer[33];
    DSTACK_AUTO(secret) dstack_secret *kms = secret_from_hex(KMS_ROOT);
    made_chain c;
    chain_make(&c);
    for (size_t len = 0; len <= 64; len++) {
        dstack_bytes item = bytes_of(zeros, len);
        int id = len == 20 ? 0 : DSTACK_E_ARGUMENT;
        int point = len == 33 ? 0 : DSTACK_E_ARGUMENT;
        int key = len == 32 ? 0 : DSTACK_E_ARGUMENT;
        dstack_bytes id20 = bytes_of(zeros, 20);
        assert_int_equal(dstack_key_sign_app(kms, item, bytes_of(zeros, 33), signature, NULL), id);
        assert_int_equal(dstack_key_sign_app(kms, id20, item, signature, NULL), point);
        assert_int_equal(dstack_key_sign_env(kms, item, 1, bytes_of(zeros, 32), signature, NULL),
                         id);
        assert_int_equal(dstack_key_sign_env(kms, id20, 1, item, signature, NULL), key);
        assert_int_equal(dstack_key_sign_env_legacy(kms, id20, item, signature, NULL), key);
        if (id != 0) {
            assert_int_equal(dstack_key_app_signer(item, bytes_of(c.app, 33),
                                                   bytes_of(c.issued, 65), signer, NULL),
                             DSTACK_E_ARGUMENT);
        }
        if (len != 33 && len != 32) {
            assert_int_equal(
                dstack_key_chain_verify(item, bytes_of_str("signing"), bytes_of(c.key.link, 65),
                                        bytes_of(c.issued, 65), bytes_of_buf(&c.app_id),
                                        bytes_of(c.kms, 33), NULL, NULL),
                DSTACK_E_ARGUMENT);
        }
        if (len != 65) {
            assert_int_not_equal(
                dstack_key_chain_verify(bytes_of(c.key.public_key, 33), bytes_of_str("signing"),
                                        item, bytes_of(c.issued, 65), bytes_of_buf(&c.app_id),
                                        bytes_of(c.kms, 33), NULL, NULL),
                0);
        }
    }
    chain_clear(&c);
}

static void env_key_signatures_recover_their_signer(void **state) {
    (void)state;
    dstack_error err = {0};
    uint8_t signature[65], signer[33], root_public[33];
    DSTACK_AUTO(buf) dstack_buf app_id = {0};
    DSTACK_AUTO(buf) dstack_buf public_key = {0};
    DSTACK_AUTO(secret)
    dstack_secret *root =
        secret_from_hex("0101010101010101010101010101010101010101010101010101010101010101");
    assert_ok(dstack_key_k256_public(root, root_public, &err), err);
    put_hex(&app_id, "abababababababababababababababababababab");
    put_hex(&public_key, "dededededededededededededededededededededededededededededededede");
    dstack_bytes id = bytes_of_buf(&app_id), key = bytes_of_buf(&public_key);
    assert_ok(dstack_key_sign_env(root, id, 1700000000, key, signature, &err), err);
    assert_hex(bytes_of(signature, 65),
               "c9e643b59985ab43c0ae4ec75e302d9d7a70abe0212f9928d5fc56563aa56b54"
               "15271d9ea4dd8d02125359dae4267d704c374ba72a829bece6e16b5e3cdfc9f600");
    assert_ok(dstack_key_env_signer(id, 1700000000, key, bytes_of(signature, 65), signer, &err),
              err);
    assert_hex(bytes_of(signer, 33),
               "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f");
    assert_ok(dstack_key_env_signer(id, 1700000001, key, bytes_of(signature, 65), signer, &err),
              err);
    assert_memory_not_equal(signer, root_public, 33); /* another time is another signer */
    assert_ok(dstack_key_sign_env_legacy(root, id, key, signature, &err), err);
    assert_ok(dstack_key_env_signer_legacy(id, key, bytes_of(signature, 65), signer, &err), err);
    assert_hex(bytes_of(signer, 33),
               "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f");
}

/* ---- shared vectors ------------------------------------------------------------------------- */

static void check_v0_case(const dstack_secret *app, const json_t *item) {
    dstack_error err = {0};
    dstack_app_key key = {0};
    assert_ok(dstack_app_key_derive(app, bytes_of_str(text_at(item, "path")),
                                    bytes_of_str(text_at(item, "purpose")), algorithm_at(item),
                                    &key, &err),
              err);
    assert_secret(key.secret, text_at(item, "key"));
    assert_hex(bytes_of(key.public_key, key.public_key_len), text_at(item, "public_key"));
    json_t *chain = json_object_get(item, "signature_chain");
    assert_hex(bytes_of(key.link, 65), json_string_value(json_array_get(chain, 0)));
    dstack_app_key_clear(&key);
}

static void every_v0_vector_holds(void **state) {
    (void)state;
    need_shared_data();
    size_t i;
    json_t *item;
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "agent/key-vectors.json");
    DSTACK_AUTO(secret) dstack_secret *app = secret_from_hex(text_at(file, "app_key"));
    assert_true(json_array_size(json_object_get(file, "get_key")) >= 10);
    json_array_foreach(json_object_get(file, "get_key"), i, item) {
        check_v0_case(app, item);
    }
}

static void check_v1_case(const dstack_secret *app, const json_t *item) {
    dstack_error err = {0};
    dstack_app_key key = {0};
    DSTACK_AUTO(buf) dstack_buf domain = {0};
    put_hex(&domain, text_at(item, "domain_hex"));
    assert_ok(dstack_app_key_derive_v1(app, bytes_of_buf(&domain), algorithm_at(item), &key, &err),
              err);
    assert_secret(key.secret, text_at(item, "key"));
    assert_hex(bytes_of(key.public_key, key.public_key_len), text_at(item, "public_key"));
    assert_hex(bytes_of(key.link, 65), text_at(item, "signature_chain_0"));
    dstack_app_key_clear(&key);
}

static void every_v1_vector_holds(void **state) {
    (void)state;
    need_shared_data();
    size_t i, k;
    json_t *set, *item;
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "agent/v1/key-vectors.json");
    assert_true(json_array_size(json_object_get(file, "sets")) >= 1);
    json_array_foreach(json_object_get(file, "sets"), i, set) {
        DSTACK_AUTO(secret) dstack_secret *app = secret_from_hex(text_at(set, "app_root_key"));
        json_array_foreach(json_object_get(set, "cases"), k, item) {
            check_v1_case(app, item);
        }
    }
}

static void put_hex_item(dstack_buf *out, const json_t *array, size_t index) {
    const char *text = json_string_value(json_array_get(array, index));
    put_hex(out, text == NULL ? "" : text);
}

static void every_v1_chain_vector_has_its_verdict(void **state) {
    (void)state;
    need_shared_data();
    size_t i, good = 0, bad = 0;
    json_t *item;
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "agent/v1/chain-verify-vectors.json");
    json_array_foreach(json_object_get(file, "cases"), i, item) {
        DSTACK_AUTO(buf) dstack_buf public_key = {0};
        DSTACK_AUTO(buf) dstack_buf link = {0};
        DSTACK_AUTO(buf) dstack_buf issued = {0};
        DSTACK_AUTO(buf) dstack_buf app_id = {0};
        DSTACK_AUTO(buf) dstack_buf kms = {0};
        json_t *chain = json_object_get(item, "signature_chain");
        json_t *own_id = json_object_get(item, "app_id");
        json_t *own_kms = json_object_get(item, "kms_root_public_key");
        put_hex(&public_key, text_at(item, "public_key"));
        put_hex_item(&link, chain, 0);
        put_hex_item(&issued, chain, 1);
        put_hex(&app_id, text_at(own_id != NULL ? item : file, "app_id"));
        put_hex(&kms, text_at(own_kms != NULL ? item : file, "kms_root_public_key"));
        int rc = dstack_key_chain_verify_v1(
            bytes_of_buf(&public_key), bytes_of_str(text_at(item, "domain")), algorithm_at(item),
            bytes_of_buf(&link), bytes_of_buf(&issued), bytes_of_buf(&app_id), bytes_of_buf(&kms),
            NULL, NULL);
        bool valid = json_is_true(json_object_get(item, "valid"));
        if ((rc == 0) != valid) {
            fail_msg("case %zu: verdict %d", i, rc);
        }
        good += valid;
        bad += !valid;
    }
    assert_true(good >= 2 && bad >= 9);
}

/* ---- Sign ------------------------------------------------------------------------------------ */

typedef struct signed_answer {
    dstack_buf public_key, data, links[3], app_id, kms_root;
} signed_answer;

static void signed_clear(signed_answer *s) {
    dstack_buf *const all[] = {&s->public_key, &s->data,   &s->links[0], &s->links[1],
                               &s->links[2],   &s->app_id, &s->kms_root};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dstack_buf_clear(all[i]);
    }
}

/* The recorded answer of Sign with secp256k1 over "dstack signature chain test vector". */
static void signed_make(signed_answer *s) {
    *s = (signed_answer){0};
    put_hex(&s->app_id, "a9019d1b2c3d4e5f60718293a4b5c6d7e8f90a1b");
    put_hex(&s->kms_root, "0318f228673448772dd4835a82149a9d475db8095234469a8fcc85cfa18b85abbc");
    put_hex(&s->public_key, "03f6e0f232f5eb6f4b118960a80c3939ea947b6dc727215aba43451910f2741bb8");
    buf_put_str(&s->data, "dstack signature chain test vector");
    put_hex(&s->links[0], "4753cea786fe882ec17a1f75199d15f43e864286ddf1d599a901e503db787dc2"
                          "5c825c8a7a259a7c256fdbf75e74bd73282737f03fc449f9e627c8b540a161f4");
    put_hex(&s->links[1], "77ae5ea476f00df11938fd1df3a65a4fbd9f92b64c816b9f29ee79a1e4ae74ed"
                          "43269a36376b4ed838460ef3b56ba553cefa6e63def4a4487386f783f14295a001");
    put_hex(&s->links[2], "00ac321fbbe6817c5de0720644e936b20046ff1c9226e0558a9c86856e8a1dd0"
                          "6bb7a7efae1cf3ec522553c28627ea96c139d5dc9cdd5a1898c2406c074438d800");
}

static int signed_check(const signed_answer *s, dstack_sign_algorithm algorithm) {
    const dstack_bytes chain[3] = {bytes_of_buf(&s->links[0]), bytes_of_buf(&s->links[1]),
                                   bytes_of_buf(&s->links[2])};
    return dstack_sign_chain_verify(bytes_of_buf(&s->public_key), algorithm, bytes_of_buf(&s->data),
                                    chain, bytes_of_buf(&s->app_id), bytes_of_buf(&s->kms_root),
                                    NULL, NULL);
}

static void a_signed_answer_is_verified_up_to_the_kms(void **state) {
    (void)state;
    signed_answer s;
    signed_make(&s);
    assert_int_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), 0);
    uint8_t digest[32];
    hash_sha256(bytes_of_buf(&s.data), digest);
    dstack_buf_clear(&s.data);
    buf_put_bytes(&s.data, bytes_of(digest, sizeof digest));
    assert_int_equal(signed_check(&s, DSTACK_SIGN_SECP256K1_PREHASHED), 0);
    assert_int_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), DSTACK_E_CRYPTO);
    assert_int_equal(signed_check(&s, DSTACK_SIGN_ED25519), DSTACK_E_ARGUMENT);
    signed_clear(&s);
}

static void a_signed_answer_with_any_byte_changed_is_refused(void **state) {
    (void)state;
    signed_answer s;
    signed_make(&s);
    dstack_buf *const parts[] = {&s.public_key, &s.data,   &s.links[0], &s.links[1],
                                 &s.links[2],   &s.app_id, &s.kms_root};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (size_t i = 0; i < parts[p]->len; i++) {
            parts[p]->data[i] ^= 1;
            assert_int_not_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), 0);
            parts[p]->data[i] ^= 1;
        }
        parts[p]->len--;
        assert_int_not_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), 0);
        parts[p]->len++;
    }
    assert_int_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), 0);
    signed_clear(&s);
}

/* The order n of secp256k1 minus s, which verifies as well as s under the plain equation. */
static void a_signed_answer_in_high_s_form_is_refused(void **state) {
    (void)state;
    signed_answer s;
    signed_make(&s);
    dstack_buf_clear(&s.links[0]);
    put_hex(&s.links[0], "4753cea786fe882ec17a1f75199d15f43e864286ddf1d599a901e503db787dc2"
                         "a37da37585da6583da902408a18b428b9287a4f66f845641d9aa95d78f94df4d");
    assert_int_equal(signed_check(&s, DSTACK_SIGN_SECP256K1), DSTACK_E_CRYPTO);
    signed_clear(&s);
}

static void every_recorded_sign_answer_has_its_verdict(void **state) {
    (void)state;
    need_shared_data();
    size_t i, k;
    json_t *item;
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "agent/v1/v0-sign-chain.json");
    json_array_foreach(json_object_get(file, "cases"), i, item) {
        signed_answer s = {0};
        dstack_sign_algorithm algorithm;
        assert_int_equal(dstack_sign_algorithm_parse(text_at(item, "algorithm"), &algorithm, NULL),
                         0);
        put_hex(&s.public_key, text_at(item, "public_key"));
        put_hex(&s.data, text_at(item, "data"));
        put_hex(&s.app_id, text_at(file, "app_id"));
        put_hex(&s.kms_root, text_at(file, "kms_root_pubkey"));
        for (k = 0; k < 3; k++) {
            put_hex_item(&s.links[k], json_object_get(item, "signature_chain"), k);
        }
        assert_int_equal(signed_check(&s, algorithm), 0);
        dstack_buf_clear(&s.kms_root);
        put_hex(&s.kms_root, text_at(file, "wrong_kms_root_pubkey"));
        assert_int_equal(signed_check(&s, algorithm), DSTACK_E_CRYPTO);
        signed_clear(&s);
    }
    assert_true(i >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v0_keys_and_links_are_the_known_ones),
        cmocka_unit_test(v1_keys_and_links_are_the_known_ones),
        cmocka_unit_test(sec_17_v1_separates_algorithms_and_versions),
        cmocka_unit_test(a_chain_holds_and_names_the_app_key),
        cmocka_unit_test(a_chain_with_any_byte_changed_is_refused),
        cmocka_unit_test(sec_04_signed_items_have_fixed_lengths),
        cmocka_unit_test(env_key_signatures_recover_their_signer),
        cmocka_unit_test(every_v0_vector_holds),
        cmocka_unit_test(every_v1_vector_holds),
        cmocka_unit_test(every_v1_chain_vector_has_its_verdict),
        cmocka_unit_test(a_signed_answer_is_verified_up_to_the_kms),
        cmocka_unit_test(a_signed_answer_with_any_byte_changed_is_refused),
        cmocka_unit_test(a_signed_answer_in_high_s_form_is_refused),
        cmocka_unit_test(every_recorded_sign_answer_has_its_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
