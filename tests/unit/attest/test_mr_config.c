#include "fixtures.h"

static uint8_t compose[32], app[20], provider[32], gpu[32], instance[20];

static int fill(void **state) {
    memset(compose, 0x22, sizeof compose);
    memset(app, 0x11, sizeof app);
    memset(provider, 0x33, sizeof provider);
    memset(gpu, 0x55, sizeof gpu);
    memset(instance, 0x44, sizeof instance);
    return 0;
}

static dstack_mr_config config(void) {
    return (dstack_mr_config){
        .app_id = bytes_of(app, sizeof app),
        .compose_hash = bytes_of(compose, sizeof compose),
        .gpu_policy_hash = bytes_of(gpu, sizeof gpu),
        .instance_id = bytes_of(instance, sizeof instance),
        .key_provider = DSTACK_KEY_PROVIDER_KMS,
        .key_provider_id = bytes_of(provider, sizeof provider),
    };
}

static void ids_of_all_versions_equal_the_vectors(void **state) {
    dstack_mr_config c = config();
    uint8_t id[48];
    dstack_error err = {0};
    assert_ok(dstack_mr_config_id(&c, 1, id, &err), err);
    assert_hex(bytes_of(id, 48),
               "012222222222222222222222222222222222222222222222222222222222222222"
               "000000000000000000000000000000");
    assert_ok(dstack_mr_config_id(&c, 2, id, &err), err);
    assert_hex(bytes_of(id, 48),
               "027f2ca741da9d356026ab20ca640abf06198829a128817b091bbc9aec1ed97b60"
               "000000000000000000000000000000");
    DSTACK_AUTO(buf) dstack_buf document = {0};
    assert_ok(dstack_mr_config_document(&c, &document, &err), err);
    dstack_mr_config_document_id(bytes_of_buf(&document), id);
    assert_hex(bytes_of(id, 48),
               "0390e5cffa571b22c2ca846872d6fb7b071aa1346f1a1f87f72869c47b39d94099"
               "000000000000000000000000000000");
}

static void agreeing_ids_are_accepted_and_others_refused(void **state) {
    dstack_mr_config c = config();
    dstack_error err = {0};
    for (unsigned version = 1; version <= 3; version++) {
        DSTACK_AUTO(buf) dstack_buf document = {0};
        uint8_t id[48];
        if (version == 3) {
            assert_ok(dstack_mr_config_document(&c, &document, &err), err);
            dstack_mr_config_document_id(bytes_of_buf(&document), id);
        } else {
            assert_ok(dstack_mr_config_id(&c, version, id, &err), err);
        }
        bool bound = false;
        assert_ok(dstack_mr_config_check(id, bytes_of_buf(&document), &c, &bound, &err), err);
        assert_true(bound);
        for (size_t i = 0; i < 33; i++) {
            id[i] ^= 1;
            assert_true(dstack_mr_config_check(id, bytes_of_buf(&document), &c, &bound, NULL) < 0);
            assert_false(bound);
            id[i] ^= 1;
        }
        compose[0] ^= 1;
        assert_true(dstack_mr_config_check(id, bytes_of_buf(&document), &c, &bound, NULL) < 0);
        compose[0] ^= 1;
    }
}

static void sec_09_a_zero_id_is_reported_as_unbound(void **state) {
    dstack_mr_config c = config();
    uint8_t id[48] = {0};
    bool bound = true;
    assert_int_equal(dstack_mr_config_check(id, (dstack_bytes){0}, &c, &bound, NULL), 0);
    assert_false(bound);
}

static void documents_with_unknown_keys_or_other_values_are_refused(void **state) {
    static const char *const documents[] = {
        "{\"version\":3,\"key_provider\":\"kms\"}",
        "{\"compose_hash\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"key_provider\":\"none\",\"version\":3}",
        "{\"compose_hash\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"key_provider\":\"kms\",\"version\":4}",
        "{\"compose_hash\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"key_provider\":\"kms\",\"version\":3,\"extra\":1}",
        "{\"compose_hash\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"init_script_hashes\":[\"00\"],\"key_provider\":\"kms\",\"version\":3}",
    };
    dstack_mr_config c = config();
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        uint8_t id[48];
        bool bound;
        dstack_mr_config_document_id(bytes_of_str(documents[i]), id);
        assert_true(dstack_mr_config_check(id, bytes_of_str(documents[i]), &c, &bound, NULL) < 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_all_versions_equal_the_vectors),
        cmocka_unit_test(agreeing_ids_are_accepted_and_others_refused),
        cmocka_unit_test(sec_09_a_zero_id_is_reported_as_unbound),
        cmocka_unit_test(documents_with_unknown_keys_or_other_values_are_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
