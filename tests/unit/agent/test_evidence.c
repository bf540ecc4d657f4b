/* What the agent proves, and to whom how often. */
#include "agent_world.h"

#include "serve/shared_evidence.h"

static void an_attestation_of_the_agent_verifies_and_names_the_app(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "internal", "/Attest", "{\"report_data\":\"aabb\"}", &answer), 200);
    uint8_t report_data[64] = {0xaa, 0xbb};
    dstack_verified *verified = NULL;
    assert_int_equal(verify(&w, text_of(answer, "attestation"), report_data, &verified), 0);
    DSTACK_AUTO(json) json_t *info = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/Info", "{}", &info), 200);
    const dstack_identity *id = dstack_verified_identity(verified);
    assert_hex(bytes_of(id->compose_hash.data, id->compose_hash.len),
               text_of(info, "compose_hash"));
    uint8_t hash[32];
    dstack_compose_hash(bytes_of_str(text_of(info, "app_compose")), hash);
    assert_hex(bytes_of(hash, 32), text_of(info, "compose_hash"));
    dstack_verified_free(verified);
    world_end(&w);
}

static void sec_13_simulated_evidence_fails_without_its_pinned_root(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/Attest", "{}", &answer), 200);
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    put_hex(&bytes, text_of(answer, "attestation"));
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&bytes), &attestation, &err), err);
    dstack_verifier *verifier = NULL;
    const dstack_verifier_options options = {0};
    assert_ok(dstack_verifier_new(&verifier, &options, &err), err);
    dstack_collateral *collateral = NULL;
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(w.sim.keys), &err), err);
    (void)dstack_verifier_add_collateral(verifier, collateral, NULL);
    const dstack_attestation_options check = {.now = FIXTURE_NOW + 60};
    dstack_verified *verified = NULL;
    assert_int_not_equal(dstack_attestation_verify(verifier, attestation, &check, &verified, &err),
                         0);
    dstack_collateral_free(collateral);
    dstack_verifier_free(verifier);
    world_end(&w);
}

static void sec_07_a_changed_runtime_log_gives_no_evidence(void **state) {
    world w;
    world_begin(&w, "");
    char path[160];
    snprintf(path, sizeof path, "%s/runtime_events.log", w.events);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(w.events, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    FILE *log = fopen(path, "a");
    fputs("{\"event\":\"forged\",\"payload\":\"\"}\n", log);
    fclose(log);
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/Attest", "{}", &answer), 400);
    assert_non_null(strstr(text_of(answer, "error"), "does not replay"));
    world_end(&w);
}

static void sec_07_an_extension_by_somebody_else_gives_no_evidence(void **state) {
    world w;
    world_begin(&w, "");
    uint8_t digest[48] = {1};
    dstack_error err = {0};
    assert_ok(dstack_tee_extend(w.tee, 3, digest, "foreign", &err), err);
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/GetQuote", "{}", &answer), 400);
    world_end(&w);
}

static void the_event_version_of_a_boot_is_fixed(void **state) {
    world w;
    world_begin(&w, "");
    dstack_error err = {0};
    assert_ok(runtime_log_set_version(w.events, 1, &err), err);
    assert_int_equal(runtime_log_set_version(w.events, 2, &err), DSTACK_E_STATE);
    assert_int_equal(runtime_log_set_version(w.events, 3, &err), DSTACK_E_ARGUMENT);
    world_end(&w);
}

static void a_tls_key_comes_with_evidence_bound_to_it(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "internal", "/GetTlsKey",
                     "{\"subject\":\"s\",\"alt_names\":[\"a.example\"],\"usage_ra_tls\":true,"
                     "\"usage_server_auth\":true,\"with_app_info\":true}",
                     &answer),
        200);
    const json_t *chain = json_object_get(answer, "certificate_chain");
    assert_int_equal(json_array_size(chain), 2);
    dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(
        dstack_cert_parse(bytes_of_str(json_string_value(json_array_get(chain, 0))), &cert, &err),
        err);
    assert_true(dstack_cert_matches_host(cert, "a.example"));
    dstack_verifier *verifier = verifier_make(&w);
    const dstack_attestation_options options = {.now = FIXTURE_NOW + 60};
    dstack_verified *verified = NULL;
    assert_ok(dstack_cert_verify_attestation(verifier, cert, &options, &verified, &err), err);
    dstack_verified_free(verified);
    dstack_verifier_free(verifier);
    dstack_cert_free(cert);
    world_end(&w);
}

static void public_evidence_binds_nonce_and_certificate(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "external",
                     "/.well-known/dstack/evidence?nonce=000102030405060708090a0b0c0d0e0f", NULL,
                     &answer),
        200);
    dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(dstack_cert_parse(bytes_of_str(text_of(answer, "certificate")), &cert, &err), err);
    uint8_t content[48], report_data[64];
    for (int i = 0; i < 16; i++) {
        content[i] = (uint8_t)i;
    }
    hash_sha256(dstack_cert_spki(cert), content + 16);
    assert_ok(dstack_report_data("dstack-evidence", NULL, bytes_of(content, sizeof content),
                                 report_data, &err),
              err);
    dstack_verified *verified = NULL;
    assert_int_equal(verify(&w, text_of(answer, "attestation"), report_data, &verified), 0);
    dstack_verified_free(verified);
    dstack_cert_free(cert);
    world_end(&w);
}

