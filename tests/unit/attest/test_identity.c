#include "fixtures.h"

static void assert_same_identity(const dstack_identity *found, const json_t *expected) {
    DSTACK_AUTO(json) json_t *json = attest_identity_json(found);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)expected, key, value) {
        json_t *mine = json_object_get(json, key);
        if (!json_equal(mine, value)) {
            fail_msg("%s: %s", key, json_string_value(mine));
        }
    }
}

static void identities_of_real_evidence_equal_the_expected_ones(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *expected = load_json(SHARED_DATA "attestation/expected.json");
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    load_file(SHARED_DATA "attestation/attest/guest-agent.v0.bin", &raw);
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&raw), &a, &err), err);
    const json_t *entry = json_object_get(expected, "attest/guest-agent.v0.bin");

    dstack_identity identity;
    assert_ok(dstack_attestation_identity(a, false, NULL, &identity, &err), err);
    const json_t *stated = json_object_get(entry, "app_info_unverified");
    assert_same_identity(&identity, stated);
    const json_t *verified = json_object_get(entry, "app_info_verified");
    DSTACK_AUTO(json) json_t *config = NULL;
    DSTACK_AUTO(buf) dstack_buf ppid = {0};
    put_hex(&ppid, json_string_value(json_object_get(entry, "ppid")));
    attest_identity_input input = {.runtime = a->runtime, .device = bytes_of_buf(&ppid)};
    assert_ok(attest_vm_config(NULL, a->config, false, &config, &err), err);
    assert_ok(attest_td_report_parse(bytes_of_buf(&a->evidence), &input.td, &err), err);
    input.vm_config = config;
    assert_ok(attest_identity_tdx(&input, &identity, &err), err);
    assert_same_identity(&identity, verified);

    input.boot_time = true;
    assert_ok(attest_identity_tdx(&input, &identity, &err), err);
    const json_t *boot = json_object_get(entry, "boottime");
    assert_hex(attest_value(&identity.mr_system),
               json_string_value(json_object_get(boot, "mr_system")));
    assert_hex(attest_value(&identity.mr_aggregated),
               json_string_value(json_object_get(boot, "mr_aggregated")));
}

static void an_older_pair_gives_the_expected_identity(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *expected = load_json(SHARED_DATA "attestation/expected.json");
    DSTACK_AUTO(json)
    json_t *request = load_json(SHARED_DATA "attestation/verifier/quote-report.json");
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_hex(&quote, json_string_value(json_object_get(request, "quote")));
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_from_quote(
                  bytes_of_buf(&quote),
                  bytes_of_str(json_string_value(json_object_get(request, "event_log"))), &a, &err),
              err);
    dstack_identity identity;
    assert_ok(dstack_attestation_identity(a, false,
                                          json_string_value(json_object_get(request, "vm_config")),
                                          &identity, &err),
              err);
    const json_t *entry = json_object_get(expected, "verifier/quote-report.json");
    DSTACK_AUTO(json) json_t *want = json_deep_copy(json_object_get(entry, "app_info_verified"));
    json_object_set(want, "device_id", json_object_get(entry, "device_id_unverified"));
    assert_same_identity(&identity, want);
    char name[32];
    DSTACK_AUTO(buf) dstack_buf id = {0};
    assert_ok(dstack_identity_key_provider(&identity, name, &id, &err), err);
    assert_string_equal(name, "local-sgx");
    assert_int_equal(id.len, 32);
}

static void claims_after_system_ready_are_the_apps_own(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    dstack_event_log_add_runtime(log, "system-ready", (dstack_bytes){0}, 1, NULL);
    dstack_event_log_add_runtime(log, "os-image-hash", bytes_of_str("forged"), 1, NULL);
    dstack_event_log_add_runtime(log, "app-id", bytes_of_str("forged"), 1, NULL);
    assert_int_equal(attest_claim(log, "os-image-hash").len, 0);
    assert_int_equal(attest_claim_count(log, "app-id"), 1);
    assert_int_equal(attest_claim(log, "app-id").len, 20);
}

static void app_info_goes_in_and_out_of_certificates(void **state) {
    static const char encoded[] = "99c4141111111111111111111111111111111111111111c42022222222222222"
                                  "2222222222222222222222222222"
                                  "2222222222222222222222c41433333333333333333333333333333333333333"
                                  "33c4204444444444444444444444"
                                  "444444444444444444444444444444444444444444c420555555555555555555"
                                  "5555555555555555555555555555"
                                  "555555555555555555c420666666666666666666666666666666666666666666"
                                  "6666666666666666666666c42077"
                                  "77777777777777777777777777777777777777777777777777777777777777c4"
                                  "177b226e616d65223a226e6f6e65"
                                  "222c226964223a22227d";
    static const struct {
        const char *tail;
        bool told;
        size_t count;
    } tails[] = {
        {"91c4208888888888888888888888888888888888888888888888888888888888888888", true, 1},
        {"c0", false, 0},
        {"90", true, 0}};
    for (size_t i = 0; i < 3; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        put_hex(&raw, encoded);
        put_hex(&raw, tails[i].tail);
        dstack_identity identity;
        bool present = false;
        dstack_error err = {0};
        assert_ok(dstack_identity_decode(bytes_of_buf(&raw), &identity, &present, &err), err);
        assert_true(present);
        assert_int_equal(identity.app_id.data[0], 0x11);
        assert_int_equal(identity.has_init_scripts, tails[i].told);
        assert_int_equal(identity.init_script_count, tails[i].count);
        DSTACK_AUTO(buf) dstack_buf out = {0};
        assert_ok(dstack_identity_encode(&identity, &out, &err), err);
        assert_int_equal(out.len, raw.len);
        assert_memory_equal(out.data, raw.data, raw.len);
    }
}

