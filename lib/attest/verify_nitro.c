/* Verification of AWS attestations: Nitro Enclaves, and instances with a NitroTPM. */
#include <string.h>

#include "attest/verified.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"

#define PCR_CONFIG 8   /* the guest extends it once, by its configuration id */
#define PCR_RUNTIME 14 /* and this one by every runtime event */

static void set_hash(dstack_value *value, const dstack_bytes *parts, size_t count) {
    *value = (dstack_value){.len = HASH_SHA256_SIZE};
    hash_parts(HASH_SHA256, parts, count, value->data);
}

static dstack_bytes pcr(const dstack_nitro_verdict *v, size_t index) {
    return bytes_of(v->pcrs[index], sizeof v->pcrs[index]);
}

static int check_document(const dstack_attestation *a, bool tpm,
                          const dstack_attestation_options *options, dstack_nitro_verdict *verdict,
                          dstack_error *err) {
    dstack_nitro_options how = {.now = options->now, .tpm = tpm};
    if (options->roots != NULL) {
        how.root = tpm ? options->roots->nitro_tpm : options->roots->nitro_enclave;
    }
    int rc = error_prefix(err, dstack_nitro_verify(bytes_of_buf(&a->evidence), &how, verdict, err),
                          tpm ? "NitroTPM attestation verification failed"
                              : "NSM attestation verification failed");
    if (rc == 0 && verdict->user_data_len != sizeof a->report_data) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "%s attestation document does not contain user_data of 64 bytes",
                       tpm ? "NitroTPM" : "NSM");
    }
    return rc;
}

/* ---- enclave ---- */

/* The document has no register that grows: what the events say is the sender's word, and stays out
 * of an identity that others decide by unless they ask for it. */
static int identity_of_enclave(const dstack_attestation *a, const dstack_nitro_verdict *v,
                               const dstack_attestation_options *options, dstack_identity *out,
                               dstack_error *err) {
    const dstack_bytes image = bytes_of(v->image_hash, sizeof v->image_hash);
    const dstack_bytes module =
        bytes_of(v->module_id, strcspn(v->module_id, "-")); /* as the reference system counts */
    int rc = 0;
    *out = (dstack_identity){0};
    if (options->self_asserted_identity) {
        rc = attest_identity_events(a->runtime, options->boot_time, out, err);
    }
    set_hash(&out->device_id, &module, 1);
    rc = rc == 0 ? attest_value_set(&out->mr_system, image, "mr_system", err) : rc;
    rc = rc == 0 ? attest_value_set(&out->mr_aggregated, image, "mr_aggregated", err) : rc;
    return rc == 0 ? attest_value_set(&out->compose_hash, image, "compose_hash", err) : rc;
}

int verify_nitro(dstack_verifier *verifier, const dstack_attestation *a,
                 const dstack_attestation_options *options, dstack_verified *verified,
                 dstack_error *err) {
    (void)verifier;
    DSTACK_AUTO(json) json_t *vm_config = NULL;
    dstack_nitro_verdict *v = &verified->nitro;
    dstack_identity *id = &verified->identity;
    int rc = check_document(a, false, options, v, err);
    if (rc == 0 && options->policy != NULL) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "a nitro enclave has no TCB status that a policy could allow");
    }
    if (rc == 0 && options->require_mr_config) {
        rc = error_set(err, DSTACK_E_REFUSED, "a nitro enclave has no MR_CONFIG_ID");
    }
    rc = rc == 0 ? verify_report_data(a, verified, "NSM", options, err) : rc;
    rc = rc == 0 ? attest_vm_config(options->vm_config, a->config, true, &vm_config, err) : rc;
    if (rc == 0) {
        rc = error_prefix(err, identity_of_enclave(a, v, options, id, err), "decode app info");
    }
    rc = rc == 0 ? attest_vm_config_image_hash(vm_config, &id->os_image_hash, err) : rc;
    const dstack_image_question question = {.image_hash = v->image_hash};
    rc = rc == 0 ? verify_image(&question, vm_config, options, verified, err) : rc;
    /* the hash is over PCRs that are signed: it is measured, stated or not */
    const dstack_bytes image = bytes_of(v->image_hash, sizeof v->image_hash);
    if (rc == 0 && id->os_image_hash.len > 0 &&
        !bytes_equal(attest_value(&id->os_image_hash), image)) {
        rc = error_set(err, DSTACK_E_REFUSED, "os_image_hash is not that of the enclave's PCRs");
    }
    verified->image_anchor = DSTACK_ANCHOR_MEASURED;
    return rc == 0 ? attest_value_set(&id->os_image_hash, image, "os_image_hash", err) : rc;
}

/* ---- NitroTPM ---- */

static int check_runtime(const dstack_attestation *a, const dstack_nitro_verdict *v,
                         dstack_error *err) {
    uint8_t replayed[DSTACK_REGISTER_SIZE];
    char q[2 * DSTACK_REGISTER_SIZE + 1], r[2 * DSTACK_REGISTER_SIZE + 1];
    int rc = dstack_event_log_replay_runtime(a->runtime, NULL, replayed, err);
    if (rc == 0 && ((v->pcr_mask >> PCR_RUNTIME & 1) == 0 ||
                    !bytes_equal(pcr(v, PCR_RUNTIME), bytes_of(replayed, sizeof replayed)))) {
        hex_encode(pcr(v, PCR_RUNTIME), q);
        hex_encode(bytes_of(replayed, sizeof replayed), r);
        rc = error_set(err, DSTACK_E_REFUSED, "PCR14 mismatch, quoted: %s, replayed: %s", q, r);
    }
    rc = error_prefix(err, rc, "NitroTPM attestation verification failed");
    return rc == 0 ? verify_claims(a->runtime, err) : rc;
}

