/* What `dstack verify` makes of answers: true ones hold, and each part exchanged for another is
 * refused at its own step. */
#include "verify_fixture.h"

static scene s;

static int group_setup(void **state) {
    scene_setup(&s);
    return 0;
}

static int group_teardown(void **state) {
    scene_teardown(&s);
    return 0;
}

static void expect_refusal(const verify_demands *demands, const verify_answers *answers,
                           verify_step_id step, const char *text) {
    DSTACK_AUTO(verify_report) verify_report report = {0};
    verify_step_id refused;
    verify_judge(demands, answers, &report);
    assert_true(verify_refusal(&report, &refused));
    if (refused != step || strstr(report.steps[refused].detail, text) == NULL) {
        fail_msg("refused at %s: %s", verify_step_name(refused), report.steps[refused].detail);
    }
    assert_int_not_equal(report.steps[VERIFY_CONNECTION].outcome, VERIFY_HOLDS);
}

static void expect_verified(const verify_demands *demands, const verify_answers *answers,
                            verify_report *report) {
    verify_step_id refused;
    verify_judge(demands, answers, report);
    if (verify_refusal(report, &refused)) {
        fail_msg("refused at %s: %s", verify_step_name(refused), report->steps[refused].detail);
    }
    assert_int_equal(report->steps[VERIFY_CONNECTION].outcome, VERIFY_HOLDS);
}

/* ---- behind a gateway -------------------------------------------------------------------------
 */

static void a_terminated_address_verifies_step_by_step(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    assert_int_equal(report.mode, VERIFY_TERMINATED);
    assert_true(report.insecure);
    for (int i = 0; i < VERIFY_STEPS; i++) {
        assert_true(report.steps[i].used);
        assert_int_equal(report.steps[i].outcome, VERIFY_HOLDS);
    }
    assert_int_equal(report.steps[VERIFY_ROOT].anchor, DSTACK_ANCHOR_POLICY);
    assert_non_null(strstr(report.steps[VERIFY_ROOT].detail, "INSECURE"));
}

static void sec_26_each_step_names_what_its_trust_rests_on(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    /* The prover's own measurement material is its word, and the report says so. */
    assert_int_equal(report.steps[VERIFY_IMAGE].anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_int_equal(report.steps[VERIFY_GATEWAY_IMAGE].anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_true(report.steps[VERIFY_IMAGE].caveat);
    assert_true(report.steps[VERIFY_KMS].caveat);
    assert_true(report.steps[VERIFY_GATEWAY_IDENTITY].caveat);
    verify_report_clear(&report);

    const char *images[] = {s.image_dir};
    demands.images = images;
    demands.image_count = 1;
    demands.compose_hash = s.app.compose_hash;
    demands.kms_root = bytes_of_buf(&s.kms.chain);
    demands.app_id = s.app.app_id;
    demands.gateway_app_id = s.gateway.app_id;
    expect_verified(&demands, &answers, &report);
    assert_int_equal(report.steps[VERIFY_IMAGE].anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
    assert_int_equal(report.steps[VERIFY_GATEWAY_IMAGE].anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
    assert_int_equal(report.steps[VERIFY_KMS].anchor, DSTACK_ANCHOR_POLICY);
    assert_int_equal(report.steps[VERIFY_MANIFEST].anchor, DSTACK_ANCHOR_POLICY);
    assert_int_equal(report.steps[VERIFY_GATEWAY_IDENTITY].anchor, DSTACK_ANCHOR_POLICY);
    for (int i = 0; i < VERIFY_STEPS; i++) {
        bool simulated = i == VERIFY_ROOT || i == VERIFY_GATEWAY_ROOT;
        assert_int_equal(report.steps[i].caveat, simulated);
    }
}

static void sec_13_simulated_evidence_is_refused_unless_its_root_is_pinned(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    dstack_error err = {0};
    dstack_verifier *intel = NULL;
    dstack_collateral *collateral = NULL;
    scene_answers(&s, &answers);
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(s.f.keys), &err), err);
    assert_ok(dstack_verifier_new(&intel, NULL, &err), err);
    assert_ok(dstack_verifier_add_collateral(intel, collateral, &err), err);
    verify_demands demands = scene_demands(&s);
    demands.verifier = intel;
    expect_refusal(&demands, &answers, VERIFY_ROOT, "");
    dstack_collateral_free(collateral);
    dstack_verifier_free(intel);
}

static void a_connection_with_a_key_the_gateway_does_not_prove_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_cert other = {0};
    scene_answers(&s, &answers);
    scene_gateway_cert(&s, &other);
    scene_show_chain(&answers, &other.chain);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "not among the 1");
    scene_cert_clear(&other);
}

