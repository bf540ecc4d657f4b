/* `dstack verify` takes evidence of every platform: each step of one party, and where it is refused.
 */
#include <dstack/measure.h>

#include "attest/attest.h"
#include "attest/mock.h"
#include "check.h"
#include "verify/snp/made_snp.h"
#include "verify/verify.h"

DSTACK_AUTO_DEFINE(policy, dstack_policy, dstack_policy_free)

static dstack_policy *policy_of(const char *text) {
    dstack_policy *policy = NULL;
    dstack_error err = {0};
    assert_ok(dstack_policy_parse(&policy, bytes_of_str(text), &err), err);
    return policy;
}

static const char up_to_date[] =
    "{\"allow_dynamic_platform\":true,\"allow_cached_keys\":true,\"allow_smt\":true}";

/* The step that refuses, or -1. */
static int judge(const verify_demands *demands, const dstack_attestation *a,
                 verify_report *report) {
    verify_report_clear(report);
    *report = (verify_report){0};
    bool holds = verify_judge_party(demands, a, VERIFY_ROOT, report, &report->app);
    int refused = -1;
    for (int i = VERIFY_ROOT; refused < 0 && i <= VERIFY_IMAGE; i++) {
        refused = report->steps[i].outcome == VERIFY_FAILS ? i : -1;
    }
    assert_true(holds == (refused < 0));
    return refused;
}

/* ---- SEV-SNP of our own making ---- */

/* A made report with its configuration document; no measurement document comes along. */
static dstack_attestation *snp_attestation(made_snp *m, bool with_certs) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf document = {0};
    dstack_attestation *a = attest_new(DSTACK_TEE_SEV_SNP, &err);
    const uint8_t some[32] = {0x42};
    uint8_t id[DSTACK_REGISTER_SIZE];
    const dstack_mr_config config = {.app_id = bytes_of(some, 20),
                                     .compose_hash = bytes_of(some, 32)};
    assert_non_null(a);
    assert_ok(dstack_mr_config_document(&config, &document, &err), err);
    dstack_mr_config_document_id(bytes_of_buf(&document), id);
    memcpy(m->report + 0xc0, id + 1, 32);
    made_snp_build(m);
    buf_put_bytes(&a->evidence, bytes_of(m->report, sizeof m->report));
    free(a->mr_config);
    a->mr_config = buf_detach_text(&document);
    memset(a->report_data, 0x42, sizeof a->report_data);
    free(a->config);
    a->config =
        strdup("{\"os_image_hash\":\"4242424242424242424242424242424242424242424242424242424"
               "242424242\"}");
    if (with_certs) {
        buf_put_bytes(&a->certs[0], bytes_of_buf(&m->certs.ask));
        buf_put_bytes(&a->certs[1], bytes_of_buf(&m->certs.vcek));
        a->cert_count = 2;
    }
    return a;
}

static int give_certs(void *user, dstack_bytes report, const dstack_snp_options *options,
                      dstack_snp_certs *certs, dstack_error *err) {
    const made_snp *m = user;
    buf_put_bytes(&certs->ask, bytes_of_buf(&m->certs.ask));
    buf_put_bytes(&certs->vcek, bytes_of_buf(&m->certs.vcek));
    return buf_check(&certs->vcek, err);
}

static void an_snp_guest_is_judged_up_to_the_image_that_nobody_vouches_for(void **state) {
    DSTACK_AUTO(policy) dstack_policy *policy = policy_of(up_to_date);
    DSTACK_AUTO(verify_report) verify_report report = {0};
    made_snp m;
    made_snp_init(&m);
    for (int fetched = 0; fetched < 2; fetched++) {
        DSTACK_AUTO(attestation) dstack_attestation *a = snp_attestation(&m, fetched == 0);
        const dstack_platform_roots roots = {.snp_milan = bytes_of_buf(&m.root)};
        verify_demands demands = {.policy = policy,
                                  .now = MADE_SNP_NOW,
                                  .roots = &roots,
                                  .snp_certs = fetched != 0 ? give_certs : NULL,
                                  .snp_certs_user = &m};
        assert_int_equal(judge(&demands, a, &report), VERIFY_IMAGE);
        assert_int_equal(report.steps[VERIFY_ROOT].anchor, DSTACK_ANCHOR_POLICY);
        assert_non_null(strstr(report.steps[VERIFY_ROOT].detail, "in place of AMD's"));
        assert_true(report.insecure);
        assert_string_equal(report.steps[VERIFY_TCB].detail, "UpToDate");
        assert_non_null(strstr(report.steps[VERIFY_FIRMWARE].evidence, "launch digest 3333"));
        demands.roots = NULL; /* under AMD's own roots nothing of it holds */
        assert_int_equal(judge(&demands, a, &report), VERIFY_ROOT);
    }
    made_snp_clear(&m);
}

