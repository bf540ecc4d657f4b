/* Attestation policies: every rule accepts and refuses, bad documents are errors. */
#include <dstack/attestation_policy.h>

#include "attest/verified.h"
#include "check.h"

#define A20 "1111111111111111111111111111111111111111"
#define B20 "2222222222222222222222222222222222222222"
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B32 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C32 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define D32 "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

static void set_value(dstack_value *value, uint8_t byte, size_t len) {
    memset(value->data, byte, len);
    value->len = len;
}

/* A verification's result, member by member: what the rules look at. */
static dstack_verified *result(void) {
    dstack_verified *v = calloc(1, sizeof *v);
    dstack_error err = {0};
    v->variant = DSTACK_TEE_TDX;
    v->quote.status = DSTACK_TCB_UP_TO_DATE;
    v->quote.body_type = DSTACK_QUOTE_BODY_TD10;
    strcpy(v->quote.anchor.name, "intel-sgx-root-ca");
    v->quote.anchor.builtin = true;
    memset(v->quote.anchor.cert_sha256, 0xdd, 32);
    v->quote.has_platform_tcb_date = v->quote.has_qe_tcb_date = true;
    v->quote.platform_tcb_date = 1767225600; /* 2026-01-01 */
    v->quote.qe_tcb_date = 1767225600;
    v->quote.tcb_eval_data_number = 18;
    v->quote.advisories.count = 1;
    strcpy(v->quote.advisories.ids[0], "INTEL-SA-00837");
    set_value(&v->identity.app_id, 0x11, 20);
    set_value(&v->identity.compose_hash, 0xaa, 32);
    set_value(&v->identity.os_image_hash, 0xbb, 32);
    set_value(&v->identity.device_id, 0xcc, 32);
    set_value(&v->identity.instance_id, 0x22, 20);
    strcpy(v->identity.key_provider_info, "{\"name\":\"kms\",\"id\":\"0102\"}");
    v->image_anchor = DSTACK_ANCHOR_SELF_ASSERTED;
    v->image_checked = true;
    assert_ok(verified_list_claims(v, &err), err);
    return v;
}

DSTACK_AUTO_DEFINE(policy, dstack_attestation_policy, dstack_attestation_policy_free)
DSTACK_AUTO_DEFINE(decision, dstack_attestation_decision, dstack_attestation_decision_free)

/* "" when the policy accepts, else the name of the rule that refuses. */
static void expect(const dstack_verified *v, const char *rules, const char *refusing) {
    DSTACK_AUTO(policy) dstack_attestation_policy *policy = NULL;
    DSTACK_AUTO(decision) dstack_attestation_decision *decision = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    buf_put_fmt(&text, "version: 1\n%s\n", rules);
    if (dstack_attestation_policy_parse(&policy, bytes_of_buf(&text), &err) != 0) {
        fail_msg("%s: %s", rules, err.message);
    }
    int rc = dstack_attestation_policy_decide(policy, v, &decision, &err);
    assert_non_null(decision);
    assert_int_equal(rc, refusing[0] == '\0' ? 0 : DSTACK_E_REFUSED);
    assert_int_equal(dstack_attestation_decision_accepts(decision), rc == 0);
    dstack_attestation_rule rule;
    const char *found = "";
    for (size_t i = 0; dstack_attestation_decision_rule(decision, i, &rule); i++) {
        assert_true(rule.wanted[0] != '\0' && rule.found != NULL);
        if (!rule.holds && found[0] == '\0') {
            found = rule.name;
        }
    }
    if (strcmp(found, refusing) != 0) {
        fail_msg("%s: refused by \"%s\", expected \"%s\"", rules, found, refusing);
    }
    if (rc != 0 && strstr(err.message, refusing) == NULL) {
        fail_msg("%s does not name %s", err.message, refusing);
    }
}

typedef struct row {
    const char *rules;
    const char *refusing;
} row;

