#include "check.h"

#include "policy.h"

#define HASH(c) #c #c #c #c #c #c #c #c
#define HEX32(c) HASH(c) HASH(c) HASH(c) HASH(c) HASH(c) HASH(c) HASH(c) HASH(c)
#define HEX20(c) HASH(c) HASH(c) HASH(c) HASH(c) HASH(c)

static const char document[] = "gatewayAppId: '" HEX20(
    9) "'\n"
       "osImages: ['0x" HEX32(
           a) "']\n"
              "allowedAdvisoryIds: [INTEL-SA-00001]\n"
              "kms: {mrAggregated: ['" HEX32(b) "'], composeHashes: ['" HEX32(
                  c) "'], devices: ['" HEX32(d) "']}\n"
                                                "apps:\n"
                                                "  '0x" HEX20(1) "': {composeHashes: ['" HEX32(e) "'], devices: ['" HEX32(
                                                    d) "']}\n"
                                                       "  '" HEX20(2) "': {composeHashes: ['" HEX32(
                                                           e) "'], allowAnyDevice: true}\n"
                                                              "  '" HEX20(3) "': {composeHashes: "
                                                                             "['" HEX32(e) "']}\n";

typedef struct question {
    kms_boot_kind kind;
    const char *name;
    const char *os_image, *app, *compose, *device, *aggregated, *status, *advisory;
    const char *reason; /* "" when allowed */
} question;

#define GOOD HEX32(a), HEX20(1), HEX32(e), HEX32(d), HEX32(f), "UpToDate", ""

static const question questions[] = {
    {KMS_BOOT_APP, "as listed", GOOD, ""},
    {KMS_BOOT_APP, "upper case",
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA"
     "AAAAAAAA",
     HEX20(1), HEX32(e), HEX32(d), HEX32(f), "UpToDate", "", ""},
    {KMS_BOOT_APP, "status first", HEX32(0), HEX20(7), HEX32(e), HEX32(d), HEX32(f), "OutOfDate",
     "", "TCB status is not allowed"},
    {KMS_BOOT_APP, "advisory", HEX32(a), HEX20(1), HEX32(e), HEX32(d), HEX32(f), "UpToDate",
     "INTEL-SA-00002", "advisory ID is not allowed"},
    {KMS_BOOT_APP, "allowed advisory", HEX32(a), HEX20(1), HEX32(e), HEX32(d), HEX32(f), "UpToDate",
     "INTEL-SA-00001", ""},
    {KMS_BOOT_APP, "image", HEX32(0), HEX20(7), HEX32(e), HEX32(d), HEX32(f), "UpToDate", "",
     "OS image is not allowed"},
    {KMS_BOOT_APP, "no image", "", HEX20(1), HEX32(e), HEX32(d), HEX32(f), "UpToDate", "",
     "OS image is not allowed"},
    {KMS_BOOT_APP, "app", HEX32(a), HEX20(7), HEX32(e), HEX32(d), HEX32(f), "UpToDate", "",
     "app not registered"},
    {KMS_BOOT_APP, "compose", HEX32(a), HEX20(1), HEX32(0), HEX32(d), HEX32(f), "UpToDate", "",
     "compose hash not allowed"},
    {KMS_BOOT_APP, "device", HEX32(a), HEX20(1), HEX32(e), HEX32(0), HEX32(f), "UpToDate", "",
     "app is not allowed to boot on this device"},
    {KMS_BOOT_APP, "any device", HEX32(a), HEX20(2), HEX32(e), HEX32(0), HEX32(f), "UpToDate", "",
     ""},
    {KMS_BOOT_APP, "no devices listed", HEX32(a), HEX20(3), HEX32(e), HEX32(d), HEX32(f),
     "UpToDate", "", "app is not allowed to boot on this device"},
    {KMS_BOOT_KMS, "aggregated", HEX32(0), HEX20(7), HEX32(0), HEX32(d), HEX32(b), "UpToDate", "",
     ""},
    {KMS_BOOT_KMS, "compose and image", HEX32(a), HEX20(7), HEX32(c), HEX32(d), HEX32(0),
     "UpToDate", "", ""},
    {KMS_BOOT_KMS, "compose without image", HEX32(0), HEX20(7), HEX32(c), HEX32(d), HEX32(0),
     "UpToDate", "", "OS image is not allowed"},
    {KMS_BOOT_KMS, "neither", HEX32(a), HEX20(1), HEX32(e), HEX32(d), HEX32(0), "UpToDate", "",
     "aggregated MR not allowed"},
    {KMS_BOOT_KMS, "device", HEX32(a), HEX20(7), HEX32(c), HEX32(0), HEX32(b), "UpToDate", "",
     "KMS is not allowed to boot on this device"},
};

