/* Evidence of one party, judged from the hardware up to its operating system image. */
#include <string.h>

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "verify/verify.h"

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)

/* Refusals that come after the quote's signatures were found to be true. */
static bool is_about_tcb(int status) {
    switch (status) {
    case DSTACK_E_DCAP_FMSPC_MISMATCH:
    case DSTACK_E_DCAP_PCEID_MISMATCH:
    case DSTACK_E_DCAP_TCB_INFO_TYPE:
    case DSTACK_E_DCAP_TCB_COMPONENT_COUNT:
    case DSTACK_E_DCAP_TCB_NOT_SUPPORTED:
    case DSTACK_E_DCAP_TDX_MODULE:
    case DSTACK_E_DCAP_TCB_REVOKED:
    case DSTACK_E_DCAP_SERVICE_TD:
    case DSTACK_E_DCAP_DEBUG:
    case DSTACK_E_DCAP_TD_ATTRIBUTES:
    case DSTACK_E_DCAP_SEPT_VE_DISABLE:
    case DSTACK_E_DCAP_QE_ISVSVN:
        return true;
    default:
        return false;
    }
}

static void put_hex(char *out, dstack_bytes bytes) {
    hex_encode(bytes, out);
}

/* ---- hardware root and platform ---- */

static void tell_root(const dstack_quote_report *quote, verify_report *report,
                      verify_step_id step) {
    char hash[65];
    put_hex(hash, bytes_of(quote->anchor.cert_sha256, 32));
    verify_evidence(report, step, "certificate sha256 %s", hash);
    if (quote->anchor.builtin) {
        verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
        verify_detail(report, step, "%s, built in", quote->anchor.name);
    } else {
        verify_holds(report, step, DSTACK_ANCHOR_POLICY);
        verify_caveat(report, step);
        report->insecure = true;
        verify_detail(report, step, "%s, pinned by --root in place of Intel's: SIMULATED, INSECURE",
                      quote->anchor.name);
    }
}

static void list_advisories(const dstack_quote_report *quote, char *out, size_t room) {
    size_t used = 0;
    *out = '\0';
    for (size_t i = 0; i < quote->advisories.count && used < room; i++) {
        used += (size_t)snprintf(out + used, room - used, "%s%s", i == 0 ? ", advisories " : " ",
                                 quote->advisories.ids[i]);
    }
}

static bool judge_tcb(const verify_demands *demands, const dstack_quote_report *quote,
                      verify_report *report, verify_step_id step) {
    dstack_error err = {0};
    char advisories[320];
    list_advisories(quote, advisories, sizeof advisories);
    verify_evidence(report, step, "TCB evaluation %u, status %s", quote->tcb_eval_data_number,
                    dstack_tcb_status_name(quote->status));
    int rc = dstack_quote_report_check_workload(quote, &err);
    rc = rc != 0 ? rc : dstack_policy_decide(demands->policy, quote, demands->now, &err);
    if (rc != 0) {
        verify_fails(report, step, &err);
        return false;
    }
    verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
    verify_detail(report, step, "%s%s", dstack_tcb_status_name(quote->status), advisories);
    return true;
}

static int check_quote(const verify_demands *demands, dstack_bytes evidence,
                       dstack_quote_report *quote, dstack_error *err) {
    int rc = 0;
    if (demands->collateral != NULL &&
        !dstack_verifier_has_collateral(demands->verifier, evidence, demands->now)) {
        rc = demands->collateral(demands->collateral_user, demands->verifier, evidence, err);
    }
    return rc != 0
               ? error_prefix(err, rc, "collateral")
               : dstack_verifier_check(demands->verifier, evidence, NULL, demands->now, quote, err);
}

static bool judge_quote(const verify_demands *demands, const dstack_attestation *attestation,
                        verify_step_id first, verify_report *report) {
    dstack_error err = {0};
    dstack_quote_report quote;
    int rc = 0;
    if (dstack_attestation_variant(attestation) != DSTACK_TEE_TDX) {
        rc = error_set(&err, DSTACK_E_UNSUPPORTED, "evidence of kind %s cannot be verified yet",
                       dstack_tee_variant_name(dstack_attestation_variant(attestation)));
    } else {
        rc = check_quote(demands, dstack_attestation_evidence(attestation), &quote, &err);
    }
    if (rc != 0) {
        verify_fails(report, first + (is_about_tcb(rc) ? 1 : 0), &err);
        return false;
    }
    tell_root(&quote, report, first);
    return judge_tcb(demands, &quote, report, first + 1);
}

