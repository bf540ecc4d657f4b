#include "kms.h"

#include <string.h>

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"

dstack_attestation_options kms_judge_options(const kms *k, const char *vm_config, bool boot_time,
                                             bool image) {
    return (dstack_attestation_options){
        .now = clock_unix(),
        .vm_config = vm_config != NULL && vm_config[0] != 0 ? vm_config : NULL,
        .boot_time = boot_time,
        .collateral = collateral_fetch_for,
        .collateral_user = k->fetcher,
        .image = image ? dstack_measure_image_check : NULL,
    };
}

int kms_release_gate(const kms *k, dstack_tee_variant variant, dstack_error *err) {
    static const struct {
        dstack_tee_variant variant;
        const char *key;
        const char *name;
    } gates[] = {
        {DSTACK_TEE_SEV_SNP, "core.sev_snp_key_release", "amd sev-snp"},
        {DSTACK_TEE_AWS_NITRO_TPM, "core.aws_nitro_tpm_key_release", "aws nitro-tpm"},
        {DSTACK_TEE_NITRO_ENCLAVE, "core.nitro_enclave_key_release", "aws nitro enclave"},
    };
    for (size_t i = 0; i < sizeof gates / sizeof gates[0]; i++) {
        if (gates[i].variant == variant && !config_bool(k->config, gates[i].key)) {
            return error_set(err, DSTACK_E_REFUSED, "%s key release is not enabled", gates[i].name);
        }
    }
    return 0;
}

/* ---- self -------------------------------------------------------------------------------------
 */

int kms_learn_self(kms *k, dstack_error *err) {
    if (!kms_has_evidence(k) || k->own_boot_info.len > 0) {
        return 0;
    }
    static const uint8_t zeros[DSTACK_REPORT_DATA_SIZE];
    DSTACK_AUTO(attestation) dstack_attestation *own = NULL;
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    dstack_attestation_options options = kms_judge_options(k, NULL, false, false);
    options.report_data = zeros;
    int rc = kms_own_attest(k, zeros, &own, err);
    rc = rc != 0 ? rc : dstack_attestation_verify(k->trust.verifier, own, &options, &verified, err);
    rc = rc != 0 ? rc : dstack_verified_boot_info(verified, &k->own_boot_info, err);
    return rc != 0 ? error_prefix(err, rc, "own evidence") : 0;
}

int kms_decide_self(kms *k, kms_decision *decision, dstack_error *err) {
    if (!config_bool(k->config, "core.enforce_self_authorization")) {
        *decision = (kms_decision){.allowed = true};
        return 0;
    }
    return kms_auth_decide(k->auth, KMS_BOOT_KMS, bytes_of_buf(&k->own_boot_info), decision, err);
}

int kms_authorize_self(kms *k, dstack_error *err) {
    kms_decision decision;
    int rc = kms_decide_self(k, &decision, err);
    if (rc == 0 && !decision.allowed) {
        rc = error_set(err, DSTACK_E_REFUSED, "KMS is not allowed: %s", decision.reason);
    }
    return rc != 0 ? error_prefix(err, rc, "KMS self authorization failed") : 0;
}

/* ---- callers ----------------------------------------------------------------------------------
 */

static int check_app_id(const dstack_verified *verified, dstack_error *err) {
    const dstack_identity *identity = dstack_verified_identity(verified);
    return identity->app_id.len == 20 ? 0
                                      : error_set(err, DSTACK_E_REFUSED, "app_id must be 20 bytes");
}

int kms_authorize(kms *k, kms_boot_kind kind, const char *vm_config, bool boot_time,
                  kms_verify_again verify, void *user, dstack_verified **out,
                  kms_decision *decision, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf boot_info = {0};
    dstack_attestation_options options = kms_judge_options(k, vm_config, boot_time, false);
    int rc = verify(user, &options, out, err);
    rc = rc != 0 ? rc : check_app_id(*out, err);
    rc = rc != 0 ? rc : dstack_verified_boot_info(*out, &boot_info, err);
    rc = rc != 0 ? rc : kms_auth_decide(k->auth, kind, bytes_of_buf(&boot_info), decision, err);
    if (rc != 0) {
        return rc;
    }
    if (!decision->allowed) {
        return error_set(err, DSTACK_E_REFUSED, "Boot denied: %s", decision->reason);
    }
    if (config_bool(k->config, "core.image.verify")) {
        /* The policy spoke about the image that vm_config claims: now hold the registers to it. */
        DSTACK_AUTO(verified) dstack_verified *with_image = NULL;
        options = kms_judge_options(k, vm_config, boot_time, true);
        rc = verify(user, &options, &with_image, err);
        if (rc != 0) {
            return error_prefix(err, rc, "Failed to verify os image hash");
        }
    }
    return kms_release_gate(k, dstack_verified_variant(*out), err);
}
