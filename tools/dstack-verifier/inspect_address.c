#include "inspect_address.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/verify.h"

/* UpToDate and nothing else, as `dstack verify` has it. */
static const char tcb_policy[] =
    "{\"allow_dynamic_platform\":true,\"allow_cached_keys\":true,\"allow_smt\":true}";

static inline void auto_tcb_policy(dstack_policy **policy) {
    dstack_policy_free(*policy);
}

static const char *const titles[VERIFY_STEPS] = {
    [VERIFY_ROOT] = "Hardware root of trust",
    [VERIFY_TCB] = "Platform TCB",
    [VERIFY_FIRMWARE] = "Firmware and kernel",
    [VERIFY_IMAGE] = "Operating system image",
    [VERIFY_KMS] = "Key management service",
    [VERIFY_MANIFEST] = "App manifest",
    [VERIFY_IDENTITY] = "App id",
    [VERIFY_EVIDENCE] = "Fresh evidence",
    [VERIFY_GATEWAY_ROOT] = "Hardware root of trust",
    [VERIFY_GATEWAY_TCB] = "Platform TCB",
    [VERIFY_GATEWAY_FIRMWARE] = "Firmware and kernel",
    [VERIFY_GATEWAY_IMAGE] = "Operating system image",
    [VERIFY_GATEWAY_IDENTITY] = "Gateway",
    [VERIFY_ROUTING] = "Routing",
    [VERIFY_CERTIFICATE] = "Certificate",
    [VERIFY_PUBLIC_NAME] = "Public name",
    [VERIFY_CONNECTION] = "This connection",
};

static json_t *step_for_page(verify_step_id id, const verify_step *step) {
    static const char *const statuses[] = {"not-reached", "ok", "failed"};
    const char *group = id <= VERIFY_EVIDENCE           ? "app"
                        : id <= VERIFY_GATEWAY_IDENTITY ? "gateway"
                                                        : "way";
    bool reached = step->outcome != VERIFY_NOT_REACHED;
    json_t *inputs = json_array();
    if (step->evidence[0] != '\0') {
        json_array_append_new(inputs,
                              json_pack("{s:s, s:s}", "name", "evidence", "value", step->evidence));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:o}", "id", verify_step_name(id),
                     "parent", group, "title", titles[id], "status", statuses[step->outcome],
                     "anchor", dstack_anchor_name(reached ? step->anchor : DSTACK_ANCHOR_NONE),
                     "detail", reached ? step->detail : "An earlier step failed.", "caveat",
                     step->caveat, "optional", step->optional, "inputs", inputs);
}

static void add_group(json_t *steps, const char *id, const char *title) {
    json_array_append_new(steps,
                          json_pack("{s:s, s:s, s:s, s:s, s:s, s:[]}", "id", id, "title", title,
                                    "status", "group", "anchor", "none", "detail", "", "inputs"));
}

static json_t *steps_of(const verify_report *report) {
    json_t *steps = json_array();
    bool gateway = false;
    for (int i = VERIFY_GATEWAY_ROOT; i <= VERIFY_GATEWAY_IDENTITY; i++) {
        gateway = gateway || report->steps[i].used;
    }
    add_group(steps, "app", "The app, and what it stands on");
    if (gateway) {
        add_group(steps, "gateway", "The gateway, and what it stands on");
    }
    add_group(steps, "way", "From there to this verifier");
    for (int i = 0; i < VERIFY_STEPS; i++) {
        if (report->steps[i].used) {
            json_array_append_new(steps, step_for_page((verify_step_id)i, &report->steps[i]));
        }
    }
    return steps;
}

static json_t *claims_of(const verify_report *report) {
    static const char *const shown[][2] = {{"app_id", "App id"},
                                           {"compose_hash", "Compose hash"},
                                           {"os_image_hash", "OS image"},
                                           {"tcb_status", "TCB status"}};
    json_t *list = json_array();
    for (size_t i = 0; report->app != NULL && i < sizeof shown / sizeof *shown; i++) {
        dstack_attestation_claim claim;
        for (size_t j = 0; dstack_verified_claim(report->app, j, &claim); j++) {
            if (strcmp(claim.name, shown[i][0]) == 0) {
                json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", shown[i][1],
                                                      "value", claim.value, "anchor",
                                                      dstack_anchor_name(claim.anchor)));
            }
        }
    }
    return list;
}

json_t *inspect_address(engine *e, const inspect_options *options, const char *url,
                        const char *connect, int64_t now, dstack_error *err) {
    DSTACK_AUTO(verify_answers) verify_answers answers = {0};
    DSTACK_AUTO(verify_report) verify_report report = {0};
    DSTACK_AUTO(tcb_policy) dstack_policy *policy = NULL;
    const char *images[ENGINE_FOLDERS_MAX];
    for (size_t i = 0; i < e->folder_count; i++) {
        images[i] = e->folders[i].path;
    }
    const verify_target target = {
        .url = url, .connect = connect, .timeout_ms = options->timeout_ms};
    if (dstack_policy_parse(&policy, bytes_of_str(tcb_policy), err) != 0 ||
        verify_connect(&target, &answers, err) != 0) {
        return NULL;
    }
    const verify_demands demands = {.verifier = e->verifier,
                                    .collateral = collateral_fetch_for,
                                    .collateral_user = e->fetcher,
                                    .policy = policy,
                                    .now = now,
                                    .images = images,
                                    .image_count = e->folder_count,
                                    .insecure_dev = options->insecure};
    verify_judge(&demands, &answers, &report);
    verify_step_id refused;
    char reason[DSTACK_ERROR_MESSAGE_SIZE + 80] = "";
    bool bad = verify_refusal(&report, &refused);
    if (bad) {
        const char *detail = report.steps[refused].detail;
        snprintf(reason, sizeof reason, "%s: %s", titles[refused],
                 detail[0] != '\0' ? detail : "not reached");
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:{s:I, s:s}, s:o, s:o}", "kind", "address", "verdict",
                     bad ? "refused" : "verified", "reason", reason, "insecure_dev",
                     options->insecure || report.insecure, "time", "unix", (json_int_t)now,
                     "source", "host time", "claims", claims_of(&report), "steps",
                     steps_of(&report));
}