/* The man in the middle lists his own key beside the true gateway's evidence. */
static void evidence_for_another_key_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_cert other = {0};
    scene_answers(&s, &answers);
    scene_gateway_cert(&s, &other);
    scene_show_chain(&answers, &other.chain);
    dstack_attestation *gateway =
        scene_attest_for(&s, &s.gateway, "zt-cert", bytes_of_buf(&s.gateway_cert.spki));
    scene_acme_info(gateway, bytes_of_buf(&other.spki), &answers.acme_info);
    dstack_attestation_free(gateway);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "report data mismatch");
    scene_cert_clear(&other);
}

/* Evidence over the right key but with another purpose's tag. */
static void evidence_of_another_purpose_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    dstack_attestation *gateway =
        scene_attest_for(&s, &s.gateway, "ratls-cert", bytes_of_buf(&s.gateway_cert.spki));
    scene_acme_info(gateway, bytes_of_buf(&s.gateway_cert.spki), &answers.acme_info);
    dstack_attestation_free(gateway);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "report data mismatch");
}

static void sec_21_evidence_for_an_older_nonce_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    answers.nonce[0] ^= 1;
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "our nonce");
}

static void a_certificate_exchanged_beside_the_evidence_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    dstack_error err = {0};
    scene_cert other = {0};
    scene_answers(&s, &answers);
    scene_key(&other);
    scene_app_leaf(&s, &other, DSTACK_USAGE_APP_CUSTOM, NULL);
    DSTACK_AUTO(json)
    json_t *document = json_parse(bytes_of_buf(&answers.evidence), SIZE_MAX, "evidence", &err);
    json_object_set_new(document, "certificate", json_string(buf_text(&other.chain)));
    buf_reset(&answers.evidence);
    assert_ok(json_write(document, false, &answers.evidence, &err), err);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "report data mismatch");
    scene_cert_clear(&other);
}

static void another_app_behind_the_name_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_party other = s.app;
    scene_answers(&s, &answers);
    scene_who(&other, "{\"name\":\"other\"}");
    scene_evidence(&s, &other, &s.guest_cert, bytes_of(answers.nonce, sizeof answers.nonce),
                   &answers.evidence);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_IDENTITY, "the name says");
}

static void an_instance_id_in_the_name_is_matched(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    char host[300], instance[41];
    scene_answers(&s, &answers);
    hex_encode(bytes_of(s.app.instance_id, 20), instance);
    snprintf(host, sizeof host, "%s-8080." SCENE_BASE, instance);
    verify_name_split(host, &answers.name);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    /* Then nothing that the caller named says which manifest it is. */
    assert_true(report.steps[VERIFY_MANIFEST].caveat);
}

/* A genuine guest that took the app id of another app, with a manifest of its own. */
static void sec_26_an_app_id_that_is_not_the_manifests_hash_is_self_asserted(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_party thief = s.app;
    scene_answers(&s, &answers);
    hash_sha256(bytes_of_str("evil"), thief.compose_hash);
    scene_evidence(&s, &thief, &s.guest_cert, bytes_of(answers.nonce, sizeof answers.nonce),
                   &answers.evidence);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    assert_int_equal(report.steps[VERIFY_IDENTITY].anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_true(report.steps[VERIFY_IDENTITY].caveat);
    assert_true(report.steps[VERIFY_MANIFEST].caveat);
    demands.compose_hash = s.app.compose_hash;
    expect_refusal(&demands, &answers, VERIFY_MANIFEST, "the app runs manifest");
}

static void an_unexpected_app_or_gateway_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    demands.app_id = s.gateway.app_id;
    expect_refusal(&demands, &answers, VERIFY_IDENTITY, "--app-id");
    demands.app_id = NULL;
    demands.gateway_app_id = s.app.app_id;
    expect_refusal(&demands, &answers, VERIFY_GATEWAY_IDENTITY, "--gateway-app-id");
}

