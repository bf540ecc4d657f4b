/* The list of steps and its verdict. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verify/verify.h"

static const char *const names[VERIFY_STEPS] = {
    [VERIFY_ROOT] = "hardware-root",
    [VERIFY_TCB] = "platform-tcb",
    [VERIFY_FIRMWARE] = "firmware-kernel",
    [VERIFY_IMAGE] = "os-image",
    [VERIFY_KMS] = "kms",
    [VERIFY_MANIFEST] = "app-manifest",
    [VERIFY_IDENTITY] = "app-identity",
    [VERIFY_EVIDENCE] = "app-evidence",
    [VERIFY_GATEWAY_ROOT] = "gateway.hardware-root",
    [VERIFY_GATEWAY_TCB] = "gateway.platform-tcb",
    [VERIFY_GATEWAY_FIRMWARE] = "gateway.firmware-kernel",
    [VERIFY_GATEWAY_IMAGE] = "gateway.os-image",
    [VERIFY_GATEWAY_IDENTITY] = "gateway.identity",
    [VERIFY_ROUTING] = "routing",
    [VERIFY_CERTIFICATE] = "certificate",
    [VERIFY_PUBLIC_NAME] = "public-name",
    [VERIFY_CONNECTION] = "connection",
};

const char *verify_step_name(verify_step_id id) {
    return (unsigned)id < VERIFY_STEPS ? names[id] : "unknown";
}

void verify_report_clear(verify_report *report) {
    dstack_verified_free(report->app);
    dstack_verified_free(report->gateway);
    report->app = NULL;
    report->gateway = NULL;
}

void verify_holds(verify_report *report, verify_step_id id, dstack_anchor anchor) {
    report->steps[id].outcome = VERIFY_HOLDS;
    report->steps[id].anchor = anchor;
}

void verify_fails(verify_report *report, verify_step_id id, const dstack_error *err) {
    report->steps[id].outcome = VERIFY_FAILS;
    report->steps[id].anchor = DSTACK_ANCHOR_NONE;
    report->steps[id].caveat = false;
    verify_detail(report, id, "%s",
                  err->message[0] != '\0' ? err->message : dstack_status_name(err->status));
}

void verify_evidence(verify_report *report, verify_step_id id, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(report->steps[id].evidence, sizeof report->steps[id].evidence, fmt, args);
    va_end(args);
}

void verify_detail(verify_report *report, verify_step_id id, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(report->steps[id].detail, sizeof report->steps[id].detail, fmt, args);
    va_end(args);
}

void verify_caveat(verify_report *report, verify_step_id id) {
    report->steps[id].caveat = true;
}

bool verify_refusal(const verify_report *report, verify_step_id *id) {
    static const verify_outcome wanted[] = {VERIFY_FAILS, VERIFY_NOT_REACHED};
    for (size_t w = 0; w < 2; w++) {
        for (size_t i = 0; i < VERIFY_STEPS; i++) {
            const verify_step *step = &report->steps[i];
            if (step->used && !step->optional && step->outcome == wanted[w]) {
                *id = (verify_step_id)i;
                return true;
            }
        }
    }
    return false;
}
