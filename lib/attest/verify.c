/* Verification of an attestation end to end: what all platforms share. */
#include <string.h>

#include "attest/verified.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

int verify_report_data(const dstack_attestation *a, const dstack_verified *verified,
                       const char *platform, const dstack_attestation_options *options,
                       dstack_error *err) {
    if (memcmp(dstack_verified_report_data(verified).data, a->report_data, sizeof a->report_data) !=
        0) {
        return error_set(err, DSTACK_E_REFUSED, "%s report_data mismatch", platform);
    }
    if (options->report_data != NULL &&
        memcmp(options->report_data, a->report_data, sizeof a->report_data) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "report data mismatch");
    }
    uint8_t bound[DSTACK_REPORT_DATA_SIZE];
    if (a->payload != NULL) {
        int rc = dstack_report_data("app-data", NULL, bytes_of_str(a->payload), bound, err);
        if (rc != 0) {
            return rc;
        }
        if (memcmp(bound, a->report_data, sizeof bound) != 0) {
            return error_set(err, DSTACK_E_REFUSED,
                             "report_data does not match report_data_payload");
        }
    }
    return 0;
}

int verify_image(const dstack_image_question *asked, const json_t *vm_config,
                 const dstack_attestation_options *options, dstack_verified *verified,
                 dstack_error *err) {
    dstack_value *stated = &verified->identity.os_image_hash;
    if (stated->len != 0 && stated->len != 32) {
        return error_set(err, DSTACK_E_REFUSED, "os_image_hash must be 32 bytes");
    }
    verified->image_anchor = stated->len > 0 ? DSTACK_ANCHOR_SELF_ASSERTED : DSTACK_ANCHOR_NONE;
    if (options->image == NULL) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = json_write(vm_config, false, &text, err);
    dstack_image_question question = *asked;
    question.variant = verified->variant;
    question.vm_config = buf_text(&text);
    uint8_t hash[32];
    if (rc == 0) {
        rc = error_prefix(
            err, options->image(options->image_user, &question, &verified->image_anchor, hash, err),
            "OS image");
    }
    if (rc == 0 && stated->len > 0 && memcmp(stated->data, hash, sizeof hash) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "os_image_hash of vm_config is not the image's");
    }
    verified->image_checked = rc == 0;
    return rc == 0 ? attest_value_set(stated, bytes_of(hash, sizeof hash), "os_image_hash", err)
                   : rc;
}

typedef int (*platform_verify)(dstack_verifier *verifier, const dstack_attestation *a,
                               const dstack_attestation_options *options, dstack_verified *verified,
                               dstack_error *err);

static const platform_verify platforms[ATTEST_VARIANTS] = {
    [DSTACK_TEE_TDX] = verify_tdx,
    [DSTACK_TEE_GCP_TDX] = verify_gcp_tdx,
    [DSTACK_TEE_NITRO_ENCLAVE] = verify_nitro,
    [DSTACK_TEE_SEV_SNP] = verify_snp,
    [DSTACK_TEE_AWS_NITRO_TPM] = verify_nitro_tpm,
};

int dstack_attestation_verify(struct dstack_verifier *verifier, const dstack_attestation *a,
                              const dstack_attestation_options *options, dstack_verified **out,
                              dstack_error *err) {
    *out = NULL;
    if (options == NULL || (verifier == NULL && attest_variant_is_tdx(a->variant))) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "no options, or no verifier for Intel quotes, were given");
    }
    if ((unsigned)a->variant >= ATTEST_VARIANTS || platforms[a->variant] == NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "verification of %s evidence is not supported",
                         dstack_tee_variant_name(a->variant));
    }
    DSTACK_AUTO(verified) dstack_verified *verified = calloc(1, sizeof *verified);
    if (verified == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a verification");
    }
    verified->variant = a->variant;
    int rc = platforms[a->variant](verifier, a, options, verified, err);
    if (rc == 0) {
        rc = verified_list_claims(verified, err);
    }
    if (rc == 0) {
        *out = verified;
        verified = NULL;
    }
    return rc;
}
