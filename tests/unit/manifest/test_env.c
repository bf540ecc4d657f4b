#include <dstack/keys.h>

#include "check.h"
#include "crypto/x25519.h"
#include "manifest/env.h"

static uint8_t recipient_secret[32], recipient[32], ephemeral[32], nonce[12];

static int set_up(void **state) {
    for (uint8_t i = 0; i < 32; i++) {
        recipient_secret[i] = (uint8_t)(101 + i);
        ephemeral[i] = (uint8_t)(1 + i);
    }
    for (uint8_t i = 0; i < 12; i++) {
        nonce[i] = i;
    }
    return x25519_public(recipient_secret, recipient, NULL);
}

static dstack_secret *key(void) {
    return dstack_secret_copy(recipient_secret, sizeof recipient_secret);
}

static void assert_text(const dstack_secret *secret, const char *want) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put(&text, dstack_secret_peek(secret), dstack_secret_len(secret));
    assert_string_equal(buf_text(&text), want);
}

static void seal(const char *plaintext, dstack_buf *blob) {
    dstack_error err = {0};
    assert_ok(
        env_seal(bytes_of_str(plaintext), bytes_of(recipient, 32), ephemeral, nonce, blob, &err),
        err);
}

static void an_environment_is_opened_and_filtered(void **state) {
    DSTACK_AUTO(buf) dstack_buf blob = {0};
    seal("{\"env\":[{\"key\":\"FOO\",\"value\":\"bar\"},{\"key\":\"SECRET\",\"value\":\"a "
         "b$c\\\"d\"},"
         "{\"key\":\"NOT_ALLOWED\",\"value\":\"x\"}]}",
         &blob);
    assert_hex(bytes_of_buf(&blob), "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c"
                                    "7c000102030405060708090a0ba78566"
                                    "e1b63979e991a57a928cd22c1035275d32efe30944e43dc39e6f5495d8ce19"
                                    "6dfdbbefd944bae644d64d0e124a3216"
                                    "d3b93f7bc829443ad9cb99a62c483c2be745ecd95555dd6ebfd5d52a59e934"
                                    "78c18077c5e7a37f061d64fc60fca4b3"
                                    "66dedf9f344be9edbd88d4160a63ae073776e5789313f18079e8");
    DSTACK_AUTO(secret) dstack_secret *k = key();
    DSTACK_AUTO(env) dstack_env *env = NULL;
    DSTACK_AUTO(secret) dstack_secret *script = NULL;
    DSTACK_AUTO(secret) dstack_secret *json = NULL;
    static const char *const allowed[] = {"FOO", "SECRET", "MISSING"};
    size_t skipped = 0;
    dstack_error err = {0};
    assert_ok(dstack_env_decrypt(bytes_of_buf(&blob), k, allowed, 3, &env, &skipped, &err), err);
    assert_int_equal(skipped, 1);
    assert_int_equal(dstack_env_count(env), 2);
    assert_ok(dstack_env_to_script(env, &script, &err), err);
    assert_text(script, "FOO=bar\nSECRET=\"a b\\$c\\\"d\"\n");
    assert_ok(dstack_env_to_json(env, &json, &err), err);
    assert_text(json, "{\"FOO\":\"bar\",\"SECRET\":\"a b$c\\\"d\"}");
}

static void sec_28_an_environment_that_does_not_open_is_an_error(void **state) {
    DSTACK_AUTO(buf) dstack_buf blob = {0};
    seal("{\"env\":[]}", &blob);
    DSTACK_AUTO(secret) dstack_secret *k = key();
    for (size_t i = 0; i < blob.len; i++) {
        DSTACK_AUTO(env) dstack_env *env = NULL;
        blob.data[i] ^= 1;
        assert_true(dstack_env_decrypt(bytes_of_buf(&blob), k, NULL, 0, &env, NULL, NULL) < 0);
        assert_null(env);
        blob.data[i] ^= 1;
    }
    for (size_t len = 1; len < blob.len; len++) {
        DSTACK_AUTO(env) dstack_env *env = NULL;
        assert_true(dstack_env_decrypt(bytes_of(blob.data, len), k, NULL, 0, &env, NULL, NULL) < 0);
    }
    DSTACK_AUTO(env) dstack_env *env = NULL;
    memset(blob.data, 0, 32);
    assert_int_equal(dstack_env_decrypt(bytes_of_buf(&blob), k, NULL, 0, &env, NULL, NULL),
                     DSTACK_E_CRYPTO);
    assert_int_equal(dstack_env_decrypt((dstack_bytes){0}, k, NULL, 0, &env, NULL, NULL), 0);
    assert_int_equal(dstack_env_count(env), 0);
}

