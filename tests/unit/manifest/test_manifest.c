#include "check.h"
#include "manifest/canonical.h"
#include "manifest/manifest.h"

#define PIN "@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static int parse(const char *text, dstack_manifest **out, dstack_error *err) {
    return dstack_manifest_parse(bytes_of_str(text), out, err);
}

static void a_minimal_manifest_takes_all_defaults(void **state) {
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(
        parse("{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"docker-compose\"}", &m, &err),
        err);
    const dstack_manifest_fields *f = dstack_manifest_get(m);
    assert_int_equal(f->manifest_version, 2);
    assert_string_equal(f->name, "t");
    assert_true(f->public_tcbinfo && f->secure_time && f->storage_discard && f->gpu_attest);
    assert_false(f->public_logs || f->public_sysinfo || f->no_instance_id || f->gateway_enabled ||
                 f->has_requirements || f->has_port_policy);
    assert_int_equal(f->key_provider, DSTACK_KEY_PROVIDER_NONE);
    assert_string_equal(f->storage_fs, "ext4");
    assert_string_equal(f->storage_integrity, "none");
    assert_int_equal(f->event_log_version, 1);
    assert_int_equal(dstack_manifest_warning_count(m), 0);
    assert_hex(bytes_of(f->compose_hash, 32),
               "ad30bc88a8de4b4d53aeb3dd88e6da533e8cf5c9b5523e7cfd900aa9358326c0");
    assert_hex(bytes_of(f->default_app_id, 20), "ad30bc88a8de4b4d53aeb3dd88e6da533e8cf5c9");
    assert_hex(bytes_of(f->gpu_policy_hash, 32),
               "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

static void a_full_manifest_is_read_whole(void **state) {
    static const char text[] =
        "{\"manifest_version\":\" 3 \",\"name\":\"full\",\"runner\":\"nerdctl-compose\","
        "\"snapshotter\":\"stargz\",\"features\":[\"kms\",\"tproxy-net\"],"
        "\"docker_compose_file\":\"services: {a: {image: x" PIN
        "}}\",\"init_script\":[\"a\",\"b\"],"
        "\"pre_launch_script\":\"true\",\"public_logs\":true,\"public_tcbinfo\":false,"
        "\"kms_enabled\":true,\"key_provider_id\":\"AA55\",\"allowed_envs\":[\"A\",\"B\"],"
        "\"secure_time\":false,\"storage_fs\":\"ZFS\",\"storage_integrity\":\"aead\","
        "\"swap_size\":\"2G\",\"event_log_version\":2,"
        "\"port_policy\":{\"ports\":[{\"port\":80},{\"port\":443,\"pp\":true}],"
        "\"restrict_mode\":true},\"verity_volumes\":[{\"source\":\"s\",\"verity_root\":"
        "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
        "\"target\":\"/data\"}],\"unknown\":{\"kept\":1},\"requirements\":{\"os_version\":"
        "\">=0.6.0, <0.7.0\",\"platforms\":[\"dstack-tdx\"],\"tdx_measure_acpi_tables\":true,"
        "\"launch_token_hash\":"
        "\"28faa1319055d733ad9651f5ab7689c15b04609846bcd27b3c5bc8df6246f5a3\","
        "\"health_check\":true,\"health_status_file\":\"/run/h\","
        "\"gpu_policy\":{\"attest_gpu\":true}}}";
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse(text, &m, &err), err);
    const dstack_manifest_fields *f = dstack_manifest_get(m);
    assert_int_equal(f->manifest_version, 3);
    assert_string_equal(f->snapshotter, "stargz");
    assert_true(f->gateway_enabled);
    assert_int_equal(f->init_script_count, 2);
    assert_string_equal(f->init_scripts[1], "b");
    assert_int_equal(f->key_provider, DSTACK_KEY_PROVIDER_KMS);
    assert_hex(f->key_provider_id, "aa55");
    assert_int_equal(f->allowed_env_count, 2);
    assert_string_equal(f->storage_fs, "zfs");
    assert_string_equal(f->storage_integrity, "aead");
    assert_int_equal(f->swap_size, (uint64_t)2 << 30);
    assert_int_equal(f->event_log_version, 2);
    assert_int_equal(f->port_count, 2);
    assert_true(f->ports[1].proxy_protocol && !f->ports[0].proxy_protocol);
    assert_true(f->port_restrict_mode);
    assert_int_equal(f->verity_volume_count, 1);
    assert_string_equal(f->verity_volumes[0].target, "/data");
    assert_int_equal(f->tdx_measure_acpi_tables, DSTACK_TRUE);
    assert_true(f->has_launch_token_hash && f->health_check);
    assert_hex(bytes_of(f->gpu_policy_hash, 32),
               "81f5d3ad40653341232238c4ca656bddddc297d6382ae2ab391e4bb36dd80b66");
}

#define BASE "\"name\":\"t\",\"runner\":\"docker-compose\""

static void bad_manifests_are_refused_with_the_key_at_fault(void **state) {
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{" BASE "}", "manifest_version"},
        {"{\"manifest_version\":3," BASE "}", "manifest_version"},
        {"{\"manifest_version\":0," BASE "}", "manifest_version"},
        {"{\"manifest_version\":\"4\"," BASE "}", "newer"},
        {"{\"manifest_version\":\"02\"," BASE "}", "manifest_version"},
        {"{\"manifest_version\":\"2x\"," BASE "}", "manifest_version"},
        {"{\"manifest_version\":true," BASE "}", "manifest_version"},
        {"{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"sh\"}", "runner"},
        {"{\"manifest_version\":2,\"runner\":\"bash\"}", "name"},
        {"{\"manifest_version\":2," BASE ",\"public_logs\":1}", "public_logs"},
        {"{\"manifest_version\":2," BASE ",\"key_provider\":\"x\"}", "key_provider"},
        {"{\"manifest_version\":2," BASE ",\"key_provider_id\":\"0x00\"}", "key_provider_id"},
        {"{\"manifest_version\":2," BASE ",\"allowed_envs\":[1]}", "allowed_envs"},
        {"{\"manifest_version\":2," BASE ",\"swap_size\":\"1X\"}", "swap_size"},
        {"{\"manifest_version\":2," BASE ",\"swap_size\":-1}", "swap_size"},
        {"{\"manifest_version\":2," BASE ",\"swap_size\":\"99999999999T\"}", "swap_size"},
        {"{\"manifest_version\":2," BASE ",\"event_log_version\":3}", "event log version"},
        {"{\"manifest_version\":2," BASE ",\"storage_fs\":\"xfs\"}", "storage_fs"},
        {"{\"manifest_version\":2," BASE ",\"snapshotter\":\"stargz\"}", "snapshotter"},
        {"{\"manifest_version\":2," BASE ",\"requirements\":{}}", "requirements"},
        {"{\"manifest_version\":2," BASE ",\"init_script\":[\"a\",\"b\"]}", "init_script"},
        {"{\"manifest_version\":\"3\"," BASE ",\"init_script\":[\"\",\"\",\"\",\"\",\"\",\"\"]}",
         "init_script"},
        {"{\"manifest_version\":\"3\"," BASE ",\"requirements\":{\"x\":1}}", "unknown key"},
        {"{\"manifest_version\":\"3\"," BASE ",\"requirements\":{\"gpu_policy\":{\"x\":1}}}",
         "unknown key"},
        {"{\"manifest_version\":\"3\"," BASE ",\"requirements\":{\"os_version\":\"new\"}}",
         "requirement"},
        {"{\"manifest_version\":\"3\"," BASE ",\"requirements\":{\"launch_token_hash\":\"00\"}}",
         "launch_token_hash"},
        {"{\"manifest_version\":2," BASE ",\"port_policy\":{\"ports\":[{\"port\":65536}]}}",
         "port"},
        {"{\"manifest_version\":2," BASE ",\"verity_volumes\":[{\"source\":\"s\",\"verity_root\":"
         "\"00\",\"target\":\"/\"}]}",
         "verity_root"},
        {"{\"manifest_version\":2," BASE ",\"name\":\"again\"}", "JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
        dstack_error err = {0};
        if (parse(cases[i].text, &m, &err) == 0) {
            fail_msg("accepted: %s", cases[i].text);
        }
        if (strstr(err.message, cases[i].word) == NULL) {
            fail_msg("%s: %s", cases[i].text, err.message);
        }
    }
}

static void sec_01_shared_disk_keys_are_warned_about(void **state) {
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse("{\"manifest_version\":2," BASE
                    ",\"no_instance_id\":true,\"kms_enabled\":true}",
                    &m, &err),
              err);
    assert_int_equal(dstack_manifest_warning_count(m), 1);
    assert_non_null(strstr(dstack_manifest_warning(m, 0), "disk key"));
}