static void each_question_gets_its_decision_and_reason(void **state) {
    dstack_error err = {0};
    kms_policy *policy = NULL;
    assert_ok(kms_policy_parse(bytes_of_str(document), &policy, &err), err);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        const question *q = &questions[i];
        DSTACK_AUTO(json)
        json_t *info =
            json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:[]}", "osImageHash", q->os_image, "appId", q->app,
                      "composeHash", q->compose, "deviceId", q->device, "mrAggregated",
                      q->aggregated, "tcbStatus", q->status, "advisoryIds");
        if (q->advisory[0] != 0) {
            json_array_append_new(json_object_get(info, "advisoryIds"), json_string(q->advisory));
        }
        kms_decision decision;
        kms_policy_decide(policy, q->kind, info, &decision);
        if (decision.allowed != (q->reason[0] == 0) || strcmp(decision.reason, q->reason) != 0) {
            fail_msg("%s: %d %s", q->name, decision.allowed, decision.reason);
        }
        assert_string_equal(decision.gateway_app_id, HEX20(9));
    }
    kms_policy_free(policy);
}

static void an_empty_policy_allows_nothing(void **state) {
    dstack_error err = {0};
    kms_policy *policy = NULL;
    assert_ok(kms_policy_parse(bytes_of_str("{}"), &policy, &err), err);
    DSTACK_AUTO(json) json_t *info = json_pack("{s:s}", "tcbStatus", "UpToDate");
    kms_decision decision;
    kms_policy_decide(policy, KMS_BOOT_APP, info, &decision);
    assert_false(decision.allowed);
    kms_policy_decide(policy, KMS_BOOT_KMS, info, &decision);
    assert_false(decision.allowed);
    kms_policy_free(policy);
}

static void a_wrong_document_is_refused_by_the_name_of_its_member(void **state) {
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"osImage: []", "unknown member osImage"},
        {"osImages: x", "osImages must be a list"},
        {"osImages: [abc]", "osImages[0] must be 64 hex digits"},
        {"osImages: [1]", "osImages[0] must be text in quotes"},
        {"kms: {mrAggregated: {}}", "kms.mrAggregated must be a list"},
        {"kms: {any: true}", "unknown member kms.any"},
        {"kms: []", "kms. must be a mapping"},
        {"apps: []", "apps must be a mapping"},
        {"apps: {abcd: {}}", "must be 40 hex digits"},
        {"apps: {'" HEX20(1) "': {allowAnyDevice: 1}}", "allowAnyDevice must be true or false"},
        {"gatewayAppId: 5", "gatewayAppId must be text"},
        {"- x", "must be a mapping"},
        {"a: [", "not valid YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        kms_policy *policy = NULL;
        int rc = kms_policy_parse(bytes_of_str(cases[i].text), &policy, &err);
        if (rc == 0 || policy != NULL || strstr(err.message, cases[i].says) == NULL) {
            fail_msg("%s: %d %s", cases[i].text, rc, err.message);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_question_gets_its_decision_and_reason),
        cmocka_unit_test(an_empty_policy_allows_nothing),
        cmocka_unit_test(a_wrong_document_is_refused_by_the_name_of_its_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
