/* What a verification found, with the anchor of every claim. */
#include "attest/verified.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

const char *dstack_anchor_name(dstack_anchor anchor) {
    static const char *const names[] = {"none", "measured", "reference-image", "policy",
                                        "self-asserted"};
    return (unsigned)anchor < sizeof names / sizeof *names ? names[anchor] : "unknown";
}

void dstack_verified_free(dstack_verified *verified) {
    if (verified != NULL) {
        for (size_t i = 0; i < verified->claim_count; i++) {
            free(verified->claims[i].value);
        }
        free(verified);
    }
}

static bool is_nitro(const dstack_verified *v) {
    return v->variant == DSTACK_TEE_NITRO_ENCLAVE || v->variant == DSTACK_TEE_AWS_NITRO_TPM;
}

const dstack_anchor_info *verified_anchor(const dstack_verified *v) {
    if (is_nitro(v)) {
        return &v->nitro.anchor;
    }
    return v->variant == DSTACK_TEE_SEV_SNP ? &v->snp.anchor : &v->quote.anchor;
}

static void claim_text(dstack_verified *v, const char *name, const char *value,
                       dstack_anchor anchor) {
    v->claims[v->claim_count++] = (verified_claim){name, strdup(value), anchor};
}

static void claim_bytes(dstack_verified *v, const char *name, dstack_bytes value,
                        dstack_anchor anchor) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, value);
    v->claims[v->claim_count++] = (verified_claim){name, buf_detach_text(&text), anchor};
}

static void claim_value(dstack_verified *v, const char *name, const dstack_value *value,
                        dstack_anchor anchor) {
    if (value->len > 0) {
        claim_bytes(v, name, attest_value(value), anchor);
    }
}

static void claim_register(dstack_verified *v, const char *name, const uint8_t *value, size_t size,
                           bool bound) {
    claim_bytes(v, name, bytes_of(value, size),
                bound ? DSTACK_ANCHOR_MEASURED : DSTACK_ANCHOR_NONE);
}

/* The vTPM of GCP evidence. Its root is Google's, beside Intel's for the quote. */
static void list_vtpm(dstack_verified *v) {
    static const struct {
        size_t index;
        const char *name;
    } shown[] = {{0, "pcr0"}, {2, "pcr2"}, {14, "pcr14"}};
    if (v->variant != DSTACK_TEE_GCP_TDX) {
        return;
    }
    claim_text(v, "tpm_root", v->tpm.anchor.name,
               v->tpm.anchor.builtin ? DSTACK_ANCHOR_MEASURED : DSTACK_ANCHOR_POLICY);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        claim_register(v, shown[i].name, v->tpm.pcrs[shown[i].index], DSTACK_TPM_PCR_SIZE, true);
    }
    if (v->has_gcp_uki) {
        claim_register(v, "uki_authenticode", v->gcp_uki, sizeof v->gcp_uki, true);
    }
}

/* What the platform itself measured. */
static void list_platform(dstack_verified *v) {
    if (v->variant == DSTACK_TEE_SEV_SNP) {
        const dstack_snp_report *r = &v->snp.report;
        claim_register(v, "measurement", r->measurement, sizeof r->measurement, true);
        claim_register(v, "host_data", r->host_data, sizeof r->host_data, v->mr_config_bound);
    } else if (is_nitro(v)) {
        static const struct {
            size_t index;
            const char *name;
        } shown[] = {{0, "pcr0"}, {1, "pcr1"}, {2, "pcr2"},   {4, "pcr4"},
                     {7, "pcr7"}, {8, "pcr8"}, {12, "pcr12"}, {14, "pcr14"}};
        for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
            if ((v->nitro.pcr_mask >> shown[i].index & 1) != 0) {
                claim_register(v, shown[i].name, v->nitro.pcrs[shown[i].index],
                               DSTACK_NITRO_PCR_SIZE, true);
            }
        }
    } else if (attest_variant_is_tdx(v->variant)) {
        const dstack_td_report *td = dstack_quote_report_td(&v->quote);
        list_vtpm(v);
        claim_register(v, "mr_td", td->mr_td, sizeof td->mr_td, true);
        claim_register(v, "mr_config_id", td->mr_config_id, sizeof td->mr_config_id,
                       v->mr_config_bound);
    }
}