static void each_rule_accepts_what_it_lists_and_refuses_the_rest(void **state) {
    static const row rows[] = {
        {"", ""},
        {"platforms: [dstack-amd-sev-snp, dstack-tdx]", ""},
        {"platforms: [dstack-amd-sev-snp]", "platforms"},
        {"hardware_roots: [vendor]", ""},
        {"hardware_roots: [" D32 "]", "hardware_roots"},
        {"tcb: {statuses: [UpToDate, SWHardeningNeeded]}", ""},
        {"tcb: {statuses: [OutOfDate]}", "tcb.statuses"},
        {"tcb: {minimum_date: 2026-01-01}", ""},
        {"tcb: {minimum_date: 2026-01-02}", "tcb.minimum_date"},
        {"tcb: {minimum_date: '2026-01-01T00:00:01Z'}", "tcb.minimum_date"},
        {"tcb: {minimum_evaluation_number: 18}", ""},
        {"tcb: {minimum_evaluation_number: 19}", "tcb.minimum_evaluation_number"},
        {"tcb: {rejected_advisories: [INTEL-SA-00001]}", ""},
        {"tcb: {rejected_advisories: [INTEL-SA-00001, intel-sa-00837]}", "tcb.rejected_advisories"},
        {"app_ids: ['" B20 "', '0x" A20 "']", ""},
        {"app_ids: ['" B20 "']", "app_ids"},
        {"compose_hashes: [" A32 "]", ""},
        {"compose_hashes: [" B32 "]", "compose_hashes"},
        {"apps: [{app_id: '" A20 "', compose_hashes: [" A32 "], device_ids: [" C32 "]}]", ""},
        {"apps: [{app_id: '" A20 "'}]", ""},
        {"apps: [{app_id: '" A20 "', compose_hashes: [" B32 "]}]", "apps"},
        {"apps: [{app_id: '" A20 "', device_ids: [" B32 "]}]", "apps"},
        /* entries are not mixed: each half stands in another one */
        {"apps: [{app_id: '" A20 "', compose_hashes: [" B32 "]}, {app_id: '" B20
         "', compose_hashes: [" A32 "]}]",
         "apps"},
        {"os_image_hashes: [" B32 "]", ""},
        {"os_image_hashes: [" A32 "]", "os_image_hashes"},
        {"device_ids: [" C32 "]", ""},
        {"device_ids: [" A32 "]", "device_ids"},
        {"instance_ids: ['" B20 "']", ""},
        {"instance_ids: ['" A20 "']", "instance_ids"},
        {"key_providers: [{name: none}, {name: kms}]", ""},
        {"key_providers: [{name: kms, id: '0102'}]", ""},
        {"key_providers: [{name: kms, id: '0103'}]", "key_providers"},
        {"key_providers: [{name: tpm}]", "key_providers"},
        {"anchors: {app_id: [measured], os_image_hash: [self-asserted]}", ""},
        {"anchors: {os_image_hash: [measured, reference-image]}", "anchors.os_image_hash"},
        {"anchors: {no_such_claim: [measured, reference-image, policy, self-asserted]}",
         "anchors.no_such_claim"},
        {"anchors: {mr_config_id: [measured]}", "anchors.mr_config_id"},
        /* all of them hold, or it is refused */
        {"app_ids: ['" A20 "']\ncompose_hashes: [" B32 "]", "compose_hashes"},
    };
    dstack_verified *v = result();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect(v, rows[i].rules, rows[i].refusing);
    }
    dstack_verified_free(v);
}

static void without_a_word_only_up_to_date_evidence_under_the_vendors_root_passes(void **state) {
    dstack_verified *v = result();
    v->quote.status = DSTACK_TCB_OUT_OF_DATE;
    expect(v, "", "tcb.statuses");
    expect(v, "tcb: {statuses: [OutOfDate]}", "");
    v->quote.status = DSTACK_TCB_UP_TO_DATE;
    v->quote.anchor.builtin = false;
    expect(v, "", "hardware_roots");
    expect(v, "hardware_roots: [vendor]", "hardware_roots");
    expect(v, "hardware_roots: [" A32 "]", "hardware_roots");
    expect(v, "hardware_roots: [" D32 "]", "");
    v->quote.anchor.builtin = true;
    v->quote.has_qe_tcb_date = false;
    expect(v, "tcb: {minimum_date: 2025-01-01}", "tcb.minimum_date");
    v->quote.has_qe_tcb_date = true;
    v->quote.qe_tcb_date = 1700000000;
    expect(v, "tcb: {minimum_date: 2025-01-01}", "tcb.minimum_date");
    v->identity.key_provider_info[0] = '\0';
    expect(v, "key_providers: [{name: none}]", "key_providers");
    dstack_verified_free(v);
}

static void
sec_26_a_listed_image_rests_on_the_policy_when_the_registers_follow_from_it(void **state) {
    static const char rules[] = "os_image_hashes: [" B32 "]\nanchors: {os_image_hash: [policy]}";
    dstack_verified *v = result();
    expect(v, rules, "");
    expect(v, "anchors: {os_image_hash: [policy]}", "anchors.os_image_hash");
    /* a hash that nothing was compared with is no image */
    v->image_checked = false;
    expect(v, "os_image_hashes: [" B32 "]", "os_image_hashes");
    expect(v, rules, "os_image_hashes");
    dstack_verified_free(v);
}

static void a_pinned_root_of_another_vendor_is_known_by_its_hash_too(void **state) {
    dstack_verified *v = result();
    v->variant = DSTACK_TEE_SEV_SNP;
    memset(v->snp.anchor.cert_sha256, 0xdd, 32);
    v->snp.anchor.builtin = false;
    expect(v, "", "hardware_roots");
    expect(v, "hardware_roots: [" D32 "]", "");
    expect(v, "hardware_roots: [" D32 "]\ntcb: {minimum_date: 2020-01-01}", "tcb.minimum_date");
    dstack_verified_free(v);
}