static void malformed_documents_are_refused(void **state) {
    static const char *const bad[] = {
        "",
        "[{\"key\":\"\",\"value\":\"\"}]",
        "{\"env\":{}}",
        "{\"env\":[1]}",
        "{\"env\":[{\"key\":\"A\"}]}",
        "{\"env\":[{\"key\":\"A\",\"value\":1}]}",
        "{\"env\":[{\"key\":\"A\",\"value\":\"a\\u0000b\"}]}",
        "{\"env\":[{\"key\":\"1A\",\"value\":\"\"}]}",
    };
    static const char *const allowed[] = {"A", "1A", ""};
    DSTACK_AUTO(secret) dstack_secret *k = key();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(buf) dstack_buf blob = {0};
        DSTACK_AUTO(env) dstack_env *env = NULL;
        seal(bad[i], &blob);
        assert_int_equal(dstack_env_decrypt(bytes_of_buf(&blob), k, allowed, 3, &env, NULL, NULL),
                         DSTACK_E_FORMAT);
        assert_null(env);
    }
}

static void sec_15_environments_have_limits(void **state) {
    DSTACK_AUTO(env) dstack_env *env = dstack_env_new();
    static char value[DSTACK_ENV_VALUE_MAX + 2];
    memset(value, 'x', sizeof value - 1);
    assert_int_equal(dstack_env_set(env, "A", value, NULL), DSTACK_E_LIMIT);
    value[DSTACK_ENV_VALUE_MAX] = '\0';
    char name[8];
    int rc = 0;
    size_t count = 0;
    for (; rc == 0; count++) {
        snprintf(name, sizeof name, "A%zu", count);
        rc = dstack_env_set(env, name, value, NULL);
    }
    assert_int_equal(rc, DSTACK_E_LIMIT);
    assert_int_equal(count, 8);
    DSTACK_AUTO(env) dstack_env *many = dstack_env_new();
    for (count = 0, rc = 0; rc == 0; count++) {
        snprintf(name, sizeof name, "A%zu", count);
        rc = dstack_env_set(many, name, "", NULL);
    }
    assert_int_equal(count, DSTACK_ENV_ENTRIES_MAX + 1);
}

static void sec_28_no_value_swallows_what_follows_it(void **state) {
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"simple", "simple"},
        {"hello world", "\"hello world\""},
        {"say \"hello\"", "\"say \\\"hello\\\"\""},
        {"line1\nline2", "\"line1\\nline2\""},
        {"price=$100", "\"price=\\$100\""},
        {"command=`date`", "\"command=\\`date\\`\""},
        {"back\\slash", "\"back\\slash\""},
        {"it's", "\"it's\""},
        {"end\\", "\"end\\\\\""},
        {"quote\\\"", "\"quote\\\\\\\"\""},
        {"two\\\\x", "\"two\\\\\\x\""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(env) dstack_env *env = dstack_env_new();
        DSTACK_AUTO(secret) dstack_secret *script = NULL;
        dstack_error err = {0};
        assert_ok(dstack_env_set(env, "K", cases[i].value, &err), err);
        assert_ok(dstack_env_set(env, "L", "kept", &err), err);
        assert_ok(dstack_env_to_script(env, &script, &err), err);
        char want[128];
        snprintf(want, sizeof want, "K=%s\nL=kept\n", cases[i].text);
        assert_text(script, want);
        if (strchr(cases[i].value, '\n') != NULL) {
            continue;
        }
        /* what a shell makes of it */
        char path[] = "/tmp/dstack-env-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_true(write(fd, dstack_secret_peek(script), dstack_secret_len(script)) > 0);
        close(fd);
        char command[128], back[128] = "";
        snprintf(command, sizeof command, ". %s; printf '%%s|%%s' \"$K\" \"$L\"", path);
        FILE *shell = popen(command, "r");
        assert_non_null(shell);
        size_t len = fread(back, 1, sizeof back - 1, shell);
        pclose(shell);
        unlink(path);
        snprintf(want, sizeof want, "%s|kept", cases[i].value);
        assert_true(len > 0);
        assert_string_equal(back, want);
    }
}