int verified_list_claims(dstack_verified *v, dstack_error *err) {
    const dstack_identity *id = &v->identity;
    claim_text(v, "tee_variant", dstack_tee_variant_name(v->variant), DSTACK_ANCHOR_MEASURED);
    /* under another root than the vendor's, it is the operator who vouches for the hardware */
    claim_text(v, "hardware_root", verified_anchor(v)->name,
               verified_anchor(v)->builtin ? DSTACK_ANCHOR_MEASURED : DSTACK_ANCHOR_POLICY);
    claim_text(v, "tcb_status", dstack_verified_tcb_status(v), DSTACK_ANCHOR_MEASURED);
    claim_bytes(v, "report_data", dstack_verified_report_data(v), DSTACK_ANCHOR_MEASURED);
    claim_value(v, "os_image_hash", &id->os_image_hash, v->image_anchor);
    list_platform(v);
    /* an enclave's events are bound to nothing */
    const dstack_anchor told = v->variant == DSTACK_TEE_NITRO_ENCLAVE ? DSTACK_ANCHOR_SELF_ASSERTED
                                                                      : DSTACK_ANCHOR_MEASURED;
    claim_value(v, "app_id", &id->app_id, told);
    claim_value(v, "compose_hash", &id->compose_hash, DSTACK_ANCHOR_MEASURED);
    claim_value(v, "instance_id", &id->instance_id, told);
    claim_value(v, "device_id", &id->device_id, DSTACK_ANCHOR_MEASURED);
    /* on GCP it is a hash over the image's name, and as good as that */
    claim_value(v, "mr_system", &id->mr_system,
                v->variant == DSTACK_TEE_GCP_TDX ? v->image_anchor : DSTACK_ANCHOR_MEASURED);
    claim_value(v, "mr_aggregated", &id->mr_aggregated, DSTACK_ANCHOR_MEASURED);
    if (*id->key_provider_info != '\0') {
        claim_text(v, "key_provider", id->key_provider_info, told);
    }
    for (size_t i = 0; i < v->claim_count; i++) {
        if (v->claims[i].value == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "no memory for the claims");
        }
    }
    return 0;
}

dstack_tee_variant dstack_verified_variant(const dstack_verified *v) {
    return v->variant;
}

const dstack_identity *dstack_verified_identity(const dstack_verified *v) {
    return &v->identity;
}

dstack_bytes dstack_verified_report_data(const dstack_verified *v) {
    if (is_nitro(v)) {
        return bytes_of(v->nitro.user_data, DSTACK_REPORT_DATA_SIZE);
    }
    return v->variant == DSTACK_TEE_SEV_SNP
               ? bytes_of(v->snp.report.report_data, DSTACK_REPORT_DATA_SIZE)
               : dstack_quote_report_data_of(&v->quote);
}

/* Enclaves have no TCB to speak of, and no gate for one passes; what a NitroTPM runs on is AWS's to
 * keep up to date. */
const char *dstack_verified_tcb_status(const dstack_verified *v) {
    if (is_nitro(v)) {
        return v->variant == DSTACK_TEE_NITRO_ENCLAVE
                   ? ""
                   : dstack_tcb_status_name(DSTACK_TCB_UP_TO_DATE);
    }
    return dstack_tcb_status_name(v->variant == DSTACK_TEE_SEV_SNP ? v->snp.status
                                                                   : v->quote.status);
}

size_t dstack_verified_advisory_count(const dstack_verified *v) {
    return v->quote.advisories.count;
}