static void sec_23_images_without_digest_are_warned_about_or_refused(void **state) {
    static const struct {
        const char *compose;
        size_t warnings;
    } cases[] = {
        {"services:\\n  a:\\n    image: nginx:1.27\\n", 1},
        {"services:\\n  a:\\n    image: nginx" PIN "\\n", 0},
        {"services: {a: {image: nginx}, b: {image: 'redis'}}", 2},
        {"x: &i nginx\\nservices: {a: {image: *i}}", 1},
        {"services: {a: {image: \\\"nginx@sha256:00\\\"}}", 1},
        {"services: {a: {image: \\\"@sha256:x\\\"}}", 1},
        {"services: {a: {build: .}}", 0},
        {"just text", 1},
        {"[", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int strict = 0; strict < 2; strict++) {
            char text[1024];
            snprintf(text, sizeof text,
                     "{\"manifest_version\":2," BASE
                     ",\"docker_compose_file\":\"%s\",\"require_pinned_images\":%s}",
                     cases[i].compose, strict ? "true" : "false");
            DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
            dstack_error err = {0};
            int rc = parse(text, &m, &err);
            if (strict) {
                assert_int_equal(rc<0, cases[i].warnings> 0);
            } else {
                assert_ok(rc, err);
                if (dstack_manifest_warning_count(m) != cases[i].warnings) {
                    fail_msg("%s: %zu warnings", cases[i].compose,
                             dstack_manifest_warning_count(m));
                }
            }
        }
    }
}

