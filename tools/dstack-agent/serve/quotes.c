#include "serve/quotes.h"
#include "serve/shared_evidence.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "evidence.h"
#include "guest_v1.pb-c.h"
#include "serve/guard.h"

#define GPU_EVIDENCE_FILE "/run/nvidia-gpu-attestation/attestation.out"
#define GPU_EVIDENCE_MAX ((size_t)16 << 20)
/* EV_PLATFORM_CONFIG_FLAGS (TCG PC Client Platform Firmware Profile): how firmware logs ACPI data. */
#define EVENT_PLATFORM_CONFIG 10

static bool is_acpi_marker(const dstack_event *event) {
    return event->imr == 0 && event->type == EVENT_PLATFORM_CONFIG && event->payload.len == 9 &&
           memcmp(event->payload.data, "ACPI DATA", 9) == 0;
}

/* Runtime events keep their payload, of which the digest follows (version 2 keeps both); events of
 * firmware and loader keep their digest, for their payload is large and public. */
int quote_event_log(const dstack_event_log *full, bool keep_all, dstack_buf *out,
                    dstack_error *err) {
    if (keep_all) {
        return dstack_event_log_to_json(full, out, err);
    }
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    if (log == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    dstack_event event;
    for (size_t i = 0; dstack_event_log_get(full, i, &event); i++) {
        if (event.type == DSTACK_RUNTIME_EVENT_TYPE) {
            if (event.version == 1) {
                event.digest = (dstack_bytes){0};
            }
        } else if (!is_acpi_marker(&event)) {
            event.payload = (dstack_bytes){0};
        }
        int rc = dstack_event_log_add(log, &event, err);
        if (rc != 0) {
            return rc;
        }
    }
    return dstack_event_log_to_json(log, out, err);
}

/* Quote and log of one attestation. */
static int take(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                shared_evidence **evidence, dstack_buf *log, dstack_error *err) {
    int rc = shared_evidence_get(a, report_data, evidence, err);
    if (rc != 0) {
        return error_prefix(err, rc, "Failed to get quote");
    }
    const dstack_attestation *attestation = shared_evidence_peek(*evidence);
    if (dstack_attestation_variant(attestation) != DSTACK_TEE_TDX) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "Failed to get quote: not a TDX platform, use Attest");
    }
    return quote_event_log(dstack_attestation_event_log(attestation), a->full_log, log, err);
}

int quote_answer(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                 DstackGuest__GetQuoteResponse *out, dstack_error *err) {
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf log = {0};
    int rc = take(a, report_data, &evidence, &log, err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_bytes(&out->quote, dstack_attestation_evidence(shared_evidence_peek(evidence)));
    rpc_set_str(&out->event_log, buf_text(&log));
    rpc_set_bytes(&out->report_data, bytes_of(report_data, DSTACK_REPORT_DATA_SIZE));
    rpc_set_str(&out->vm_config, a->vm_config);
    return 0;
}

static int pad(ProtobufCBinaryData given, uint8_t out[DSTACK_REPORT_DATA_SIZE], const char *text,
               dstack_error *err) {
    int rc = dstack_report_data_pad(bytes_of(given.data, given.len), out, NULL);
    return rc != 0 ? error_set(err, DSTACK_E_ARGUMENT, "%s", text) : 0;
}

int v0_get_quote(rpc_call *call, dstack_error *err) {
    const DstackGuest__RawQuoteArgs *args = (const void *)call->request;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = guard_right_of(call, GUARD_ATTEST, err);
    rc = rc != 0 ? rc : pad(args->report_data, report_data, "Report data is too long", err);
    return rc != 0 ? rc : quote_answer(call->app, report_data, (void *)call->response, err);
}

int v0_attest(rpc_call *call, dstack_error *err) {
    const DstackGuest__RawQuoteArgs *args = (const void *)call->request;
    DstackGuest__AttestResponse *out = (void *)call->response;
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc;
    if ((rc = guard_right_of(call, GUARD_ATTEST, err)) != 0 ||
        (rc = pad(args->report_data, report_data, "Report data is too long", err)) != 0) {
        return rc;
    }
    if ((rc = shared_evidence_get(call->app, report_data, &evidence, err)) != 0 ||
        (rc = dstack_attestation_encode(shared_evidence_peek(evidence),
                                        DSTACK_ATTESTATION_LEGACY_CHOICE, &encoded, err)) != 0) {
        return error_prefix(err, rc, "Failed to get attestation");
    }
    rpc_set_bytes(&out->attestation, bytes_of_buf(&encoded));
    return 0;
}

static void gpu_evidence_add(Dstack__Guest__V1__AttestResponse *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read(GPU_EVIDENCE_FILE, GPU_EVIDENCE_MAX, &text, NULL) != 0) {
        return;
    }
    Dstack__Guest__V1__GpuEvidenceBundle *bundle =
        (void *)rpc_add_message(&out->n_boottime_gpu_evidence, &out->boottime_gpu_evidence,
                                &dstack__guest__v1__gpu_evidence_bundle__descriptor);
    if (bundle != NULL) {
        rpc_set_str(&bundle->vendor, "nvidia");
        rpc_set_str(&bundle->format, "nvidia-nvattest-boottime-json-v1");
        rpc_set_bytes(&bundle->evidence, bytes_of_buf(&text));
    }
}