static void malformed_app_info_is_refused(void **state) {
    static const char *const bad[] = {"", "91c0", "99", "c0c0", "98c4410000", "80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        put_hex(&raw, bad[i]);
        dstack_identity identity;
        bool present = true;
        assert_int_equal(dstack_identity_decode(bytes_of_buf(&raw), &identity, &present, NULL),
                         DSTACK_E_FORMAT);
        assert_false(present);
    }
}

static void instance_id_equals_the_vector(void **state) {
    uint8_t seed[20], app[20], id[20];
    for (uint8_t i = 0; i < 20; i++) {
        seed[i] = i;
    }
    memset(app, 0x11, sizeof app);
    dstack_error err = {0};
    assert_ok(
        dstack_instance_id(bytes_of(seed, 20), bytes_of(app, 20), (dstack_bytes){0}, id, &err),
        err);
    assert_hex(bytes_of(id, 20), "304a02cbeb1d898a28b39535a043b9e4f4175def");
}

static void sec_01_an_app_id_of_another_length_never_reaches_a_derivation(void **state) {
    uint8_t app[21] = {0}, id[20];
    for (size_t len = 0; len <= 21; len++) {
        int rc =
            dstack_instance_id((dstack_bytes){0}, bytes_of(app, len), (dstack_bytes){0}, id, NULL);
        assert_int_equal(rc, len == 20 ? 0 : DSTACK_E_ARGUMENT);
    }
}

static void report_data_equals_the_vectors(void **state) {
    uint8_t out[64];
    dstack_error err = {0};
    assert_ok(dstack_report_data("app-data", NULL, bytes_of_str("test content"), out, &err), err);
    assert_hex(
        bytes_of(out, 64),
        "7ea0b744ed5e9c0c83ff9f575668e1697652cd349f2027cdf26f918d4c53e8cd50b5ea9b449b4c3d50e20ae0"
        "0ec29688d5a214e8daff8a10041f5d624dae8a01");
    assert_ok(dstack_report_data("app-data", "keccak256", bytes_of_str("test content"), out, &err),
              err);
    assert_hex(
        bytes_of(out, 64),
        "71d9e489e5d4046e8c1a5ef5137a88d940c77db95de9a5eadcde469c4fc50c29000000000000000000000000"
        "0000000000000000000000000000000000000000");
    assert_int_equal(dstack_report_data("x", "md5", (dstack_bytes){0}, out, NULL),
                     DSTACK_E_ARGUMENT);
    assert_int_equal(dstack_report_data("x", "SHA256", (dstack_bytes){0}, out, NULL),
                     DSTACK_E_ARGUMENT);
    uint8_t raw[65] = {0};
    assert_int_equal(dstack_report_data("x", "raw", bytes_of(raw, 64), out, NULL), 0);
    assert_int_equal(dstack_report_data("x", "raw", bytes_of(raw, 65), out, NULL),
                     DSTACK_E_ARGUMENT);
    assert_int_equal(dstack_report_data_pad(bytes_of(raw, 65), out, NULL), DSTACK_E_ARGUMENT);
}

static void all_report_data_vectors_hold(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(SHARED_DATA "attestation/vectors.json");
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(vectors, "report_data"), i, item) {
        DSTACK_AUTO(buf) dstack_buf content = {0};
        put_hex(&content, json_string_value(json_object_get(item, "content")));
        uint8_t out[64];
        int rc = dstack_report_data(json_string_value(json_object_get(item, "tag")),
                                    json_string_value(json_object_get(item, "hash")),
                                    bytes_of_buf(&content), out, NULL);
        const char *want = json_string_value(json_object_get(item, "report_data"));
        assert_int_equal(rc, want == NULL ? DSTACK_E_ARGUMENT : 0);
        if (want != NULL) {
            assert_hex(bytes_of(out, 64), want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities_of_real_evidence_equal_the_expected_ones),
        cmocka_unit_test(an_older_pair_gives_the_expected_identity),
        cmocka_unit_test(claims_after_system_ready_are_the_apps_own),
        cmocka_unit_test(app_info_goes_in_and_out_of_certificates),
        cmocka_unit_test(malformed_app_info_is_refused),
        cmocka_unit_test(instance_id_equals_the_vector),
        cmocka_unit_test(sec_01_an_app_id_of_another_length_never_reaches_a_derivation),
        cmocka_unit_test(report_data_equals_the_vectors),
        cmocka_unit_test(all_report_data_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
