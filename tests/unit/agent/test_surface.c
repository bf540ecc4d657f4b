/* Which calls exist where, and what they tell to whom. */
#include "agent_world.h"

#include "boot/boot.h"
#include "serve/guest_api.h"

static void sec_24_keys_are_never_served_on_the_public_port(void **state) {
    static const char *const paths[] = {
        "/GetKey",         "/v0/GetKey",      "/v1/GetKey", "/prpc/GetKey",       "/prpc/v1/GetKey",
        "/prpc/v0/GetKey", "/prpc/GetTlsKey", "/prpc/Sign", "/prpc/v1/IssueCert", "/prpc/DeriveKey",
        "/prpc/Attest",
    };
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&w.f, "external", paths[i], "{}", &answer), 404);
    }
    world_end(&w);
}

static void methods_exist_on_their_own_surface_alone(void **state) {
    static const char *const paths[] = {"/v1/Verify",   "/v0/IssueCert", "/IssueCert",
                                        "/v1/GetQuote", "/GpuInfo",      "/Nope"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&w.f, "internal", paths[i], "{}", &answer), 404);
        assert_non_null(strstr(text_of(answer, "error"), "Service not found: "));
    }
    world_end(&w);
}

static void emit_event_answers_its_fixed_text(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/EmitEvent", NULL, &answer), 400);
    assert_string_equal(text_of(answer, "error"),
                        "EmitEvent was removed in dstack 0.6.0; runtime RTMR3 events are "
                        "system-owned and cannot be extended by apps");
    world_end(&w);
}

static void sec_17_version_1_keys_differ_by_algorithm(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *a = NULL;
    DSTACK_AUTO(json) json_t *b = NULL;
    DSTACK_AUTO(json) json_t *old = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/GetKey",
                                  "{\"domain\":\"d\",\"algorithm\":\"ed25519\"}", &a),
                     200);
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/GetKey",
                                  "{\"domain\":\"d\",\"algorithm\":\"secp256k1\"}", &b),
                     200);
    assert_int_equal(fixture_call(&w.f, "internal", "/GetKey", "{\"path\":\"d\"}", &old), 200);
    assert_string_not_equal(text_of(a, "key"), text_of(b, "key"));
    assert_string_not_equal(text_of(b, "key"), text_of(old, "key"));
    world_end(&w);
}

static void validity_that_no_certificate_can_state_is_refused(void **state) {
    static const char *const bad[] = {"{\"not_after\":253402300800}",
                                      "{\"not_before\":18446744073709551615}",
                                      "{\"not_before\":5,\"not_after\":5}"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fixture_call(&w.f, "internal", "/GetTlsKey", bad[i], NULL), 400);
    }
    world_end(&w);
}

static void private_manifests_hide_their_documents_in_public(void **state) {
    world w;
    world_begin(&w, ",\"public_tcbinfo\":false");
    DSTACK_AUTO(json) json_t *v0 = NULL;
    DSTACK_AUTO(json) json_t *v1 = NULL;
    DSTACK_AUTO(json) json_t *inside = NULL;
    assert_int_equal(fixture_call(&w.f, "external", "/prpc/Worker.Info", "{}", &v0), 200);
    assert_string_equal(text_of(v0, "tcb_info"), "");
    assert_string_equal(text_of(v0, "vm_config"), "");
    assert_int_equal(fixture_call(&w.f, "external", "/prpc/v1/Info", "{}", &v1), 200);
    assert_string_equal(text_of(v1, "app_compose"), "");
    assert_string_equal(text_of(v1, "key_provider_info"), "");
    assert_int_equal(fixture_call(&w.f, "internal", "/Info", "{}", &inside), 200);
    assert_string_not_equal(text_of(inside, "tcb_info"), "");
    world_end(&w);
}

static void an_identity_keeps_its_seed_only_with_a_key_provider(void **state) {
    dstack_manifest_fields app = {.key_provider = DSTACK_KEY_PROVIDER_KMS};
    memset(app.default_app_id, 0x11, 20);
    instance_info kept = {.has_seed = true};
    for (int i = 0; i < 20; i++) {
        kept.seed[i] = (uint8_t)i;
    }
    uint8_t fresh[20] = {0xff}, app_id[20], seed[20], instance[20];
    size_t len = 0;
    dstack_error err = {0};
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_hex(bytes_of(instance, len), "304a02cbeb1d898a28b39535a043b9e4f4175def");
    app.key_provider = DSTACK_KEY_PROVIDER_NONE;
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_memory_equal(seed, fresh, 20);
    app.no_instance_id = true;
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_int_equal(len, 0);
}

/* The host may ask; the world may not, and without a machine nothing is shut down. */
static void the_host_s_questions_are_for_the_host(void **state) {
    world w;
    world_begin(&w, ",\"public_tcbinfo\":false");
    fixture_listen(&w.f, "host", agent_guest_api_routes, agent_guest_api_route_count);
    DSTACK_AUTO(json) json_t *info = NULL;
    assert_int_equal(fixture_call(&w.f, "host", "/api/Info?json", "{}", &info), 200);
    assert_string_equal(text_of(info, "tcb_info"), "");
    DSTACK_AUTO(json) json_t *system = NULL;
    assert_int_equal(fixture_call(&w.f, "host", "/api/SysInfo?json", "{}", &system), 200);
    assert_true(json_integer_value(json_object_get(system, "total_memory")) > 0);
    assert_int_equal(fixture_call(&w.f, "host", "/api/NetworkInfo?json", "{}", NULL), 200);
    assert_int_equal(fixture_call(&w.f, "host", "/api/Shutdown?json", "{}", NULL), 400);
    assert_int_equal(fixture_call(&w.f, "external", "/api/Shutdown?json", "{}", NULL), 404);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_24_keys_are_never_served_on_the_public_port),
        cmocka_unit_test(methods_exist_on_their_own_surface_alone),
        cmocka_unit_test(emit_event_answers_its_fixed_text),
        cmocka_unit_test(sec_17_version_1_keys_differ_by_algorithm),
        cmocka_unit_test(validity_that_no_certificate_can_state_is_refused),
        cmocka_unit_test(private_manifests_hide_their_documents_in_public),
        cmocka_unit_test(an_identity_keeps_its_seed_only_with_a_key_provider),
        cmocka_unit_test(the_host_s_questions_are_for_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
