#include "kms.h"

#include <string.h>

#include <dstack/measure.h>
#include <dstack/nitro.h>
#include <dstack/tpm.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"

dstack_attestation_options kms_judge_options(kms *k, const char *vm_config, bool boot_time,
                                             bool image) {
    return (dstack_attestation_options){
        .now = clock_unix(),
        .vm_config = vm_config != NULL && vm_config[0] != 0 ? vm_config : NULL,
        .boot_time = boot_time,
        .collateral = collateral_fetch_for,
        .collateral_user = k->fetcher,
        .snp_certs = snp_fetch_for,
        .snp_certs_user = k->snp_fetcher,
        .tpm_collateral = k->tpm_fetcher != NULL ? dstack_tpm_collateral_fetch : NULL,
        .tpm_collateral_user = k->tpm_fetcher,
        .image = image ? kms_image_check : NULL,
        .image_user = k,
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
    if (rc != 0) {
        measures_refused(&k->measures, KMS_CHECK_SELF);
        return error_prefix(err, rc, "KMS self authorization failed");
    }
    return 0;
}

/* ---- callers ----------------------------------------------------------------------------------
 */

static int check_app_id(const dstack_verified *verified, dstack_error *err) {
    const dstack_identity *identity = dstack_verified_identity(verified);
    return identity->app_id.len == 20 ? 0
                                      : error_set(err, DSTACK_E_REFUSED, "app_id must be 20 bytes");
}

void kms_asker_clear(kms_asker *asker) {
    dstack_verified_free(asker->verified);
    *asker = (kms_asker){0};
}

static int check_age(kms *k, const kms_question *question, const uint8_t name[32], kms_asker *asker,
                     dstack_error *err) {
    const struct dstack_nitro_verdict *nitro = dstack_verified_nitro(asker->verified);
    int64_t most = config_duration_ms(k->config, "core.evidence.max_age") / 1000;
    asker->age =
        freshness_age(k->freshness, name, question->not_before,
                      nitro != NULL ? (int64_t)(nitro->timestamp_ms / 1000) : 0, clock_unix());
    return most <= 0 || asker->age.seconds <= most
               ? 0
               : error_set(err, DSTACK_E_REFUSED,
                           "evidence is %lld s old by its %s, at most %lld s are allowed (host "
                           "time)",
                           (long long)asker->age.seconds, freshness_source_name(asker->age.source),
                           (long long)most);
}

/* The policy spoke about the image that vm_config claims: now hold the registers to it. */
static int check_image(kms *k, const kms_question *question, dstack_error *err) {
    DSTACK_AUTO(verified) dstack_verified *with_image = NULL;
    if (!config_bool(k->config, "core.image.verify")) {
        return 0;
    }
    dstack_attestation_options options =
        kms_judge_options(k, question->vm_config, question->boot_time, true);
    int rc = question->verify(question->user, &options, &with_image, err);
    return rc != 0 ? error_prefix(err, rc, "Failed to verify os image hash") : 0;
}

int kms_authorize(kms *k, kms_boot_kind kind, const kms_question *question, kms_asker *asker,
                  kms_decision *decision, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf boot_info = {0};
    uint8_t name[32];
    dstack_attestation_options options =
        kms_judge_options(k, question->vm_config, question->boot_time, false);
    freshness_name(question->evidence, name);
    kms_check check = KMS_CHECK_EVIDENCE;
    int rc = question->verify(question->user, &options, &asker->verified, err);
    rc = rc != 0 ? rc : check_app_id(asker->verified, err);
    rc = rc != 0 ? rc : dstack_verified_boot_info(asker->verified, &boot_info, err);
    if (rc == 0) {
        check = KMS_CHECK_AGE;
        rc = check_age(k, question, name, asker, err);
    }
    if (rc == 0) {
        check = KMS_CHECK_POLICY;
        rc = kms_auth_decide(k->auth, kind, bytes_of_buf(&boot_info), decision, err);
    }
    if (rc == 0 && !decision->allowed) {
        rc = error_set(err, DSTACK_E_REFUSED, "Boot denied: %s", decision->reason);
    }
    if (rc == 0) {
        check = KMS_CHECK_IMAGE;
        rc = check_image(k, question, err);
    }
    if (rc == 0) {
        check = KMS_CHECK_PLATFORM;
        rc = kms_release_gate(k, dstack_verified_variant(asker->verified), err);
    }
    if (rc == 0) {
        freshness_used(k->freshness, name, clock_unix());
    } else {
        measures_refused(&k->measures, check);
    }
    return rc;
}