static void sec_25_keys_of_another_kms_are_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    demands.kms_root = bytes_of_buf(&s.public_ca.chain);
    expect_refusal(&demands, &answers, VERIFY_KMS, "another KMS");
}

/* Issued under the right KMS, but not as an app's certificate. */
static void sec_25_a_kms_certificate_is_no_apps(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_cert other = {0};
    scene_answers(&s, &answers);
    scene_key(&other);
    scene_app_leaf(&s, &other, DSTACK_USAGE_KMS_RPC, NULL);
    scene_evidence(&s, &s.app, &other, bytes_of(answers.nonce, sizeof answers.nonce),
                   &answers.evidence);
    verify_demands demands = scene_demands(&s);
    demands.kms_root = bytes_of_buf(&s.kms.chain);
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "usage");
    scene_cert_clear(&other);
}

/* An issuer that runs in an insecure mode says so in every certificate it makes. */
static void sec_19_a_certificate_marked_insecure_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_cert other = {0};
    scene_answers(&s, &answers);
    scene_key(&other);
    s.unit = "dstack insecure-dev";
    scene_app_leaf(&s, &other, DSTACK_USAGE_APP_CUSTOM, NULL);
    s.unit = NULL;
    scene_evidence(&s, &s.app, &other, bytes_of(answers.nonce, sizeof answers.nonce),
                   &answers.evidence);
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "insecure-dev");
    demands.insecure_dev = true;
    expect_verified(&demands, &answers, &report);
    assert_true(report.steps[VERIFY_EVIDENCE].caveat);
    assert_true(report.insecure);
    scene_cert_clear(&other);
}

static void sec_07_a_log_that_misses_an_extension_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    s.unlogged = true;
    scene_evidence(&s, &s.app, &s.guest_cert, bytes_of(answers.nonce, sizeof answers.nonce),
                   &answers.evidence);
    s.unlogged = false;
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_FIRMWARE, "");
}

static void sec_26_another_image_than_the_callers_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    char dir[] = "/tmp/dstack-image-XXXXXX";
    scene_answers(&s, &answers);
    small_image_make(dir, "two");
    const char *images[] = {dir, s.image_dir};
    verify_demands demands = scene_demands(&s);
    demands.images = images;
    demands.image_count = 1;
    expect_refusal(&demands, &answers, VERIFY_IMAGE, "none of those given");
    demands.image_count = 2;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    expect_verified(&demands, &answers, &report);
    small_image_remove(dir);
}

static void evidence_over_another_gateways_connection_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers, other;
    scene_cert cert = {0};
    scene_answers(&s, &answers);
    memset(&other, 0, sizeof other);
    scene_gateway_cert(&s, &cert);
    scene_show_chain(&other, &cert.chain);
    dstack_buf_clear(&answers.evidence_leaf);
    buf_put_bytes(&answers.evidence_leaf, bytes_of_buf(&other.chain[0]));
    verify_demands demands = scene_demands(&s);
    expect_refusal(&demands, &answers, VERIFY_ROUTING, "another key");
    scene_cert_clear(&cert);
}

static void a_level_that_policy_does_not_allow_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    dstack_error err = {0};
    dstack_policy *policy = NULL;
    scene_answers(&s, &answers);
    assert_ok(
        dstack_policy_parse(&policy, bytes_of_str("{\"allowed_statuses\":[\"OutOfDate\"]}"), &err),
        err);
    verify_demands demands = scene_demands(&s);
    demands.policy = policy;
    expect_refusal(&demands, &answers, VERIFY_TCB, "UpToDate");
    dstack_policy_free(policy);
}

static void a_name_that_no_public_ca_vouches_for_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    demands.ca = bytes_of_buf(&s.kms.chain);
    DSTACK_AUTO(verify_report) verify_report report = {0};
    verify_step_id refused;
    verify_judge(&demands, &answers, &report);
    assert_true(verify_refusal(&report, &refused));
    assert_int_equal(refused, VERIFY_PUBLIC_NAME);
    demands = scene_demands(&s);
    demands.now += 2 * DAY;
    verify_report_clear(&report);
    verify_judge(&demands, &answers, &report);
    assert_int_equal(report.steps[VERIFY_PUBLIC_NAME].outcome, VERIFY_FAILS);
}