const char *dstack_verified_advisory(const dstack_verified *v, size_t index) {
    return index < v->quote.advisories.count ? v->quote.advisories.ids[index] : NULL;
}

dstack_anchor dstack_verified_image_anchor(const dstack_verified *v) {
    return v->image_anchor;
}

bool dstack_verified_image_checked(const dstack_verified *v) {
    return v->image_checked;
}

bool dstack_verified_external_root(const dstack_verified *v) {
    return !verified_anchor(v)->builtin ||
           (v->variant == DSTACK_TEE_GCP_TDX && !v->tpm.anchor.builtin);
}

const struct dstack_tpm_verdict *dstack_verified_tpm(const dstack_verified *v) {
    return v->variant == DSTACK_TEE_GCP_TDX ? &v->tpm : NULL;
}

const struct dstack_quote_report *dstack_verified_quote(const dstack_verified *v) {
    return attest_variant_is_tdx(v->variant) ? &v->quote : NULL;
}

const struct dstack_nitro_verdict *dstack_verified_nitro(const dstack_verified *v) {
    return is_nitro(v) ? &v->nitro : NULL;
}

const struct dstack_snp_verdict *dstack_verified_snp(const dstack_verified *v) {
    return v->variant == DSTACK_TEE_SEV_SNP ? &v->snp : NULL;
}

size_t dstack_verified_claim_count(const dstack_verified *v) {
    return v->claim_count;
}

bool dstack_verified_claim(const dstack_verified *v, size_t index,
                           dstack_attestation_claim *claim) {
    if (index >= v->claim_count) {
        return false;
    }
    const verified_claim *from = &v->claims[index];
    *claim = (dstack_attestation_claim){from->name, from->value, from->anchor};
    return true;
}

static json_t *advisories_json(const dstack_verified *v) {
    json_t *list = json_array();
    for (size_t i = 0; i < v->quote.advisories.count; i++) {
        json_array_append_new(list, json_string(v->quote.advisories.ids[i]));
    }
    return list;
}

int dstack_verified_boot_info(const dstack_verified *v, dstack_buf *out, dstack_error *err) {
    const dstack_identity *id = &v->identity;
    DSTACK_AUTO(json)
    json_t *object = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "teeVariant",
        dstack_tee_variant_name(v->variant), "mrAggregated", attest_value_json(&id->mr_aggregated),
        "osImageHash", attest_value_json(&id->os_image_hash), "mrSystem",
        attest_value_json(&id->mr_system), "appId", attest_value_json(&id->app_id), "composeHash",
        attest_value_json(&id->compose_hash), "instanceId", attest_value_json(&id->instance_id),
        "deviceId", attest_value_json(&id->device_id), "keyProviderInfo",
        json_hex(bytes_of_str(id->key_provider_info)), "tcbStatus", dstack_verified_tcb_status(v),
        "advisoryIds", advisories_json(v));
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the boot information");
    }
    return json_write(object, false, out, err);
}

static json_t *claims_json(const dstack_verified *v) {
    json_t *list = json_array();
    for (size_t i = 0; i < v->claim_count; i++) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", v->claims[i].name, "value",
                                              v->claims[i].value, "anchor",
                                              dstack_anchor_name(v->claims[i].anchor)));
    }
    return list;
}

int dstack_verified_to_json(const dstack_verified *v, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = json_pack(
        "{s:s, s:s, s:o, s:s, s:b, s:o, s:o, s:s, s:o}", "tee_variant",
        dstack_tee_variant_name(v->variant), "tcb_status", dstack_verified_tcb_status(v),
        "advisory_ids", advisories_json(v), "anchor", verified_anchor(v)->name, "external_root",
        dstack_verified_external_root(v), "report_data", json_hex(dstack_verified_report_data(v)),
        "app_info", attest_identity_json(&v->identity), "os_image_anchor",
        dstack_anchor_name(v->image_anchor), "claims", claims_json(v));
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the report");
    }
    return json_write(object, true, out, err);
}
