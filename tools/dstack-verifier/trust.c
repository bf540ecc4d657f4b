/* The chain of trust of a verdict, step by step: what was checked, from which inputs, and what the
 * step rests on. People read it (the page draws it as a tree); programs read the claims. */
#include <string.h>
#include <time.h>

#include <dstack/tpm.h>

#include "answer.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"

typedef enum step_status { STEP_OK, STEP_FAILED } step_status;

static const char *const status_names[] = {"ok", "failed"};

static json_t *step(json_t *steps, const char *id, const char *parent, const char *title,
                    step_status status, dstack_anchor anchor, const char *detail) {
    json_t *object = json_pack("{s:s, s:s?, s:s, s:s, s:s, s:s, s:[]}", "id", id, "parent", parent,
                               "title", title, "status", status_names[status], "anchor",
                               dstack_anchor_name(status == STEP_OK ? anchor : DSTACK_ANCHOR_NONE),
                               "detail", detail, "inputs");
    /* borrowed from the list; NULL, which every later call takes, when memory ran out */
    return json_array_append_new(steps, object) == 0 ? json_object_get(object, "inputs") : NULL;
}

static void input(json_t *inputs, const char *name, const char *value) {
    if (value != NULL && value[0] != '\0') {
        json_array_append_new(inputs, json_pack("{s:s, s:s}", "name", name, "value", value));
    }
}

static void input_hex(json_t *inputs, const char *name, const void *data, size_t len) {
    if (len > 0) {
        json_array_append_new(
            inputs, json_pack("{s:s, s:o}", "name", name, "value", json_hex(bytes_of(data, len))));
    }
}

static void input_number(json_t *inputs, const char *name, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    input(inputs, name, text);
}

static void input_time(json_t *inputs, const char *name, int64_t value) {
    char text[40];
    time_t at = (time_t)value;
    struct tm parts;
    if (gmtime_r(&at, &parts) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts) > 0) {
        input(inputs, name, text);
    }
}

static void input_value(json_t *inputs, const char *name, const dstack_value *value) {
    input_hex(inputs, name, value->data, value->len);
}

/* ---- Intel TDX: root, platform, collateral, quote ------------------------------------------------ */

static void quote_steps(json_t *steps, const dstack_quote_report *q) {
    const dstack_anchor_info *root = &q->anchor;
    json_t *at = step(steps, "root", NULL, "Hardware root of trust", STEP_OK,
                      root->builtin ? DSTACK_ANCHOR_MEASURED : DSTACK_ANCHOR_POLICY,
                      root->builtin ? "Intel's root certificate, built in"
                                    : "A root that this verifier's operator pinned: it vouches for "
                                      "the hardware, not Intel");
    input(at, "name", root->name);
    input_hex(at, "certificate SHA-256", root->cert_sha256, sizeof root->cert_sha256);
    at = step(steps, "platform", "root", "Platform certificate", STEP_OK, DSTACK_ANCHOR_MEASURED,
              "The machine's PCK certificate chains to the root and is not revoked");
    input_hex(at, "FMSPC", q->pck.fmspc, sizeof q->pck.fmspc);
    input_hex(at, "PPID", q->pck.ppid, sizeof q->pck.ppid);
    input_hex(at, "CPU SVN", q->pck.cpu_svn, sizeof q->pck.cpu_svn);
    input_number(at, "PCE SVN", q->pck.pce_svn);
    at = step(steps, "collateral", "root", "Collateral and TCB level", STEP_OK,
              DSTACK_ANCHOR_MEASURED,
              "TCB info, QE identity and revocation lists are signed under the root and in date");
    input(at, "TCB status", dstack_tcb_status_name(q->status));
    input(at, "shortfall", q->shortfall);
    input_number(at, "TCB evaluation data number", q->tcb_eval_data_number);
    if (q->has_platform_tcb_date) {
        input_time(at, "TCB level of", q->platform_tcb_date);
    }
    input_time(at, "expires", q->earliest_expiration_date);
    for (size_t i = 0; i < q->advisories.count; i++) {
        input(at, "advisory", q->advisories.ids[i]);
    }
    at = step(steps, "quote", "platform", "Quote signature", STEP_OK, DSTACK_ANCHOR_MEASURED,
              "The quoting enclave is Intel's and vouches for the key that signed the quote");
    input_number(at, "quote version", q->quote_version);
    input(at, "QE status", dstack_tcb_status_name(q->qe_status));
    const dstack_td_report *td = dstack_quote_report_td(q);
    if (td != NULL) {
        input_hex(at, "MRTD", td->mr_td, sizeof td->mr_td);
        for (int i = 0; i < 4; i++) {
            char name[8];
            snprintf(name, sizeof name, "RTMR%d", i);
            input_hex(at, name, td->rt_mr[i], sizeof td->rt_mr[i]);
        }
    }
}