static void bad_documents_are_errors_that_name_the_key(void **state) {
    static const row bad[] = {
        {"", "version"},
        {"version: 2", "version"},
        {"version: '1'", "version"},
        {"version: 1\nverson: 1", "unknown key verson"},
        {"version: 1\ntcb: {minimum: 1}", "unknown key tcb.minimum"},
        {"version: 1\napps: [{app: 1}]", "unknown key apps.app"},
        {"version: 1\nkey_providers: [{name: kms, key: 1}]", "unknown key key_providers.key"},
        {"version: 1\nid: ''", "id must be"},
        {"version: 1\nplatforms: []", "platforms must be a list that is not empty"},
        {"version: 1\nplatforms: dstack-tdx", "platforms must be"},
        {"version: 1\nplatforms: [tdx]", "platforms must be"},
        {"version: 1\nhardware_roots: [intel]", "hardware_roots must be"},
        {"version: 1\ntcb: []", "tcb must be a mapping"},
        {"version: 1\ntcb: {statuses: [Revoked]}", "tcb.statuses"},
        {"version: 1\ntcb: {statuses: [uptodate]}", "tcb.statuses"},
        {"version: 1\ntcb: {minimum_date: 2026-13-01}", "tcb.minimum_date"},
        {"version: 1\ntcb: {minimum_date: 20260101}", "tcb.minimum_date"},
        {"version: 1\ntcb: {minimum_evaluation_number: 0}", "tcb.minimum_evaluation_number"},
        {"version: 1\ntcb: {minimum_evaluation_number: -1}", "tcb.minimum_evaluation_number"},
        {"version: 1\ntcb: {minimum_evaluation_number: 4294967296}", "tcb.minimum"},
        {"version: 1\ntcb: {rejected_advisories: [1]}", "tcb.rejected_advisories"},
        {"version: 1\napp_ids: []", "app_ids must be a list"},
        {"version: 1\napp_ids: [aabb]", "20 bytes"},
        {"version: 1\napp_ids: [12]", "20 bytes"},
        {"version: 1\ncompose_hashes: ['" A20 "']", "32 bytes"},
        {"version: 1\nos_image_hashes: [null]", "32 bytes"},
        {"version: 1\napps: [{compose_hashes: [" A32 "]}]", "with an app_id"},
        {"version: 1\nkey_providers: [{id: aa}]", "with a name"},
        {"version: 1\nkey_providers: [{name: other}]", "key_providers.name"},
        {"version: 1\nkey_providers: [{name: kms, id: xyz}]", "key_providers.id"},
        {"version: 1\nanchors: {}", "anchors must be"},
        {"version: 1\nanchors: {app_id: []}", "anchors.app_id"},
        {"version: 1\nanchors: {app_id: [none]}", "anchors.app_id"},
        {"version: 1\nversion: 1", "version"},
        {"{\"version\":1,\"version\":1}", "version"},
        {"[1]", "the document must be a mapping"},
        {"version: 1\n  x: [", "policy"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dstack_attestation_policy *policy = NULL;
        dstack_error err = {0};
        int rc = dstack_attestation_policy_parse(&policy, bytes_of_str(bad[i].rules), &err);
        if (rc != DSTACK_E_FORMAT || policy != NULL ||
            strstr(err.message, bad[i].refusing) == NULL) {
            fail_msg("%s: %s", bad[i].rules, err.message);
        }
        assert_true(dstack_attestation_policy_parse(&policy, bytes_of_str(bad[i].rules), NULL) < 0);
    }
}

static void a_policy_has_a_name(void **state) {
    DSTACK_AUTO(policy) dstack_attestation_policy *named = NULL, *plain = NULL;
    dstack_error err = {0};
    assert_ok(
        dstack_attestation_policy_parse(&named, bytes_of_str("{\"version\":1,\"id\":\"x\"}"), &err),
        err);
    assert_string_equal(dstack_attestation_policy_id(named), "x");
    assert_ok(dstack_attestation_policy_parse(&plain, bytes_of_str("version: 1\n"), &err), err);
    assert_string_equal(dstack_attestation_policy_id(plain),
                        "sha256:09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_accepts_what_it_lists_and_refuses_the_rest),
        cmocka_unit_test(without_a_word_only_up_to_date_evidence_under_the_vendors_root_passes),
        cmocka_unit_test(
            sec_26_a_listed_image_rests_on_the_policy_when_the_registers_follow_from_it),
        cmocka_unit_test(a_pinned_root_of_another_vendor_is_known_by_its_hash_too),
        cmocka_unit_test(bad_documents_are_errors_that_name_the_key),
        cmocka_unit_test(a_policy_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
