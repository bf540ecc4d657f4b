/* The app's keys on disk. */
#include "../check.h"

#include <sys/stat.h>

#include "keys/app_keys.h"

static void keys_make(app_keys *keys) {
    uint8_t key[32];
    for (int i = 0; i < 3; i++) {
        memset(key, 0x10 + i, sizeof key);
        dstack_secret **at[] = {&keys->disk_crypt_key, &keys->env_crypt_key, &keys->k256_key};
        *at[i] = dstack_secret_copy(key, sizeof key);
    }
    buf_put_zeros(&keys->k256_signature, 65);
    buf_put_str(&keys->provider_id, "spki");
    keys->provider = DSTACK_KEY_PROVIDER_KMS;
    keys->gateway_app_id = strdup("any");
    keys->ca_cert = strdup("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    keys->provider_url = strdup("https://kms/prpc");
}

static void keys_survive_writing_and_reading(void **state) {
    DSTACK_AUTO(app_keys) app_keys keys = {0}, back = {0};
    keys_make(&keys);
    DSTACK_AUTO(wiped) dstack_buf text = {0};
    dstack_error err = {0};
    assert_ok(app_keys_write(&keys, &text, &err), err);
    assert_ok(app_keys_parse(bytes_of_buf(&text), &back, &err), err);
    assert_true(dstack_secret_equal(keys.k256_key, back.k256_key));
    assert_true(dstack_secret_equal(keys.disk_crypt_key, back.disk_crypt_key));
    assert_true(dstack_secret_equal(keys.env_crypt_key, back.env_crypt_key));
    assert_string_equal(back.provider_url, "https://kms/prpc");
    assert_string_equal(back.ca_cert, keys.ca_cert);
    assert_int_equal(back.k256_signature.len, 65);
    assert_int_equal(back.provider_id.len, 4);
}

static void sec_18_the_key_file_is_for_root_alone(void **state) {
    char path[] = "/tmp/dstack-keys-XXXXXX";
    assert_non_null(mkdtemp(path));
    char file[80];
    snprintf(file, sizeof file, "%s/.appkeys.json", path);
    DSTACK_AUTO(app_keys) app_keys keys = {0}, back = {0};
    keys_make(&keys);
    mode_t old = umask(0);
    dstack_error err = {0};
    assert_ok(app_keys_save(&keys, file, &err), err);
    umask(old);
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_ok(app_keys_load(file, &back, &err), err);
    unlink(file);
    rmdir(path);
}

static void sec_16_a_bad_key_is_not_quoted_in_the_error(void **state) {
    const char *text =
        "{\"disk_crypt_key\":\"deadbeefsecret\",\"k256_key\":\"\",\"key_provider\":{}}";
    DSTACK_AUTO(app_keys) app_keys keys = {0};
    dstack_error err = {0};
    assert_int_not_equal(app_keys_parse(bytes_of_str(text), &keys, &err), 0);
    assert_null(strstr(err.message, "deadbeef"));
}

static void the_reference_simulator_s_keys_are_read(void **state) {
    need_shared_data();
    DSTACK_AUTO(app_keys) app_keys keys = {0};
    dstack_error err = {0};
    assert_ok(app_keys_load(SHARED_DATA "attestation/simulator/appkeys.json", &keys, &err), err);
    assert_int_equal(dstack_secret_len(keys.k256_key), 32);
    assert_non_null(keys.provider_key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_survive_writing_and_reading),
        cmocka_unit_test(sec_18_the_key_file_is_for_root_alone),
        cmocka_unit_test(sec_16_a_bad_key_is_not_quoted_in_the_error),
        cmocka_unit_test(the_reference_simulator_s_keys_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
