/* The VMM's configuration. */
#include "check.h"
#include "vmm_config.h"

static int check(const char *yaml, bool insecure_dev, dstack_error *err) {
    service_config *config =
        config_parse(bytes_of_str(yaml), "/", vmm_config_keys, vmm_config_key_count, err);
    int rc = config != NULL ? vmm_config_check(config, insecure_dev, err) : err->status;
    config_free(config);
    return rc;
}

static void the_defaults_are_valid(void **state) {
    dstack_error err = {0};
    assert_ok(check("{}", false, &err), err);
}

static void bad_values_are_named(void **state) {
    static const char *const rows[][2] = {
        {"cvm: {host_share_mode: nfs}", "cvm.host_share_mode"},
        {"cvm: {networking: {mode: bridge}}", "cvm.networking.bridge"},
        {"cvm: {networking: {mac_prefix: zz}}", "mac_prefix"},
        {"cvm: {kms_urls: [ftp://x]}", "cvm.kms_urls"},
        {"cvm: {port_mapping: {range: [{protocol: tcp, from: 9, to: 3}]}}", "range"},
        {"cvm: {auto_restart: {initial_backoff: 9, max_backoff: 3}}", "initial_backoff"},
        {"cvm: {max_allocable_vcpu: 0}", "cvm.max_allocable_vcpu"},
        {"qemu: {accel: hvf}", "qemu.accel"},
        {"frobnicate: 1", "frobnicate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dstack_error err = {0};
        assert_true(check(rows[i][0], false, &err) < 0);
        if (strstr(err.message, rows[i][1]) == NULL) {
            fail_msg("%s: %s", rows[i][0], err.message);
        }
    }
}

static void sec_19_a_simulated_tee_needs_the_insecure_flag(void **state) {
    dstack_error err = {0};
    assert_int_equal(check("cvm: {tee_simulator: {keys: /k}}", false, &err), DSTACK_E_INSECURE);
    assert_ok(check("cvm: {tee_simulator: {keys: /k}}", true, &err), err);
}

static void sec_11_an_open_listener_is_local(void **state) {
    dstack_error err = {0};
    assert_int_equal(check("address: \"0.0.0.0:9080\"", false, &err), DSTACK_E_INSECURE);
    assert_ok(check("address: \"127.0.0.1:9080\"", false, &err), err);
    assert_ok(check("{address: \"0.0.0.0:9080\", auth: {enabled: true, tokens: [t]}}", false, &err),
              err);
}

static void qemu_versions_parse(void **state) {
    static const char *const rows[][2] = {
        {"QEMU emulator version 8.2.2 (Debian 2:8.2.2+ds-0ubuntu1.4+tdx1.0)", "8.2.2"},
        {"QEMU emulator version 9.0.0-rc1", "9.0.0-rc1"},
        {"Some unusual format 8.1.5 with version info", "8.1.5"},
        {"No version information here", ""}};
    for (size_t i = 0; i < 4; i++) {
        char out[32];
        qemu_version_parse(rows[i][0], out);
        assert_string_equal(out, rows[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_valid),
        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(sec_19_a_simulated_tee_needs_the_insecure_flag),
        cmocka_unit_test(sec_11_an_open_listener_is_local),
        cmocka_unit_test(qemu_versions_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