int v1_attest(rpc_call *call, dstack_error *err) {
    const Dstack__Guest__V1__AttestRequest *args = (const void *)call->request;
    Dstack__Guest__V1__AttestResponse *out = (void *)call->response;
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc;
    if ((rc = guard_right_of(call, GUARD_ATTEST, err)) != 0 ||
        (rc = pad(args->report_data, report_data, "report data is too long", err)) != 0 ||
        (rc = shared_evidence_get(call->app, report_data, &evidence, err)) != 0 ||
        (rc = dstack_attestation_encode(shared_evidence_peek(evidence), DSTACK_ATTESTATION_V1,
                                        &encoded, err)) != 0) {
        return rc;
    }
    rpc_set_bytes(&out->attestation, bytes_of_buf(&encoded));
    if (args->include_boottime_gpu_evidence) {
        gpu_evidence_add(out);
    }
    return 0;
}

int v1_attest_gpu(rpc_call *call, dstack_error *err) {
    const Dstack__Guest__V1__AttestGpuRequest *args = (const void *)call->request;
    int rc = guard_right_of(call, GUARD_ATTEST, err);
    if (rc != 0) {
        return rc;
    }
    if (args->nonce.len != 32) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "GPU attestation failed: nonce must be exactly 32 bytes, got %zu",
                         args->nonce.len);
    }
    call->http_status = 501;
    return error_set(err, DSTACK_E_UNSUPPORTED,
                     "GPU attestation failed: GPU attestation is not available in this image");
}

static int tappd_quote(rpc_call *call, ProtobufCBinaryData data, const char *algorithm,
                       const char *prefix, dstack_error *err) {
    agent *a = call->app;
    DstackGuest__TdxQuoteResponse *out = (void *)call->response;
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf log = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = guard_right_of(call, GUARD_ATTEST, err);
    if (rc != 0) {
        return rc;
    }
    bool raw = strcmp(algorithm, "raw") == 0;
    const char *effective = algorithm[0] == '\0' ? "sha512" : algorithm;
    const char *tag = raw ? "" : prefix[0] == '\0' ? "app-data" : prefix;
    if (dstack_report_data(tag, effective, bytes_of(data.data, data.len), report_data, NULL) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         raw ? "invalid content length" : "invalid hash algorithm");
    }
    rc = take(a, report_data, &evidence, &log, err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_bytes(&out->quote, dstack_attestation_evidence(shared_evidence_peek(evidence)));
    rpc_set_str(&out->event_log, buf_text(&log));
    rpc_set_str(&out->hash_algorithm, effective);
    rpc_set_str(&out->prefix, tag);
    return 0;
}

int tappd_tdx_quote(rpc_call *call, dstack_error *err) {
    const DstackGuest__TdxQuoteArgs *args = (const void *)call->request;
    return tappd_quote(call, args->report_data, args->hash_algorithm, args->prefix, err);
}

int tappd_raw_quote(rpc_call *call, dstack_error *err) {
    const DstackGuest__RawQuoteArgs *args = (const void *)call->request;
    return tappd_quote(call, args->report_data, "raw", "", err);
}