static void environment_files_are_read_byte_for_byte(void **state) {
    static const char text[] = "# comment\n\nA=1\nB= two=2 \\n \nA=last\nEMPTY=";
    DSTACK_AUTO(env) dstack_env *env = NULL;
    dstack_error err = {0};
    assert_ok(dstack_env_parse_file(bytes_of_str(text), &env, &err), err);
    assert_int_equal(dstack_env_count(env), 3);
    assert_string_equal(dstack_env_key(env, 0), "A");
    assert_string_equal(dstack_env_value(env, 0), "last");
    assert_string_equal(dstack_env_value(env, 1), " two=2 \\n ");
    assert_string_equal(dstack_env_value(env, 2), "");
    assert_null(dstack_env_value(env, 3));
    DSTACK_AUTO(env) dstack_env *bad = NULL;
    assert_int_equal(dstack_env_parse_file(bytes_of_str("no equals\n"), &bad, &err),
                     DSTACK_E_FORMAT);
    assert_non_null(strstr(err.message, "line 1"));
}

static void encryption_round_trips(void **state) {
    DSTACK_AUTO(env) dstack_env *env = dstack_env_new();
    DSTACK_AUTO(env) dstack_env *back = NULL;
    DSTACK_AUTO(buf) dstack_buf blob = {0};
    DSTACK_AUTO(buf) dstack_buf again = {0};
    DSTACK_AUTO(secret) dstack_secret *k = key();
    dstack_error err = {0};
    assert_ok(dstack_env_set(env, "A", "\x01 \"\xc3\xa9\"\n", &err), err);
    assert_ok(dstack_env_encrypt(env, bytes_of(recipient, 32), &blob, &err), err);
    assert_ok(dstack_env_encrypt(env, bytes_of(recipient, 32), &again, &err), err);
    assert_false(bytes_equal(bytes_of_buf(&blob), bytes_of_buf(&again)));
    static const char *const allowed[] = {"A"};
    assert_ok(dstack_env_decrypt(bytes_of_buf(&blob), k, allowed, 1, &back, NULL, &err), err);
    assert_string_equal(dstack_env_value(back, 0), "\x01 \"\xc3\xa9\"\n");
    assert_int_equal(dstack_env_encrypt(env, bytes_of(recipient, 31), &blob, NULL),
                     DSTACK_E_ARGUMENT);
}