/* Google Cloud: the machine's vTPM signs the quote's hash. */
static void vtpm_steps(json_t *steps, const dstack_verified *verified) {
    const dstack_tpm_verdict *tpm = dstack_verified_tpm(verified);
    if (tpm == NULL) {
        return;
    }
    json_t *at = step(steps, "tpm-root", NULL, "vTPM root of trust", STEP_OK,
                      tpm->anchor.builtin ? DSTACK_ANCHOR_MEASURED : DSTACK_ANCHOR_POLICY,
                      tpm->anchor.builtin
                          ? "Google Cloud's root certificate for vTPM keys, built in"
                          : "A root that this verifier's operator pinned: it vouches for the "
                            "vTPM, not Google");
    input(at, "name", tpm->anchor.name);
    input_hex(at, "certificate SHA-256", tpm->anchor.cert_sha256, sizeof tpm->anchor.cert_sha256);
    at = step(steps, "tpm-quote", "tpm-root", "vTPM quote", STEP_OK, DSTACK_ANCHOR_MEASURED,
              "The attestation key's certificate chains to the root; its quote signs the hash of "
              "the TDX quote, and the boot log replays to the registers");
    static const int shown[] = {0, 2, 14};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char name[8];
        snprintf(name, sizeof name, "PCR%d", shown[i]);
        input_hex(at, name, tpm->pcrs[shown[i]], DSTACK_TPM_PCR_SIZE);
    }
    input_number(at, "TPM resets", tpm->reset_count);
    input_number(at, "TPM restarts", tpm->restart_count);
}

/* Evidence of other platforms: its claims say what was verified. */
static void evidence_steps(json_t *steps, const verdict *v) {
    dstack_attestation_claim claim = {0}, root = {0};
    for (size_t i = 0; dstack_verified_claim(v->verified, i, &claim); i++) {
        if (strcmp(claim.name, "hardware_root") == 0) {
            root = claim;
        }
    }
    json_t *at =
        step(steps, "root", NULL, "Hardware root of trust", STEP_OK, root.anchor,
             root.anchor == DSTACK_ANCHOR_POLICY ? "A root that this verifier's operator pinned"
                                                 : "The vendor's root certificate, built in");
    input(at, "name", root.value);
    at = step(steps, "quote", "root", "Signed evidence", STEP_OK, DSTACK_ANCHOR_MEASURED,
              "The platform's report is signed under the root");
    input(at, "TCB status", dstack_verified_tcb_status(v->verified));
}

/* ---- what stands on the quote --------------------------------------------------------------------- */

static void log_step(json_t *steps, const verdict *v) {
    const dstack_event_log *log = dstack_attestation_runtime_events(v->attestation);
    bool tdx = v->has_quote;
    json_t *at = step(steps, "event-log", "quote", "Event log", STEP_OK, DSTACK_ANCHOR_MEASURED,
                      tdx ? "Replayed, it gives the registers that the quote signs"
                          : "What this platform measures of it agrees with the evidence");
    input_number(at, "runtime events", (int64_t)dstack_event_log_count(log));
    dstack_event event;
    for (size_t i = 0; i < 12 && dstack_event_log_get(log, i, &event); i++) {
        if (event.payload.len <= 64) {
            input_hex(at, event.name, event.payload.data, event.payload.len);
        }
    }
}

static void identity_step(json_t *steps, const verdict *v) {
    const dstack_identity *id = dstack_verified_identity(v->verified);
    json_t *at = step(steps, "app", "event-log", "Application", STEP_OK, DSTACK_ANCHOR_MEASURED,
                      "Measured by the guest before the application started");
    input_value(at, "app id", &id->app_id);
    input_value(at, "compose hash", &id->compose_hash);
    input_value(at, "instance id", &id->instance_id);
    input_value(at, "device id", &id->device_id);
    input(at, "key provider", id->key_provider_info);
}

static dstack_anchor anchor_now(const verdict *v, const char *claim, dstack_anchor anchor) {
    return v->decision == NULL ? anchor : dstack_attestation_decision_anchor(v->decision, claim);
}

static const char *image_detail(const verdict *v) {
    switch (v->source) {
    case IMAGE_FOLDER:
        return "The registers follow from the operator's own copy of the image";
    case IMAGE_DOWNLOAD:
        return "The registers follow from the downloaded image of this hash; nobody vouches for "
               "the hash itself unless a policy names it";
    case IMAGE_DOCUMENT:
        return "The registers follow from the measurement document that the prover brought; nobody "
               "vouches for the hash itself unless a policy names it";
    default:
        return "Not established";
    }
}