static void requirements_are_checked_against_the_host(void **state) {
    static const char text[] =
        "{\"manifest_version\":\"3\"," BASE ",\"requirements\":{\"os_version\":\">=0.6.0\","
        "\"platforms\":[\"dstack-tdx\"],\"tdx_measure_acpi_tables\":false,\"launch_token_hash\":"
        "\"28faa1319055d733ad9651f5ab7689c15b04609846bcd27b3c5bc8df6246f5a3\"}}";
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse(text, &m, &err), err);
    const dstack_manifest_host good = {
        .os_version = "0.6.1",
        .tee = DSTACK_TEE_TDX,
        .tdx_lite = true,
        .user_config =
            bytes_of_str("{\"dstack\":{\"launch_token\":\"unit-test-launch-token-0000000001\"}}"),
    };
    assert_ok(dstack_manifest_check_host(m, &good, &err), err);
    dstack_manifest_host bad = good;
    bad.os_version = "0.5.9";
    assert_int_equal(dstack_manifest_check_host(m, &bad, NULL), DSTACK_E_REFUSED);
    bad = good;
    bad.tee = DSTACK_TEE_SEV_SNP;
    assert_int_equal(dstack_manifest_check_host(m, &bad, NULL), DSTACK_E_REFUSED);
    bad = good;
    bad.tdx_lite = false;
    assert_int_equal(dstack_manifest_check_host(m, &bad, NULL), DSTACK_E_REFUSED);
    bad = good;
    bad.user_config =
        bytes_of_str("{\"dstack\":{\"launch_token\":\"unit-test-launch-token-0000000002\"}}");
    assert_int_equal(dstack_manifest_check_host(m, &bad, NULL), DSTACK_E_REFUSED);
    bad.user_config = (dstack_bytes){0};
    assert_int_equal(dstack_manifest_check_host(m, &bad, NULL), DSTACK_E_REFUSED);
}

