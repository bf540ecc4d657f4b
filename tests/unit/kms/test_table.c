/* What the tables of the KMS promise, read from the tables themselves. */
#include "check.h"

#include "kms.h"
#include "settings.h"

static void sec_11_every_method_names_who_may_call_it(void **state) {
    static const struct {
        const rpc_service *service;
        const char *method;
        rpc_caller caller;
    } expected[] = {
        {&kms_rpc_service, "GetAppKey", RPC_CALLER_ATTESTED},
        {&kms_rpc_service, "GetAppEnvEncryptPubKey", RPC_CALLER_ANYONE},
        {&kms_rpc_service, "GetMeta", RPC_CALLER_ANYONE},
        {&kms_rpc_service, "GetTempCaCert", RPC_CALLER_ANYONE},
        {&kms_rpc_service, "GetKmsKey", RPC_CALLER_ATTESTED},
        {&kms_rpc_service, "SignCert", RPC_CALLER_CUSTOM},
        {&kms_admin_service, "ClearImageCache", RPC_CALLER_TOKEN},
        {&kms_admin_service, "GetKmsKey", RPC_CALLER_TOKEN_ATTESTED},
        {&kms_setup_service, "Bootstrap", RPC_CALLER_TOKEN},
        {&kms_setup_service, "Onboard", RPC_CALLER_TOKEN},
        {&kms_setup_service, "GetAttestationInfo", RPC_CALLER_TOKEN},
        {&kms_setup_service, "Finish", RPC_CALLER_TOKEN},
    };
    size_t count = sizeof expected / sizeof expected[0];
    /* a method that is added appears here, with its class thought about */
    assert_int_equal(kms_rpc_service.method_count + kms_setup_service.method_count +
                         kms_admin_service.method_count,
                     count);
    for (size_t i = 0; i < count; i++) {
        const rpc_method *method = rpc_service_find(expected[i].service, expected[i].method);
        assert_non_null(method);
        assert_int_equal(method->caller, expected[i].caller);
        assert_true(method->body_limit > 0);
    }
    assert_non_null(kms_rpc_service.attest);
    assert_null(kms_setup_service.attest);
}

static void the_defaults_load_print_and_load_again(void **state) {
    dstack_error err = {0};
    DSTACK_AUTO(config)
    service_config *config = config_parse(bytes_of_str(""), "/etc/kms", kms_description.keys,
                                          kms_description.key_count, &err);
    if (config == NULL) {
        fail_msg("%s", err.message);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_ok(config_print(config, &text, &err), err);
    DSTACK_AUTO(config)
    service_config *again = config_parse(bytes_of_buf(&text), "/etc/kms", kms_description.keys,
                                         kms_description.key_count, &err);
    if (again == NULL) {
        fail_msg("%s", err.message);
    }
    /* the defaults release nothing: a TEE must be named */
    assert_int_equal(kms_settings_check(config, false, &err), DSTACK_E_FORMAT);
}

static int check(const char *text, bool insecure, dstack_error *err) {
    DSTACK_AUTO(config)
    service_config *config = config_parse(bytes_of_str(text), "/etc/kms", kms_description.keys,
                                          kms_description.key_count, err);
    return config == NULL ? err->status : kms_settings_check(config, insecure, err);
}

static void sec_19_each_weakening_setting_asks_for_the_flag(void **state) {
#define BASE "core: {tee: {url: tdx, manifest: m}"
    static const char *const weak[] = {
        BASE ", attest_rpc_cert: false}",           BASE ", enforce_self_authorization: false}",
        BASE ", image: {verify: false}}",           BASE ", auth_api: {type: dev}}",
        BASE ", attestation: {root_ca: {tdx: r}}}", "core: {tee: {url: 'sim:unix:x', manifest: m}}",
    };
    dstack_error err = {0};
    assert_ok(check(BASE "}", false, &err), err);
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++) {
        assert_int_equal(check(weak[i], false, &err), DSTACK_E_INSECURE);
        assert_ok(check(weak[i], true, &err), err);
    }
    assert_int_equal(check("core: {insecure_dev: true}", false, &err), DSTACK_E_FORMAT);
    assert_int_equal(check(BASE ", auth_api: {type: open}}", true, &err), DSTACK_E_FORMAT);
}

static void domains_follow_the_rule(void **state) {
    static const char *const good[] = {"localhost", "kms.example.com", "127.0.0.1", "a-b.c"};
    static const char *const bad[] = {"", "-a", "a-", "a..b", ".a", "a_b", "a b", "\xc3\xa4", "a."};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(kms_store_check_domain(good[i], NULL), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(kms_store_check_domain(bad[i], NULL), DSTACK_E_FORMAT);
    }
    char longest[255];
    memset(longest, 'a', sizeof longest);
    for (size_t i = 50; i < sizeof longest; i += 50) {
        longest[i] = '.';
    }
    longest[254] = 0;
    assert_int_equal(kms_store_check_domain(longest, NULL), DSTACK_E_FORMAT);
    longest[253] = 0;
    assert_int_equal(kms_store_check_domain(longest, NULL), 0);
}

static void sec_20_keys_are_made_once(void **state) {
    char dir[] = "/tmp/dstack-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    dstack_error err = {0};
    DSTACK_AUTO(kms_keys) kms_keys keys = {0};
    assert_ok(kms_keys_make(&keys, &err), err);
    assert_ok(kms_store_create(dir, "kms.example", true, &keys, (dstack_bytes){0}, &err), err);
    assert_int_equal(kms_store_create(dir, "kms.example", true, &keys, (dstack_bytes){0}, &err),
                     DSTACK_E_EXISTS);
    kms_store store;
    assert_int_equal(kms_store_load(&store, dir, "", false, &err), DSTACK_E_INSECURE);
    assert_ok(kms_store_load(&store, dir, "", true, &err), err);
    assert_string_equal(store.domain, "kms.example");
    assert_null(store.root);
    assert_null(store.root_pem);
    assert_null(store.k256);
    kms_store_clear(&store);
    assert_ok(kms_store_load_roots(&store, dir, true, &err), err);
    assert_int_equal(dstack_secret_len(store.root), 32);
    kms_store_clear(&store);
    char command[80];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void sec_25_reserved_names_are_kept_from_apps(void **state) {
    static const struct {
        const char *name;
        bool app, gateway;
    } cases[] = {
        {"app.example", true, true},     {"kms.test", false, false},
        {"KMS.Test.", false, false},     {"*.test", false, false},
        {"x.kms.test", true, true},      {"gw.example", false, true},
        {"a.b.gw.example", false, true}, {"*.gw.example", false, true},
        {"*.example", false, true},      {"notgw.example", true, true},
        {"gw.example.evil", true, true},
    };
    static const char *const reserved[] = {"gw.example"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_csr_spec spec = {.alt_names = &cases[i].name, .alt_name_count = 1};
        bool app = kms_issue_check_names(&spec, "kms.test", reserved, 1, false, NULL) == 0;
        bool gateway = kms_issue_check_names(&spec, "kms.test", reserved, 1, true, NULL) == 0;
        if (app != cases[i].app || gateway != cases[i].gateway) {
            fail_msg("%s: %d %d", cases[i].name, app, gateway);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_11_every_method_names_who_may_call_it),
        cmocka_unit_test(the_defaults_load_print_and_load_again),
        cmocka_unit_test(sec_19_each_weakening_setting_asks_for_the_flag),
        cmocka_unit_test(domains_follow_the_rule),
        cmocka_unit_test(sec_20_keys_are_made_once),
        cmocka_unit_test(sec_25_reserved_names_are_kept_from_apps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