static int identity_of_instance(const dstack_attestation *a, const dstack_nitro_verdict *v,
                                const dstack_attestation_options *options, dstack_identity *out,
                                dstack_error *err) {
    const dstack_bytes module = bytes_of(v->module_id, strlen(v->module_id));
    uint8_t provider[HASH_SHA256_SIZE] = {0}, runtime[DSTACK_REGISTER_SIZE];
    const dstack_bytes info = attest_claim(a->runtime, "key-provider");
    *out = (dstack_identity){0};
    int rc = attest_identity_events(a->runtime, options->boot_time, out, err);
    rc = rc == 0 ? dstack_event_log_replay_runtime(
                       a->runtime, options->boot_time ? "boot-mr-done" : NULL, runtime, err)
                 : rc;
    if (rc != 0) {
        return rc;
    }
    if (info.len > 0 && !options->boot_time) {
        hash_sha256(info, provider);
    }
    dstack_bytes parts[4] = {pcr(v, 4), pcr(v, 7), pcr(v, 12), bytes_of(provider, sizeof provider)};
    set_hash(&out->mr_system, parts, 4);
    parts[3] = bytes_of(runtime, sizeof runtime);
    set_hash(&out->mr_aggregated, parts, 4);
    set_hash(&out->device_id, &module, 1);
    return 0;
}

/* PCR8 after its one extension by a version 2 configuration id. */
static int config_pcr(const dstack_mr_config *config, uint8_t out[48], dstack_error *err) {
    static const uint8_t zero[48] = {0};
    uint8_t id[DSTACK_REGISTER_SIZE];
    int rc = dstack_mr_config_id(config, 2, id, err);
    const dstack_bytes parts[2] = {bytes_of(zero, sizeof zero), bytes_of(id, sizeof id)};
    if (rc == 0) {
        hash_parts(HASH_SHA384, parts, 2, out);
    }
    return rc;
}

/* Measured code extended PCR8 by what it found: app, compose file and the provider that the manifest
 * pins, which may be none. */
static int check_config(const dstack_attestation *a, const dstack_nitro_verdict *v,
                        const dstack_attestation_options *options, bool *bound, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf provider_id = {0};
    dstack_identity told = {0};
    char provider[32] = "none";
    uint8_t expected[48];
    dstack_mr_config local = {.app_id = attest_claim(a->runtime, "app-id"),
                              .compose_hash = attest_claim(a->runtime, "compose-hash")};
    *bound = false;
    int rc = attest_identity_events(a->runtime, false, &told, err);
    if (rc == 0 && told.key_provider_info[0] != '\0') {
        rc = dstack_identity_key_provider(&told, provider, &provider_id, err);
    }
    if (rc == 0 && verify_provider_kind(provider, &local.key_provider) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "unknown key provider");
    }
    for (int pinned = 0; rc == 0 && pinned < 2 && !*bound; pinned++) {
        local.key_provider_id = pinned != 0 ? bytes_of_buf(&provider_id) : (dstack_bytes){0};
        rc = config_pcr(&local, expected, err);
        *bound = rc == 0 && (v->pcr_mask >> PCR_CONFIG & 1) != 0 &&
                 bytes_equal(pcr(v, PCR_CONFIG), bytes_of(expected, sizeof expected));
    }
    if (rc == 0 && options->require_mr_config && !*bound) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "PCR8 does not hold the configuration id, and policy requires it");
    }
    return rc;
}

int verify_nitro_tpm(dstack_verifier *verifier, const dstack_attestation *a,
                     const dstack_attestation_options *options, dstack_verified *verified,
                     dstack_error *err) {
    (void)verifier;
    DSTACK_AUTO(json) json_t *vm_config = NULL;
    dstack_nitro_verdict *v = &verified->nitro;
    const uint32_t boot = UINT32_C(1) << 4 | UINT32_C(1) << 7 | UINT32_C(1) << 12;
    int rc = check_document(a, true, options, v, err);
    if (rc == 0 && (v->pcr_mask & boot) != boot) {
        rc = error_set(err, DSTACK_E_REFUSED, "NitroTPM document lacks PCR4, PCR7 or PCR12");
    }
    rc = rc == 0 ? verify_report_data(a, verified, "NitroTPM", options, err) : rc;
    rc = rc == 0 ? check_runtime(a, v, err) : rc;
    rc = rc == 0 ? check_config(a, v, options, &verified->mr_config_bound, err) : rc;
    rc = rc == 0 ? attest_vm_config(options->vm_config, a->config, true, &vm_config, err) : rc;
    if (rc == 0) {
        rc = error_prefix(err, identity_of_instance(a, v, options, &verified->identity, err),
                          "decode app info");
    }
    if (rc == 0) {
        rc = attest_vm_config_image_hash(vm_config, &verified->identity.os_image_hash, err);
    }
    const dstack_image_question question = {.boot_pcrs = {v->pcrs[4], v->pcrs[7], v->pcrs[12]}};
    return rc == 0 ? verify_image(&question, vm_config, options, verified, err) : rc;
}
