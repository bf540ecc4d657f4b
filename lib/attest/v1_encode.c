/* Writing version 1 of the envelope: exactly the canonical form (order of keys, shortest lengths,
 * evidence as arrays of integers), since peers compare re-encodings. */
#include "attest/attest.h"
#include "attest/msgpack.h"
#include "base/error.h"

const attest_v1_name attest_v1_names[ATTEST_VARIANTS] = {
    [DSTACK_TEE_TDX] = {"tdx", "quote"},
    [DSTACK_TEE_GCP_TDX] = {"gcp-tdx", "quote"},
    [DSTACK_TEE_NITRO_ENCLAVE] = {"nitro-enclave", "nsm_quote"},
    [DSTACK_TEE_SEV_SNP] = {"sev-snp", "report"},
    [DSTACK_TEE_AWS_NITRO_TPM] = {"aws-nitro-tpm", "attestation_doc"},
};

static void key_bin(dstack_buf *out, const char *key, const dstack_buf *bytes) {
    msgpack_put_str(out, key);
    msgpack_put_bin(out, bytes_of_buf(bytes));
}

static void key_ints(dstack_buf *out, const char *key, dstack_bytes bytes) {
    msgpack_put_str(out, key);
    msgpack_put_ints(out, bytes);
}

static void key_uint(dstack_buf *out, const char *key, uint64_t value) {
    msgpack_put_str(out, key);
    msgpack_put_uint(out, value);
}

static void key_text(dstack_buf *out, const char *key, const char *text) {
    msgpack_put_str(out, key);
    msgpack_put_str(out, text);
}

static void put_event_log(dstack_buf *out, const dstack_event_log *log) {
    msgpack_put_str(out, "event_log");
    msgpack_put_array(out, log->count);
    for (size_t i = 0; i < log->count; i++) {
        const attest_event *event = &log->events[i];
        bool version = event->version != 1, preimage = event->preimage != NULL;
        msgpack_put_map(out, 5 + (size_t)version + (size_t)preimage);
        key_uint(out, "imr", event->imr);
        key_uint(out, "event_type", event->type);
        key_bin(out, "digest", &event->digest);
        key_text(out, "event", event->name);
        key_bin(out, "event_payload", &event->payload);
        if (version) {
            key_uint(out, "version", event->version);
        }
        if (preimage) {
            key_text(out, "preimage", event->preimage);
        }
    }
}

static void put_tpm(dstack_buf *out, const attest_tpm_quote *tpm) {
    msgpack_put_str(out, "tpm_quote");
    msgpack_put_map(out, 6);
    key_bin(out, "message", &tpm->message);
    key_bin(out, "signature", &tpm->signature);
    msgpack_put_str(out, "pcr_values");
    msgpack_put_array(out, tpm->pcr_count);
    for (size_t i = 0; i < tpm->pcr_count; i++) {
        msgpack_put_map(out, 3);
        key_uint(out, "index", tpm->pcrs[i].index);
        key_text(out, "algorithm", tpm->pcrs[i].algorithm);
        key_bin(out, "value", &tpm->pcrs[i].value);
    }
    key_bin(out, "ak_cert", &tpm->ak_cert);
    key_text(out, "platform", attest_tpm_platform_names[tpm->platform]);
    msgpack_put_str(out, "event_log");
    msgpack_put_array(out, tpm->event_count);
    for (size_t i = 0; i < tpm->event_count; i++) {
        msgpack_put_map(out, 2);
        key_uint(out, "pcr_index", tpm->events[i].pcr);
        key_bin(out, "digest", &tpm->events[i].digest);
    }
}

static void put_platform(dstack_buf *out, const dstack_attestation *a) {
    bool tdx = attest_variant_is_tdx(a->variant), gcp = a->variant == DSTACK_TEE_GCP_TDX;
    bool snp = a->variant == DSTACK_TEE_SEV_SNP;
    msgpack_put_str(out, "platform");
    msgpack_put_map(out, 2);
    key_text(out, "kind", attest_v1_names[a->variant].kind);
    msgpack_put_str(out, "data");
    msgpack_put_map(out, 1 + (size_t)tdx + (size_t)gcp + (snp ? 2u : 0u));
    key_ints(out, attest_v1_names[a->variant].evidence, bytes_of_buf(&a->evidence));
    if (tdx) {
        put_event_log(out, a->event_log);
    }
    if (gcp) {
        put_tpm(out, a->tpm);
    }
    if (snp) {
        msgpack_put_str(out, "cert_chain");
        msgpack_put_array(out, a->cert_count);
        for (size_t i = 0; i < a->cert_count; i++) {
            msgpack_put_ints(out, bytes_of_buf(&a->certs[i]));
        }
        key_text(out, "mr_config", a->mr_config);
    }
}

static void put_stack(dstack_buf *out, const dstack_attestation *a) {
    msgpack_put_str(out, "stack");
    msgpack_put_map(out, 2);
    key_text(out, "kind", a->payload == NULL ? "dstack" : "dstack-pod");
    msgpack_put_str(out, "data");
    msgpack_put_map(out, a->payload == NULL ? 3 : 4);
    key_ints(out, "report_data", bytes_of(a->report_data, sizeof a->report_data));
    msgpack_put_str(out, "runtime_events");
    msgpack_put_array(out, a->runtime->count);
    for (size_t i = 0; i < a->runtime->count; i++) {
        const attest_event *event = &a->runtime->events[i];
        msgpack_put_map(out, event->version == 1 ? 2 : 3);
        key_text(out, "event", event->name);
        key_bin(out, "payload", &event->payload);
        if (event->version != 1) {
            key_uint(out, "version", event->version);
        }
    }
    key_text(out, "config", a->config);
    if (a->payload != NULL) {
        key_text(out, "report_data_payload", a->payload);
    }
}

int attest_v1_encode(const dstack_attestation *a, dstack_buf *out, dstack_error *err) {
    msgpack_put_map(out, 3);
    key_uint(out, "version", 1);
    put_platform(out, a);
    put_stack(out, a);
    return buf_check(out, err);
}