static void answers_that_did_not_come_refuse(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    error_set(&answers.evidence_error, DSTACK_E_PEER, "answered 404");
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "answered 404");
    answers.evidence_error = (dstack_error){0};
    error_set(&answers.acme_error, DSTACK_E_NETWORK, "no way");
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "no way");
    answers.acme_error = (dstack_error){0};
    buf_reset(&answers.evidence);
    buf_put_str(&answers.evidence, "{\"attestation\":\"00\"}");
    expect_refusal(&demands, &answers, VERIFY_EVIDENCE, "certificate");
}

static void a_name_without_evidence_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_answers(&s, &answers);
    verify_name_split("www.example.test", &answers.name);
    verify_demands demands = scene_demands(&s);
    DSTACK_AUTO(verify_report) verify_report report = {0};
    verify_judge(&demands, &answers, &report);
    assert_int_equal(report.steps[VERIFY_CERTIFICATE].outcome, VERIFY_FAILS);
    assert_non_null(strstr(report.steps[VERIFY_CERTIFICATE].detail, "no evidence"));
    assert_int_not_equal(report.steps[VERIFY_CONNECTION].outcome, VERIFY_HOLDS);
}

static void the_gateways_own_name_proves_the_gateway(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_answers(&s, &answers);
    verify_name_split("gateway." SCENE_BASE, &answers.name);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    assert_int_equal(report.mode, VERIFY_GATEWAY);
    assert_null(report.app);
}

/* ---- passthrough ------------------------------------------------------------------------------
 */

/* A leaf with the app's own evidence, for the key given. */
static void own_leaf(scene_cert *cert, dstack_bytes evidence_for, verify_answers *answers) {
    dstack_attestation *made = scene_attest_for(&s, &s.app, "ratls-cert", evidence_for);
    scene_app_leaf(&s, cert, DSTACK_USAGE_APP_CUSTOM, made);
    dstack_attestation_free(made);
    memset(answers, 0, sizeof *answers);
    verify_name_split(s.host, &answers->name);
    scene_show_chain(answers, &cert->chain);
}

static void a_passthrough_address_verifies_by_its_own_certificate(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_cert own = {0};
    scene_key(&own);
    own_leaf(&own, bytes_of_buf(&own.spki), &answers);
    verify_demands demands = scene_demands(&s);
    const char *images[] = {s.image_dir};
    demands.images = images;
    demands.image_count = 1;
    demands.kms_root = bytes_of_buf(&s.kms.chain);
    demands.ca = (dstack_bytes){0};
    expect_verified(&demands, &answers, &report);
    assert_int_equal(report.mode, VERIFY_PASSTHROUGH);
    /* No public CA knows it, and the proof does not need one. */
    assert_true(report.steps[VERIFY_PUBLIC_NAME].optional);
    assert_int_equal(report.steps[VERIFY_PUBLIC_NAME].outcome, VERIFY_FAILS);
    assert_false(report.steps[VERIFY_ROUTING].used);
    assert_null(report.gateway);
    scene_cert_clear(&own);
}

static void a_certificate_with_somebody_elses_evidence_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_cert own = {0};
    scene_key(&own);
    own_leaf(&own, bytes_of_buf(&s.guest_cert.spki), &answers);
    verify_demands demands = scene_demands(&s);
    demands.ca = (dstack_bytes){0};
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "report data mismatch");
    scene_cert_clear(&own);
}

static void sec_21_an_expired_certificate_is_refused(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    scene_cert own = {0};
    scene_key(&own);
    own_leaf(&own, bytes_of_buf(&own.spki), &answers);
    verify_demands demands = scene_demands(&s);
    demands.ca = (dstack_bytes){0};
    demands.now += 2 * DAY;
    expect_refusal(&demands, &answers, VERIFY_CERTIFICATE, "expired");
    scene_cert_clear(&own);
}

/* ---- names and documents ----------------------------------------------------------------------
 */