static void sec_13_an_snp_guest_is_refused_at_the_step_that_is_wrong(void **state) {
    DSTACK_AUTO(policy) dstack_policy *policy = policy_of(up_to_date);
    DSTACK_AUTO(verify_report) verify_report report = {0};
    enum { DEBUG, CHIP, OLD, STRANGER, NO_CERTS, CASES };
    static const verify_step_id at[CASES] = {VERIFY_TCB, VERIFY_TCB, VERIFY_TCB, VERIFY_ROOT,
                                             VERIFY_ROOT};
    for (int i = 0; i < CASES; i++) {
        made_snp m;
        made_snp_init(&m);
        m.report[0x0a] |= i == DEBUG ? 1 << 3 : 0; /* the policy allows debugging */
        m.hardware_id[0] ^= i == CHIP ? 1 : 0;
        m.report[0x38 + 6] += i == OLD ? 1 : 0; /* runs newer firmware than is reported */
        m.foreign_ask = i == STRANGER;
        DSTACK_AUTO(attestation) dstack_attestation *a = snp_attestation(&m, i != NO_CERTS);
        const dstack_platform_roots roots = {.snp_milan = bytes_of_buf(&m.root)};
        const verify_demands demands = {.policy = policy, .now = MADE_SNP_NOW, .roots = &roots};
        int refused = judge(&demands, a, &report);
        if (refused != (int)at[i]) {
            fail_msg("case %d is refused at %d: %s", i, refused,
                     refused < 0 ? "" : report.steps[refused].detail);
        }
        made_snp_clear(&m);
    }
}

/* ---- recorded evidence of all platforms ---- */

typedef struct roots_of_cases {
    dstack_buf der[4];
    dstack_platform_roots roots;
} roots_of_cases;

static void load_root(const char *name, dstack_buf *der, dstack_bytes *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = false;
    dstack_error err = {0};
    char path[256];
    snprintf(path, sizeof path, MOCK "roots/%s.pem", name);
    load_file(path, &text);
    pem_reader_init(&reader, bytes_of_buf(&text));
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    buf_put_bytes(der, bytes_of_buf(&block.der));
    *out = bytes_of_buf(der);
}

static void every_platforms_recorded_evidence_gets_the_verdict_of_its_case(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    DSTACK_AUTO(policy)
    dstack_policy *policy =
        policy_of("{\"allowed_statuses\":[\"UpToDate\",\"OutOfDate\"],\"allow_dynamic_platform\":"
                  "true,\"allow_cached_keys\":true,\"allow_smt\":true}");
    roots_of_cases r = {0};
    load_root("sev_snp_milan", &r.der[0], &r.roots.snp_milan);
    load_root("aws_nitro_enclave", &r.der[1], &r.roots.nitro_enclave);
    load_root("aws_nitro_tpm", &r.der[2], &r.roots.nitro_tpm);
    load_root("gcp_tpm", &r.der[3], &r.roots.gcp_tpm);
    dstack_verifier *verifier = NULL;
    make_verifier(true, &verifier);
    size_t i, judged = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        static const char *const taken[] = {"snp-v0",         "snp-debug",       "snp-signature",
                                            "nitro-v0",       "nitro-signature", "nitrotpm-v0",
                                            "nitrotpm-pcr14", "gcp-v0",          "gcp-pcr14"};
        const char *name = json_string_value(json_object_get(item, "name"));
        bool wanted = false;
        for (size_t k = 0; k < sizeof taken / sizeof *taken; k++) {
            wanted = wanted || strcmp(name, taken[k]) == 0;
        }
        if (!wanted) {
            continue;
        }
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
        DSTACK_AUTO(verify_report) verify_report report = {0};
        dstack_error err = {0};
        put_hex(&raw, json_string_value(
                          json_object_get(json_object_get(item, "request"), "attestation")));
        assert_ok(dstack_attestation_decode(bytes_of_buf(&raw), &a, &err), err);
        const verify_demands demands = {.verifier = verifier,
                                        .policy = policy,
                                        .policy_is_default = true,
                                        .now = json_integer_value(json_object_get(item, "now")),
                                        .roots = &r.roots};
        bool valid = json_is_true(json_object_get(json_object_get(item, "response"), "is_valid"));
        int refused = judge(&demands, a, &report);
        if ((refused < 0) != valid) {
            fail_msg("%s: %s", name, refused < 0 ? "passes" : report.steps[refused].detail);
        }
        assert_true(!valid || report.insecure);
        judged++;
    }
    assert_int_equal(judged, 9);
    dstack_verifier_free(verifier);
    for (size_t k = 0; k < 4; k++) {
        dstack_buf_clear(&r.der[k]);
    }
}

static void a_policy_that_somebody_chose_refuses_platforms_without_levels(void **state) {
    need_shared_data();
    DSTACK_AUTO(policy) dstack_policy *policy = policy_of(up_to_date);
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    DSTACK_AUTO(verify_report) verify_report report = {0};
    roots_of_cases r = {0};
    dstack_error err = {0};
    size_t i;
    json_t *item = NULL;
    load_root("aws_nitro_enclave", &r.der[0], &r.roots.nitro_enclave);
    json_array_foreach(cases, i, item) {
        if (strcmp(json_string_value(json_object_get(item, "name")), "nitro-v0") == 0) {
            break;
        }
    }
    put_hex(&raw,
            json_string_value(json_object_get(json_object_get(item, "request"), "attestation")));
    assert_ok(dstack_attestation_decode(bytes_of_buf(&raw), &a, &err), err);
    const verify_demands demands = {.policy = policy,
                                    .now = json_integer_value(json_object_get(item, "now")),
                                    .roots = &r.roots};
    assert_int_equal(judge(&demands, a, &report), VERIFY_TCB);
    dstack_buf_clear(&r.der[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_snp_guest_is_judged_up_to_the_image_that_nobody_vouches_for),
        cmocka_unit_test(sec_13_an_snp_guest_is_refused_at_the_step_that_is_wrong),
        cmocka_unit_test(every_platforms_recorded_evidence_gets_the_verdict_of_its_case),
        cmocka_unit_test(a_policy_that_somebody_chose_refuses_platforms_without_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