static void key_signatures_name_their_signer_within_their_time(void **state) {
    uint8_t root[32], app[20], public_key[32], signature[65], signer[33];
    memset(root, 1, sizeof root);
    memset(app, 0xab, sizeof app);
    memset(public_key, 0xde, sizeof public_key);
    const uint64_t stamp = 1700000000;
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    put_hex(
        &raw,
        "c9e643b59985ab43c0ae4ec75e302d9d7a70abe0212f9928d5fc56563aa56b5415271d9ea4dd8d02125359dae4"
        "267d704c374ba72a829bece6e16b5e3cdfc9f600");
    memcpy(signature, raw.data, sizeof signature);
    static const struct {
        int64_t now;
        int rc;
    } times[] = {{1700000000, 0},
                 {1700000300, 0},
                 {1700000301, DSTACK_E_REFUSED},
                 {1699999940, 0},
                 {1699999939, DSTACK_E_REFUSED},
                 {-1, DSTACK_E_REFUSED}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_int_equal(dstack_env_key_signer(bytes_of(public_key, 32), bytes_of(signature, 65),
                                               bytes_of(app, 20), stamp, times[i].now, signer,
                                               NULL),
                         times[i].rc);
    }
    dstack_error err = {0};
    signature[64] += 27;
    assert_ok(dstack_env_key_signer(bytes_of(public_key, 32), bytes_of(signature, 65),
                                    bytes_of(app, 20), stamp, (int64_t)stamp, signer, &err),
              err);
    assert_hex(bytes_of(signer, 33),
               "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f");
    assert_int_equal(dstack_env_key_signer(bytes_of(public_key, 32), bytes_of(signature, 64),
                                           bytes_of(app, 20), stamp, (int64_t)stamp, signer, NULL),
                     DSTACK_E_FORMAT);
    buf_reset(&raw);
    put_hex(
        &raw,
        "266350979b1840e2b62ba14f17ac5f234034fbf2d2b0f19f453165d2e4b42dae07b1c531b2f5313d163671cd6f"
        "b8dba611b05471793cf9fe194d196cd5e1a88400");
    assert_ok(dstack_env_key_signer_legacy(bytes_of(public_key, 32), bytes_of_buf(&raw),
                                           bytes_of(app, 20), signer, &err),
              err);
    assert_hex(bytes_of(signer, 33),
               "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f");
    /* another app's key is vouched for by nobody we know */
    app[0] ^= 1;
    int rc = dstack_env_key_signer_legacy(bytes_of(public_key, 32), bytes_of_buf(&raw),
                                          bytes_of(app, 20), signer, NULL);
    assert_true(rc != 0 || signer[1] != 0x1b);
}

static void sec_04_a_key_is_vouched_for_20_byte_app_ids_alone(void **state) {
    uint8_t app[21] = {0}, public_key[32] = {0}, signature[65] = {0}, signer[33];
    assert_int_equal(dstack_env_key_signer_legacy(bytes_of(public_key, 32), bytes_of(signature, 65),
                                                  bytes_of(app, 19), signer, NULL),
                     DSTACK_E_FORMAT);
    assert_int_equal(dstack_env_key_signer_legacy(bytes_of(public_key, 32), bytes_of(signature, 65),
                                                  bytes_of(app, 21), signer, NULL),
                     DSTACK_E_FORMAT);
}

static void reference_blobs_are_reproduced(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(SHARED_DATA "agent/env-vectors.json");
    const json_t *group = json_object_get(vectors, "encrypt");
    DSTACK_AUTO(buf) dstack_buf to = {0};
    DSTACK_AUTO(buf) dstack_buf secret = {0};
    put_hex(&to, json_string_value(json_object_get(group, "recipient_public")));
    put_hex(&secret, json_string_value(json_object_get(group, "ephemeral_private")));
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(group, "cases"), i, item) {
        DSTACK_AUTO(buf) dstack_buf blob = {0};
        dstack_error err = {0};
        assert_ok(env_seal(bytes_of_str(json_string_value(json_object_get(item, "plaintext"))),
                           bytes_of_buf(&to), secret.data, nonce, &blob, &err),
                  err);
        assert_hex(bytes_of_buf(&blob), json_string_value(json_object_get(item, "output")));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_environment_is_opened_and_filtered),
        cmocka_unit_test(sec_28_an_environment_that_does_not_open_is_an_error),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(sec_15_environments_have_limits),
        cmocka_unit_test(sec_28_no_value_swallows_what_follows_it),
        cmocka_unit_test(environment_files_are_read_byte_for_byte),
        cmocka_unit_test(encryption_round_trips),
        cmocka_unit_test(key_signatures_name_their_signer_within_their_time),
        cmocka_unit_test(sec_04_a_key_is_vouched_for_20_byte_app_ids_alone),
        cmocka_unit_test(reference_blobs_are_reproduced),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