static void public_evidence_refuses_other_nonces(void **state) {
    static const char *const queries[] = {"", "?nonce=", "?nonce=00",
                                          "?nonce=zz0102030405060708090a0b0c0d0e0f",
                                          "?nonce=000102030405060708090a0b0c0d0e"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        char path[200];
        snprintf(path, sizeof path, "/.well-known/dstack/evidence%s", queries[i]);
        assert_int_equal(fixture_call(&w.f, "external", path, NULL, NULL), 400);
    }
    world_end(&w);
}

static void public_evidence_is_given_at_a_bounded_rate(void **state) {
    agent a = {0};
    int granted = 0;
    for (int i = 0; i < 100; i++) {
        granted += evidence_budget_take(&a, 1000) ? 1 : 0;
    }
    assert_int_equal(granted, 5);
    granted = 0;
    for (int i = 0; i < 100; i++) {
        granted += evidence_budget_take(&a, 1000 + 10 * i) ? 1 : 0;
    }
    assert_in_range(granted, 1, 2);
}

static void the_app_key_s_attestation_is_given_at_a_bounded_rate(void **state) {
    world w;
    world_begin(&w, "");
    int granted = 0, limited = 0;
    for (int i = 0; i < 12; i++) {
        int status = fixture_call(&w.f, "external", "/prpc/GetAttestationForAppKey",
                                  "{\"algorithm\":\"ed25519\"}", NULL);
        granted += status == 200;
        limited += status == 429;
    }
    assert_int_equal(granted + limited, 12);
    assert_true(granted >= 5 && limited >= 1);
    world_end(&w);
}

/* ---- sharing ----------------------------------------------------------------------------------- */

/* How often the device was asked. */
typedef struct counted {
    world w;
    int taken;
} counted;

static int counted_attest(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                          dstack_attestation **out, dstack_error *err) {
    counted *c = source;
    c->taken++; /* under the agent's lock */
    return world_attest(&c->w, report_data, out, err);
}

static void counted_begin(counted *c) {
    world_begin(&c->w, "");
    c->w.f.a->attest = counted_attest;
    c->w.f.a->source = c;
    c->taken = 0;
}

static void *ask_for_quote(void *user) {
    counted *c = user;
    assert_int_equal(
        fixture_call(&c->w.f, "internal", "/GetQuote", "{\"report_data\":\"01\"}", NULL), 200);
    return NULL;
}

static void identical_requests_at_once_share_one_quote(void **state) {
    counted c;
    counted_begin(&c);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_quote, &c), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_in_range(c.taken, 1, 2); /* two when the machine slept longer than the window */
    int before = c.taken;
    assert_int_equal(
        fixture_call(&c.w.f, "internal", "/GetQuote", "{\"report_data\":\"02\"}", NULL), 200);
    assert_int_equal(c.taken, before + 1);
    world_end(&c.w);
}

static void evidence_is_shared_for_a_second(void **state) {
    assert_true(shared_evidence_is_fresh(5000, 5999));
    assert_false(shared_evidence_is_fresh(5000, 6000));
    assert_false(shared_evidence_is_fresh(5000, 4999));
}

static void public_pages_take_no_quote_per_hit(void **state) {
    static const char *const pages[] = {"/",        "/prpc/Worker.Info", "/prpc/v1/Info",
                                        "/metrics", "/prpc/Version",     "/prpc/v1/Health"};
    counted c;
    counted_begin(&c);
    for (int i = 0; i < 60; i++) {
        fixture_call(&c.w.f, "external", pages[i % 6], NULL, NULL);
    }
    assert_int_equal(c.taken, 1);
    world_end(&c.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attestation_of_the_agent_verifies_and_names_the_app),
        cmocka_unit_test(sec_13_simulated_evidence_fails_without_its_pinned_root),
        cmocka_unit_test(sec_07_a_changed_runtime_log_gives_no_evidence),
        cmocka_unit_test(sec_07_an_extension_by_somebody_else_gives_no_evidence),
        cmocka_unit_test(the_event_version_of_a_boot_is_fixed),
        cmocka_unit_test(a_tls_key_comes_with_evidence_bound_to_it),
        cmocka_unit_test(public_evidence_binds_nonce_and_certificate),
        cmocka_unit_test(public_evidence_refuses_other_nonces),
        cmocka_unit_test(public_evidence_is_given_at_a_bounded_rate),
        cmocka_unit_test(the_app_key_s_attestation_is_given_at_a_bounded_rate),
        cmocka_unit_test(identical_requests_at_once_share_one_quote),
        cmocka_unit_test(evidence_is_shared_for_a_second),
        cmocka_unit_test(public_pages_take_no_quote_per_hit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