static void version_requirements_follow_cargo(void **state) {
    static const struct {
        const char *requirement, *version;
        int rc;
    } cases[] = {
        {">=0.6.0, <0.7.0", "0.6.5", 0},
        {">=0.6.0, <0.7.0", "0.7.0", DSTACK_E_REFUSED},
        {"0.6", "0.6.9", 0},
        {"0.6", "0.7.0", DSTACK_E_REFUSED},
        {"^1.2.3", "1.9.0", 0},
        {"^1.2.3", "2.0.0", DSTACK_E_REFUSED},
        {"^1.2.3", "1.2.2", DSTACK_E_REFUSED},
        {"^0.0.3", "0.0.4", DSTACK_E_REFUSED},
        {"^0.0.3", "0.0.3", 0},
        {"~1.2.3", "1.2.9", 0},
        {"~1.2.3", "1.3.0", DSTACK_E_REFUSED},
        {"~1", "1.9.9", 0},
        {"=0.6", "0.6.7", 0},
        {">0.6", "0.6.9", DSTACK_E_REFUSED},
        {">0.6", "0.7.0", 0},
        {"<=0.6", "0.6.9", 0},
        {"*", "3.2.1", 0},
        {"1.*", "1.7.0", 0},
        {"1.*", "2.0.0", DSTACK_E_REFUSED},
        {">=0.6.0", "0.6.0-rc1", DSTACK_E_REFUSED},
        {">=0.6.0", "0.6.0+build", 0},
        {"", "1.0.0", DSTACK_E_FORMAT},
        {">=", "1.0.0", DSTACK_E_FORMAT},
        {"1.2.3.4", "1.0.0", DSTACK_E_FORMAT},
        {"1,", "1.0.0", DSTACK_E_FORMAT},
        {"01", "1.0.0", DSTACK_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = manifest_check_version(cases[i].requirement, cases[i].version, NULL);
        if (rc != cases[i].rc) {
            fail_msg("%s with %s: %d", cases[i].version, cases[i].requirement, rc);
        }
    }
}

static void canonical_text_follows_javascript(void **state) {
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"n\":[100.0,1e21,1e20,1e-7,1e-6,0.1,-0.0,5e-324,123456789012345680000,1.5]}",
         "{\"n\":[100,1e+21,100000000000000000000,1e-7,0.000001,0.1,0,5e-324,"
         "123456789012345680000,1.5]}"},
        {"{\"s\":\"\\u0001\\b\\f\\n\\r\\t\\/\\\"\\\\\\u007f\"}",
         "{\"s\":\"\\u0001\\b\\f\\n\\r\\t/\\\"\\\\\x7f\"}"},
        /* U+1F600 sorts before U+FB33: its first UTF-16 unit is a surrogate */
        {"{\"\xef\xac\xb3\":1,\"\xf0\x9f\x98\x80\":2}",
         "{\"\xf0\x9f\x98\x80\":2,\"\xef\xac\xb3\":1}"},
        {"{\"x\":[true,false,null,{}]}", "{\"x\":[true,false,null,{}]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        dstack_error err = {0};
        assert_ok(dstack_compose_canonical(bytes_of_str(cases[i].text), false, &out, &err), err);
        assert_string_equal(buf_text(&out), cases[i].canonical);
    }
}

static void compose_hashes_equal_the_sdks(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(SHARED_DATA "agent/compose-hash-vectors.json");
    size_t i, checked = 0;
    json_t *item;
    json_array_foreach(json_object_get(vectors, "cases"), i, item) {
        const json_t *input = json_object_get(item, "input");
        if (!json_is_object(input)) {
            continue;
        }
        DSTACK_AUTO(buf) dstack_buf text = {0};
        dstack_error err = {0};
        assert_ok(json_write(input, false, &text, &err), err);
        uint8_t hash[32];
        assert_ok(dstack_compose_hash_canonical(bytes_of_buf(&text),
                                                json_is_true(json_object_get(item, "normalize")),
                                                hash, &err),
                  err);
        assert_hex(bytes_of(hash, 32), json_string_value(json_object_get(item, "javascript")));
        checked++;
    }
    assert_true(checked >= 14);
}

static void a_built_manifest_parses_and_is_canonical(void **state) {
    const dstack_manifest_new fields = {
        .name = "hello",
        .docker_compose_file = bytes_of_str("services: {}\n"),
        .key_provider = DSTACK_KEY_PROVIDER_KMS,
        .gateway_enabled = true,
        .no_secure_time = true,
        .allowed_envs = (const char *const[]){"A"},
        .allowed_env_count = 1,
    };
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(buf) dstack_buf canonical = {0};
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(dstack_manifest_build(&fields, &text, &err), err);
    assert_ok(dstack_manifest_parse(bytes_of_buf(&text), &m, &err), err);
    const dstack_manifest_fields *f = dstack_manifest_get(m);
    assert_int_equal(f->key_provider, DSTACK_KEY_PROVIDER_KMS);
    assert_true(f->gateway_enabled && !f->secure_time && f->public_tcbinfo);
    assert_string_equal(f->docker_compose_file, "services: {}\n");
    assert_ok(dstack_compose_canonical(bytes_of_buf(&text), false, &canonical, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&text), bytes_of_buf(&canonical)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minimal_manifest_takes_all_defaults),
        cmocka_unit_test(a_full_manifest_is_read_whole),
        cmocka_unit_test(bad_manifests_are_refused_with_the_key_at_fault),
        cmocka_unit_test(sec_01_shared_disk_keys_are_warned_about),
        cmocka_unit_test(sec_23_images_without_digest_are_warned_about_or_refused),
        cmocka_unit_test(requirements_are_checked_against_the_host),
        cmocka_unit_test(version_requirements_follow_cargo),
        cmocka_unit_test(canonical_text_follows_javascript),
        cmocka_unit_test(compose_hashes_equal_the_sdks),
        cmocka_unit_test(a_built_manifest_parses_and_is_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