/* ---- firmware, kernel, image ---- */

static bool judge_registers(const verify_demands *demands, const dstack_attestation *attestation,
                            verify_step_id step, verify_report *report) {
    dstack_error err = {0};
    DSTACK_AUTO(dstack_verified) dstack_verified *verified = NULL;
    const dstack_attestation_options options = {.now = demands->now};
    if (dstack_attestation_verify(demands->verifier, attestation, &options, &verified, &err) != 0) {
        verify_fails(report, step, &err);
        return false;
    }
    const dstack_td_report *td = dstack_quote_report_td(dstack_verified_quote(verified));
    char mrtd[2 * DSTACK_REGISTER_SIZE + 1];
    put_hex(mrtd, bytes_of(td->mr_td, sizeof td->mr_td));
    verify_evidence(report, step, "MRTD %s", mrtd);
    verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
    verify_detail(report, step, "the event log replays to the signed registers RTMR0 to RTMR3");
    return true;
}

/* Without a reference image and without material there is nothing to compute: the stated hash is
 * the prover's word, and is shown as that. */
static int check_stated(const dstack_image_question *question, dstack_anchor *anchor,
                        uint8_t hash[32], dstack_error *err) {
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    int rc = dstack_vm_config_parse(bytes_of_str(question->vm_config), &config, err);
    if (rc != 0 || config.has_measurement) {
        return rc != 0 ? rc : dstack_measure_image_check(NULL, question, anchor, hash, err);
    }
    *anchor = DSTACK_ANCHOR_SELF_ASSERTED;
    return config.os_image_hash[0] != '\0'
               ? hex_decode_fixed(config.os_image_hash, hash, 32, err)
               : error_set(err, DSTACK_E_REFUSED, "the evidence names no image");
}

/* A dstack_image_check: one of the caller's images must be the one, when there are any. */
static int check_images(void *user, const dstack_image_question *question, dstack_anchor *anchor,
                        uint8_t hash[32], dstack_error *err) {
    const verify_demands *demands = user;
    if (demands->image_count == 0) {
        return check_stated(question, anchor, hash, err);
    }
    int rc = 0;
    for (size_t i = 0; i < demands->image_count; i++) {
        rc = dstack_measure_image_check((void *)(uintptr_t)demands->images[i], question, anchor,
                                        hash, err);
        if (rc == 0 && *anchor == DSTACK_ANCHOR_REFERENCE_IMAGE) {
            return 0;
        }
    }
    if (rc != 0) {
        return rc;
    }
    char text[65];
    put_hex(text, bytes_of(hash, 32));
    return error_set(err, DSTACK_E_REFUSED,
                     "the evidence is of image %s, which is none of those given by --image", text);
}

static bool judge_image(const verify_demands *demands, const dstack_attestation *attestation,
                        verify_step_id step, verify_report *report, dstack_verified **out) {
    dstack_error err = {0};
    const dstack_attestation_options options = {.now = demands->now,
                                                .policy = demands->policy,
                                                .image = check_images,
                                                .image_user = (void *)(uintptr_t)demands};
    if (dstack_attestation_verify(demands->verifier, attestation, &options, out, &err) != 0) {
        verify_fails(report, step, &err);
        return false;
    }
    char hash[65];
    put_hex(hash, bytes_of(dstack_verified_identity(*out)->os_image_hash.data, 32));
    verify_evidence(report, step, "os image %s", hash);
    verify_holds(report, step, dstack_verified_image_anchor(*out));
    if (dstack_verified_image_anchor(*out) == DSTACK_ANCHOR_REFERENCE_IMAGE) {
        verify_detail(report, step, "the registers follow from the files of your own image");
    } else {
        verify_caveat(report, step);
        verify_detail(report, step,
                      "SELF-ASSERTED: compared with nothing of yours; give --image DIR");
    }
    return true;
}

bool verify_judge_party(const verify_demands *demands, const dstack_attestation *attestation,
                        verify_step_id first, verify_report *report, dstack_verified **out) {
    *out = NULL;
    return judge_quote(demands, attestation, first, report) &&
           judge_registers(demands, attestation, first + 2, report) &&
           judge_image(demands, attestation, first + 3, report, out);
}
