/* Application identity from registers and events. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/hash.h"

int attest_td_report_parse(dstack_bytes quote, const dstack_td_report **out, dstack_error *err) {
    dstack_quote parsed;
    int rc = dstack_quote_parse(&parsed, quote, err);
    if (rc == 0 && (parsed.tee_type != DSTACK_QUOTE_TEE_TDX || parsed.td == NULL)) {
        rc = error_set(err, DSTACK_E_FORMAT, "the quote holds no TD report");
    }
    if (rc == 0) {
        *out = parsed.td;
    }
    return rc;
}

int dstack_instance_id(dstack_bytes seed, dstack_bytes app_id, dstack_bytes binding,
                       uint8_t out[20], dstack_error *err) {
    if (app_id.len != 20) {
        return error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes, not %zu", app_id.len);
    }
    uint8_t digest[HASH_SHA256_SIZE];
    hash_parts(HASH_SHA256, (const dstack_bytes[]){seed, app_id, binding}, 3, digest);
    memcpy(out, digest, 20);
    return 0;
}

static dstack_bytes field(const uint8_t (*bytes)[DSTACK_REGISTER_SIZE]) {
    return bytes_of(*bytes, DSTACK_REGISTER_SIZE);
}

static void set_hash(dstack_value *value, const dstack_bytes *parts, size_t count) {
    *value = (dstack_value){.len = HASH_SHA256_SIZE};
    hash_parts(HASH_SHA256, parts, count, value->data);
}

/* mr_system and mr_aggregated. The host's three registers count only where one of them is set, so
 * that machines without them keep the value of before. */
static int measure(const attest_identity_input *in, dstack_identity *out, dstack_error *err) {
    const dstack_td_report *td = in->td;
    dstack_bytes provider =
        in->boot_time ? (dstack_bytes){0} : attest_claim(in->runtime, "key-provider");
    uint8_t provider_hash[HASH_SHA256_SIZE] = {0};
    if (provider.len > 0) {
        hash_sha256(provider, provider_hash);
    }
    uint8_t runtime[DSTACK_REGISTER_SIZE];
    int rc = dstack_event_log_replay_runtime(in->runtime, in->boot_time ? "boot-mr-done" : NULL,
                                             runtime, err);
    if (rc != 0) {
        return rc;
    }
    dstack_bytes parts[8] = {field(&td->mr_td), field(&td->rt_mr[0]), field(&td->rt_mr[1]),
                             field(&td->rt_mr[2]), bytes_of(provider_hash, sizeof provider_hash)};
    set_hash(&out->mr_system, parts, 5);
    parts[4] = bytes_of(runtime, sizeof runtime);
    parts[5] = field(&td->mr_config_id);
    parts[6] = field(&td->mr_owner);
    parts[7] = field(&td->mr_owner_config);
    bool host_set =
        !bytes_are_zero(parts[5]) || !bytes_are_zero(parts[6]) || !bytes_are_zero(parts[7]);
    set_hash(&out->mr_aggregated, parts, host_set ? 8 : 5);
    return 0;
}

static int collect_init_scripts(const dstack_event_log *runtime, dstack_identity *out,
                                dstack_error *err) {
    int rc = 0;
    out->has_init_scripts = true;
    for (size_t i = 0; rc == 0 && i < runtime->count; i++) {
        const attest_event *event = &runtime->events[i];
        if (!attest_event_is_runtime(event)) {
            continue;
        }
        if (strcmp(event->name, "system-ready") == 0) {
            break;
        }
        if (strcmp(event->name, "init-script-hash") != 0) {
            continue;
        }
        if (out->init_script_count == DSTACK_INIT_SCRIPTS_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "more than %d init scripts",
                             DSTACK_INIT_SCRIPTS_MAX);
        }
        rc = attest_value_set(&out->init_scripts[out->init_script_count++],
                              bytes_of_buf(&event->payload), "init-script-hash", err);
    }
    return rc;
}

static int set_provider_info(dstack_bytes info, dstack_identity *out, dstack_error *err) {
    if (info.len >= sizeof out->key_provider_info ||
        (info.len > 0 && memchr(info.data, 0, info.len) != NULL)) {
        return error_set(err, DSTACK_E_FORMAT, "key-provider of %zu bytes is not a short text",
                         info.len);
    }
    memset(out->key_provider_info, 0, sizeof out->key_provider_info);
    if (info.len > 0) {
        memcpy(out->key_provider_info, info.data, info.len);
    }
    return 0;
}

int attest_identity_events(const dstack_event_log *runtime, bool boot_time, dstack_identity *out,
                           dstack_error *err) {
    int rc = attest_value_set(&out->app_id, attest_claim(runtime, "app-id"), "app-id", err);
    if (rc == 0) {
        rc = attest_value_set(&out->compose_hash, attest_claim(runtime, "compose-hash"),
                              "compose-hash", err);
    }
    if (rc == 0) {
        rc = attest_value_set(&out->instance_id, attest_claim(runtime, "instance-id"),
                              "instance-id", err);
    }
    if (rc == 0 && !boot_time) {
        rc = set_provider_info(attest_claim(runtime, "key-provider"), out, err);
    }
    return rc == 0 ? collect_init_scripts(runtime, out, err) : rc;
}

