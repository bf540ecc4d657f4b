/* Evidence of one party, judged from the hardware up to its operating system image. */
#include <string.h>

#include <dstack/measure.h>
#include <dstack/nitro.h>
#include <dstack/snp.h>
#include <dstack/tpm.h>

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

static const char *vendor_of(dstack_tee_variant variant) {
    static const char *const names[] = {
        [DSTACK_TEE_TDX] = "Intel",         [DSTACK_TEE_GCP_TDX] = "Intel",
        [DSTACK_TEE_NITRO_ENCLAVE] = "AWS", [DSTACK_TEE_SEV_SNP] = "AMD",
        [DSTACK_TEE_AWS_NITRO_TPM] = "AWS",
    };
    return (unsigned)variant < sizeof names / sizeof *names ? names[variant] : "the vendor";
}

static void tell_root(const dstack_anchor_info *anchor, const char *vendor, verify_report *report,
                      verify_step_id step) {
    char hash[65];
    put_hex(hash, bytes_of(anchor->cert_sha256, 32));
    verify_evidence(report, step, "certificate sha256 %s", hash);
    if (anchor->builtin) {
        verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
        verify_detail(report, step, "%s, built in", anchor->name);
    } else {
        verify_holds(report, step, DSTACK_ANCHOR_POLICY);
        verify_caveat(report, step);
        report->insecure = true;
        verify_detail(report, step, "%s, pinned by --root in place of %s's: SIMULATED, INSECURE",
                      anchor->name, vendor);
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
    int rc = demands->verifier != NULL
                 ? check_quote(demands, dstack_attestation_evidence(attestation), &quote, &err)
                 : error_set(&err, DSTACK_E_REFUSED,
                             "the root of --root cannot be that of Intel's "
                             "quotes");
    if (rc != 0) {
        verify_fails(report, first + (is_about_tcb(rc) ? 1 : 0), &err);
        return false;
    }
    tell_root(&quote.anchor, "Intel", report, first);
    return judge_tcb(demands, &quote, report, first + 1);
}

/* ---- platforms other than bare TDX ---- */

static dstack_attestation_options options_for(const verify_demands *demands) {
    return (dstack_attestation_options){.now = demands->now,
                                        .collateral = demands->collateral,
                                        .collateral_user = demands->collateral_user,
                                        .snp_certs = demands->snp_certs,
                                        .snp_certs_user = demands->snp_certs_user,
                                        .tpm_collateral = demands->tpm_collateral,
                                        .tpm_collateral_user = demands->tpm_collateral_user,
                                        .roots = demands->roots};
}

static bool has_tcb_levels(const dstack_attestation *attestation) {
    dstack_tee_variant variant = dstack_attestation_variant(attestation);
    return variant != DSTACK_TEE_NITRO_ENCLAVE && variant != DSTACK_TEE_AWS_NITRO_TPM;
}

static const dstack_anchor_info *anchor_of(const dstack_verified *verified) {
    const dstack_snp_verdict *snp = dstack_verified_snp(verified);
    const dstack_nitro_verdict *nitro = dstack_verified_nitro(verified);
    return snp != NULL     ? &snp->anchor
           : nitro != NULL ? &nitro->anchor
                           : &dstack_verified_quote(verified)->anchor;
}

/* The step whose matter a refusal is: what is wrong with certificates, signatures or form is the
 * root's, what the hardware itself is refused for is the platform's. The text tells which check. */
static verify_step_id step_of(int status, verify_step_id first) {
    return first + (status == DSTACK_E_REFUSED || is_about_tcb(status) ? 1 : 0);
}

/* Evidence as a whole, without what the caller demands of levels and images. */
static bool judge_evidence(const verify_demands *demands, const dstack_attestation *attestation,
                           verify_step_id first, verify_report *report, dstack_verified **out) {
    dstack_error err = {0};
    const dstack_attestation_options options = options_for(demands);
    int rc = dstack_attestation_verify(demands->verifier, attestation, &options, out, &err);
    if (rc != 0) {
        verify_fails(report, step_of(rc, first), &err);
        return false;
    }
    dstack_tee_variant variant = dstack_attestation_variant(attestation);
    tell_root(anchor_of(*out), vendor_of(variant), report, first);
    const dstack_tpm_verdict *tpm = dstack_verified_tpm(*out);
    if (tpm != NULL && !tpm->anchor.builtin) {
        tell_root(&tpm->anchor, "the cloud", report, first);
    }
    return true;
}

static bool judge_level(const verify_demands *demands, const dstack_attestation *attestation,
                        const dstack_verified *verified, verify_step_id step,
                        verify_report *report) {
    dstack_error err = {0};
    DSTACK_AUTO(dstack_verified) dstack_verified *again = NULL;
    dstack_attestation_options options = options_for(demands);
    bool levels = has_tcb_levels(attestation);
    options.policy = levels || !demands->policy_is_default ? demands->policy : NULL;
    if (options.policy != NULL &&
        dstack_attestation_verify(demands->verifier, attestation, &options, &again, &err) != 0) {
        verify_fails(report, step, &err);
        return false;
    }
    verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
    const dstack_snp_verdict *snp = dstack_verified_snp(verified);
    if (!levels) {
        verify_caveat(report, step);
        verify_detail(report, step, "%s tells no TCB level: what runs below the guest is its word",
                      vendor_of(dstack_attestation_variant(attestation)));
    } else if (snp != NULL) {
        const dstack_snp_tcb *tcb = &snp->report.reported_tcb;
        verify_evidence(report, step, "%s, boot loader %u, TEE %u, SNP %u, microcode %u, %s",
                        dstack_snp_product_name(snp->product), tcb->boot_loader, tcb->tee, tcb->snp,
                        tcb->microcode,
                        snp->crl_checked ? "not on AMD's revocation list"
                                         : "no revocation list was at hand");
        verify_detail(report, step, "%s", dstack_tcb_status_name(snp->status));
    } else {
        verify_detail(report, step, "%s", dstack_verified_tcb_status(verified));
    }
    return true;
}

static void tell_measurements(const dstack_verified *verified, verify_step_id step,
                              verify_report *report) {
    const dstack_snp_verdict *snp = dstack_verified_snp(verified);
    const dstack_nitro_verdict *nitro = dstack_verified_nitro(verified);
    char hex[2 * DSTACK_REGISTER_SIZE + 1];
    verify_holds(report, step, DSTACK_ANCHOR_MEASURED);
    if (snp != NULL) {
        put_hex(hex, bytes_of(snp->report.measurement, sizeof snp->report.measurement));
        verify_evidence(report, step, "launch digest %s", hex);
        verify_detail(report, step, "signed by the chip, with the hash of the configuration");
    } else if (nitro != NULL) {
        bool enclave = dstack_verified_variant(verified) == DSTACK_TEE_NITRO_ENCLAVE;
        size_t shown = enclave ? 0 : 4;
        put_hex(hex, bytes_of(nitro->pcrs[shown], sizeof nitro->pcrs[shown]));
        verify_evidence(report, step, "PCR%zu %s", shown, hex);
        verify_detail(report, step, "%s",
                      enclave ? "the enclave image's PCRs are signed"
                              : "the event log replays to the signed PCR14");
    } else {
        const dstack_td_report *td = dstack_quote_report_td(dstack_verified_quote(verified));
        put_hex(hex, bytes_of(td->mr_td, sizeof td->mr_td));
        verify_evidence(report, step, "MRTD %s", hex);
        verify_detail(report, step, "the event log replays to the signed RTMR3 and PCR14");
    }
}

static bool judge_platform(const verify_demands *demands, const dstack_attestation *attestation,
                           verify_step_id first, verify_report *report) {
    DSTACK_AUTO(dstack_verified) dstack_verified *verified = NULL;
    if (!judge_evidence(demands, attestation, first, report, &verified) ||
        !judge_level(demands, attestation, verified, first + 1, report)) {
        return false;
    }
    tell_measurements(verified, first + 2, report);
    return true;
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
    if (question->variant != DSTACK_TEE_TDX) {
        return dstack_measure_image_check(NULL, question, anchor, hash, err);
    }
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
    dstack_attestation_options options = options_for(demands);
    options.policy =
        has_tcb_levels(attestation) || !demands->policy_is_default ? demands->policy : NULL;
    options.image = check_images;
    options.image_user = (void *)(uintptr_t)demands;
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
    } else if (dstack_verified_image_anchor(*out) == DSTACK_ANCHOR_MEASURED) {
        verify_caveat(report, step);
        verify_detail(report, step, "the hash is over signed PCRs, compared with nothing of yours");
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
    bool holds = dstack_attestation_variant(attestation) == DSTACK_TEE_TDX
                     ? judge_quote(demands, attestation, first, report) &&
                           judge_registers(demands, attestation, first + 2, report)
                     : judge_platform(demands, attestation, first, report);
    return holds && judge_image(demands, attestation, first + 3, report, out);
}