static void image_step(json_t *steps, const verdict *v) {
    if (v->stage == STAGE_IMAGE) {
        step(steps, "image", "quote", "Operating system image", STEP_FAILED, DSTACK_ANCHOR_NONE,
             v->reason);
        return;
    }
    dstack_anchor anchor = dstack_verified_image_anchor(v->verified);
    json_t *at = step(steps, "image", "quote", "Operating system image", STEP_OK,
                      anchor_now(v, "os_image_hash", anchor), image_detail(v));
    input_value(at, "os_image_hash", &dstack_verified_identity(v->verified)->os_image_hash);
    input(at, "source", image_source_name(v->source));
    if (v->image_known) {
        input(at, "version", v->version);
        input(at, "development image", v->is_dev ? "yes" : "no");
    }
}

static void policy_step(json_t *steps, const verdict *v) {
    if (v->decision == NULL) {
        return;
    }
    bool accepted = dstack_attestation_decision_accepts(v->decision);
    json_t *at = step(steps, "policy", "app", "Policy", accepted ? STEP_OK : STEP_FAILED,
                      DSTACK_ANCHOR_POLICY,
                      accepted ? "Every rule of this verifier's policy holds" : v->reason);
    dstack_attestation_rule rule;
    for (size_t i = 0; dstack_attestation_decision_rule(v->decision, i, &rule); i++) {
        char text[400];
        snprintf(text, sizeof text, "%s: found %.150s, wanted %.150s",
                 rule.holds ? "holds" : "refused", rule.found, rule.wanted);
        input(at, rule.name, text);
    }
}

static json_t *steps_json(const verdict *v) {
    json_t *steps = json_array();
    if (v->has_quote) {
        quote_steps(steps, &v->quote);
    } else if (v->verified != NULL) {
        evidence_steps(steps, v);
    }
    if (v->bare && v->has_quote) {
        json_t *data =
            step(steps, "report-data", "quote", "Report data", STEP_OK, DSTACK_ANCHOR_MEASURED,
                 "Bound by the quote; what it means is for the asker to compare");
        input_hex(data, "report data", dstack_quote_report_data_of(&v->quote).data,
                  dstack_quote_report_data_of(&v->quote).len);
        return steps;
    }
    if (v->verified == NULL) {
        /* the quote itself, or what was to be found in its registers */
        step(steps, v->has_quote ? "event-log" : "quote", v->has_quote ? "quote" : NULL,
             v->has_quote ? "Event log and report data" : "Signed evidence", STEP_FAILED,
             DSTACK_ANCHOR_NONE, v->reason);
        return steps;
    }
    json_t *at = step(steps, "report-data", "quote", "Report data", STEP_OK, DSTACK_ANCHOR_MEASURED,
                      "Bound by the evidence; what it means is for the asker to compare");
    input_hex(at, "report data", dstack_verified_report_data(v->verified).data,
              dstack_verified_report_data(v->verified).len);
    vtpm_steps(steps, v->verified);
    log_step(steps, v);
    identity_step(steps, v);
    image_step(steps, v);
    policy_step(steps, v);
    return steps;
}

static json_t *claims_json(const verdict *v) {
    json_t *list = json_array();
    dstack_attestation_claim claim;
    bool held = v->stage >= STAGE_POLICY;
    for (size_t i = 0; held && dstack_verified_claim(v->verified, i, &claim); i++) {
        claim.anchor = anchor_now(v, claim.name, claim.anchor);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "name", claim.name, "value", claim.value,
                                        "anchor", dstack_anchor_name(claim.anchor)));
    }
    return list;
}

static json_t *policy_json(const verdict *v) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return v->decision == NULL || dstack_attestation_decision_to_json(v->decision, &text, NULL) != 0
               ? NULL
               : json_parse(bytes_of_buf(&text), SIZE_MAX, "policy", NULL);
}

json_t *trust_json(const verdict *v) {
    bool held = v->stage >= STAGE_POLICY;
    dstack_anchor image = held ? dstack_verified_image_anchor(v->verified) : DSTACK_ANCHOR_NONE;
    return json_pack(
        "{s:{s:I, s:s}, s:s, s:s, s:b, s:o*, s:o, s:o}", "time", "unix", (json_int_t)v->now,
        "source", v->now_given ? "given by the caller" : "host time", "os_image_anchor",
        dstack_anchor_name(held ? anchor_now(v, "os_image_hash", image) : image), "os_image_source",
        image_source_name(held ? v->source : IMAGE_NONE), "external_root",
        v->verified != NULL && dstack_verified_external_root(v->verified), "policy", policy_json(v),
        "claims", claims_json(v), "steps", steps_json(v));
}