int attest_identity_tdx(const attest_identity_input *in, dstack_identity *out, dstack_error *err) {
    *out = (dstack_identity){0};
    set_hash(&out->device_id, &in->device, 1);
    int rc = measure(in, out, err);
    if (rc == 0) {
        rc = attest_identity_events(in->runtime, in->boot_time, out, err);
    }
    return rc == 0 ? attest_vm_config_image_hash(in->vm_config, &out->os_image_hash, err) : rc;
}

int attest_identity_gcp(const attest_gcp_input *in, dstack_identity *out, dstack_error *err) {
    const dstack_bytes info =
        in->boot_time ? (dstack_bytes){0} : attest_claim(in->runtime, "key-provider");
    uint8_t provider[HASH_SHA256_SIZE] = {0}, runtime[HASH_SHA256_SIZE];
    *out = (dstack_identity){0};
    int rc = attest_vm_config_image_hash(in->vm_config, &out->os_image_hash, err);
    rc = rc == 0 ? attest_identity_events(in->runtime, in->boot_time, out, err) : rc;
    rc = rc == 0
             ? attest_replay_pcr14(in->runtime, in->boot_time ? "boot-mr-done" : NULL, runtime, err)
             : rc;
    if (rc != 0) {
        return rc;
    }
    if (info.len > 0) {
        hash_sha256(info, provider);
    }
    const dstack_bytes system[] = {attest_value(&out->os_image_hash),
                                   bytes_of(provider, sizeof provider)};
    const dstack_bytes all[] = {in->pcr0, in->pcr2, bytes_of(runtime, sizeof runtime)};
    set_hash(&out->mr_system, system, 2);
    set_hash(&out->mr_aggregated, all, 3);
    set_hash(&out->device_id, &in->device, 1);
    return 0;
}

static int identity_of_gcp(const dstack_attestation *a, bool boot_time, const json_t *vm_config,
                           dstack_identity *out, dstack_error *err) {
    const attest_gcp_input input = {.pcr0 = attest_tpm_pcr(a->tpm, 0),
                                    .pcr2 = attest_tpm_pcr(a->tpm, 2),
                                    .runtime = a->runtime,
                                    .vm_config = vm_config,
                                    .boot_time = boot_time};
    if (input.pcr0.len == 0 || input.pcr2.len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "the TPM quote has no PCR0 or PCR2");
    }
    return attest_identity_gcp(&input, out, err);
}

static int identity_of_tdx(const dstack_attestation *a, bool boot_time, const json_t *vm_config,
                           dstack_identity *out, dstack_error *err) {
    attest_identity_input input = {
        .runtime = a->runtime, .vm_config = vm_config, .boot_time = boot_time};
    int rc = attest_td_report_parse(bytes_of_buf(&a->evidence), &input.td, err);
    return rc == 0 ? attest_identity_tdx(&input, out, err) : rc;
}

static int identity_of_snp(const dstack_attestation *a, bool boot_time, const json_t *vm_config,
                           dstack_identity *out, dstack_error *err) {
    (void)boot_time;
    dstack_snp_report report;
    int rc = dstack_snp_report_parse(&report, bytes_of_buf(&a->evidence), err);
    return rc == 0 ? attest_identity_snp(&report, bytes_of_str(a->mr_config), vm_config, out, err)
                   : rc;
}

typedef int (*identity_of)(const dstack_attestation *a, bool boot_time, const json_t *vm_config,
                           dstack_identity *out, dstack_error *err);

static const identity_of identities[ATTEST_VARIANTS] = {
    [DSTACK_TEE_TDX] = identity_of_tdx,
    [DSTACK_TEE_GCP_TDX] = identity_of_gcp,
    [DSTACK_TEE_SEV_SNP] = identity_of_snp,
};

int dstack_attestation_identity(const dstack_attestation *a, bool boot_time, const char *vm_config,
                                dstack_identity *out, dstack_error *err) {
    if ((unsigned)a->variant >= ATTEST_VARIANTS || identities[a->variant] == NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "identity of %s evidence is not supported",
                         dstack_tee_variant_name(a->variant));
    }
    DSTACK_AUTO(json) json_t *config = NULL;
    int rc = attest_vm_config(vm_config, a->config, true, &config, err);
    return rc == 0 ? identities[a->variant](a, boot_time, config, out, err) : rc;
}

int dstack_identity_key_provider(const dstack_identity *identity, char name[32], dstack_buf *id,
                                 dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *info = json_parse(bytes_of_str(identity->key_provider_info),
                              sizeof identity->key_provider_info, "key provider", err);
    if (info == NULL) {
        return DSTACK_E_FORMAT;
    }
    const char *text = NULL;
    buf_reset(id);
    int rc = json_need_str(info, "name", &text, err);
    if (rc == 0 && strlen(text) >= 32) {
        rc = error_set(err, DSTACK_E_FORMAT, "the key provider's name is too long");
    }
    if (rc == 0) {
        strcpy(name, text);
        rc = json_hex_or_empty(info, "id", id, err);
    }
    return rc;
}