static void names_split_as_gateways_form_them(void **state) {
    static const char id[] = "00112233445566778899aabbccddeeff00112233";
    verify_name name;
    char host[300];
    snprintf(host, sizeof host, "%s.apps.example.test", id);
    verify_name_split(host, &name);
    assert_string_equal(name.id, id);
    assert_string_equal(name.base, "apps.example.test");
    snprintf(host, sizeof host, "%s-8443s.Apps.Example.Test.", id);
    verify_name_split(host, &name);
    assert_string_equal(name.id, id);
    assert_string_equal(name.base, "apps.example.test");
    verify_name_split("GATEWAY.x.y", &name);
    assert_true(verify_name_is_gateway(&name));
    const char *others[] = {
        "",           ".",       "www.example.test", id,
        "00112233.x", "gateway", "127.0.0.1",        "zz112233445566778899aabbccddeeff00112233.x"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        verify_name_split(others[i], &name);
        assert_string_equal(name.id, "");
        assert_string_equal(name.base, "");
    }
    char longest[400];
    memset(longest, 'a', sizeof longest);
    longest[399] = '\0';
    verify_name_split(longest, &name);
    assert_string_equal(name.host, "");
}

static void the_document_names_every_step_and_the_refusal(void **state) {
    DSTACK_AUTO(verify_answers) verify_answers answers;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    scene_answers(&s, &answers);
    verify_demands demands = scene_demands(&s);
    expect_verified(&demands, &answers, &report);
    DSTACK_AUTO(json) json_t *good = verify_report_json(&report, "https://x");
    assert_string_equal(json_string_value(json_object_get(good, "verdict")), "verified");
    assert_true(json_is_true(json_object_get(good, "insecure_dev")));
    assert_int_equal(json_array_size(json_object_get(good, "steps")), VERIFY_STEPS);
    assert_null(json_object_get(good, "error"));
    char app_id[41];
    hex_encode(bytes_of(s.app.app_id, 20), app_id);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(good, "identity"), "app_id")), app_id);
    verify_report_clear(&report);
    answers.nonce[5] ^= 4;
    verify_judge(&demands, &answers, &report);
    DSTACK_AUTO(json) json_t *bad = verify_report_json(&report, "https://x");
    assert_string_equal(json_string_value(json_object_get(bad, "verdict")), "refused");
    assert_string_equal(json_string_value(json_object_get(json_object_get(bad, "error"), "check")),
                        "app-evidence");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminated_address_verifies_step_by_step),
        cmocka_unit_test(sec_26_each_step_names_what_its_trust_rests_on),
        cmocka_unit_test(sec_13_simulated_evidence_is_refused_unless_its_root_is_pinned),
        cmocka_unit_test(a_connection_with_a_key_the_gateway_does_not_prove_is_refused),
        cmocka_unit_test(evidence_for_another_key_is_refused),
        cmocka_unit_test(evidence_of_another_purpose_is_refused),
        cmocka_unit_test(sec_21_evidence_for_an_older_nonce_is_refused),
        cmocka_unit_test(a_certificate_exchanged_beside_the_evidence_is_refused),
        cmocka_unit_test(another_app_behind_the_name_is_refused),
        cmocka_unit_test(an_instance_id_in_the_name_is_matched),
        cmocka_unit_test(sec_26_an_app_id_that_is_not_the_manifests_hash_is_self_asserted),
        cmocka_unit_test(an_unexpected_app_or_gateway_is_refused),
        cmocka_unit_test(sec_25_keys_of_another_kms_are_refused),
        cmocka_unit_test(sec_25_a_kms_certificate_is_no_apps),
        cmocka_unit_test(sec_19_a_certificate_marked_insecure_is_refused),
        cmocka_unit_test(sec_07_a_log_that_misses_an_extension_is_refused),
        cmocka_unit_test(sec_26_another_image_than_the_callers_is_refused),
        cmocka_unit_test(evidence_over_another_gateways_connection_is_refused),
        cmocka_unit_test(a_level_that_policy_does_not_allow_is_refused),
        cmocka_unit_test(a_name_that_no_public_ca_vouches_for_is_refused),
        cmocka_unit_test(answers_that_did_not_come_refuse),
        cmocka_unit_test(a_name_without_evidence_is_refused),
        cmocka_unit_test(the_gateways_own_name_proves_the_gateway),
        cmocka_unit_test(a_passthrough_address_verifies_by_its_own_certificate),
        cmocka_unit_test(a_certificate_with_somebody_elses_evidence_is_refused),
        cmocka_unit_test(sec_21_an_expired_certificate_is_refused),
        cmocka_unit_test(names_split_as_gateways_form_them),
        cmocka_unit_test(the_document_names_every_step_and_the_refusal),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
