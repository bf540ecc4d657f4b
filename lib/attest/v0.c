/* Version 0 of the envelope: SCALE. */
#include <string.h>

#include "attest/attest.h"
#include "attest/scale.h"
#include "base/error.h"

static int cut_short(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "attestation: %s is malformed or cut short", what);
}

static int read_bytes(cursor *c, dstack_buf *out, const char *what, dstack_error *err) {
    dstack_bytes bytes = scale_bytes(c);
    return cursor_ok(c) ? attest_copy(bytes, out, err) : cut_short(what, err);
}

static int read_text(cursor *c, char **out, const char *what, dstack_error *err) {
    dstack_bytes bytes = scale_bytes(c);
    return cursor_ok(c) ? attest_text(bytes, what, out, err) : cut_short(what, err);
}

static int add(dstack_event_log *log, dstack_event *event, dstack_bytes name, dstack_error *err) {
    DSTACK_AUTO(str) char *text = NULL;
    int rc = attest_text(name, "event name", &text, err);
    if (rc == 0) {
        event->name = text;
        event->version = 1;
        rc = dstack_event_log_add(log, event, err);
    }
    return rc;
}

static int read_tdx_events(cursor *c, dstack_event_log *log, dstack_error *err) {
    size_t count = scale_compact(c);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        dstack_event event = {.imr = cursor_u32le(c), .type = cursor_u32le(c)};
        event.digest = scale_bytes(c);
        dstack_bytes name = scale_bytes(c);
        event.payload = scale_bytes(c);
        rc = cursor_ok(c) ? add(log, &event, name, err) : cut_short("event log", err);
    }
    return rc == 0 && !cursor_ok(c) ? cut_short("event log", err) : rc;
}

static int read_runtime_events(cursor *c, dstack_event_log *log, dstack_error *err) {
    size_t count = scale_compact(c);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        dstack_event event = {.imr = DSTACK_RUNTIME_REGISTER, .type = DSTACK_RUNTIME_EVENT_TYPE};
        dstack_bytes name = scale_bytes(c);
        event.payload = scale_bytes(c);
        rc = cursor_ok(c) ? add(log, &event, name, err) : cut_short("runtime events", err);
    }
    return rc == 0 && !cursor_ok(c) ? cut_short("runtime events", err) : rc;
}

static int read_pcrs(cursor *c, attest_tpm_quote *tpm, dstack_error *err) {
    size_t count = scale_compact(c);
    tpm->pcrs = attest_array(count, sizeof *tpm->pcrs, "TPM registers", err);
    int rc = tpm->pcrs == NULL ? DSTACK_E_LIMIT : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        attest_pcr_value *pcr = &tpm->pcrs[tpm->pcr_count++];
        pcr->index = cursor_u32le(c);
        rc = read_text(c, &pcr->algorithm, "TPM register algorithm", err);
        if (rc == 0) {
            rc = read_bytes(c, &pcr->value, "TPM register", err);
        }
    }
    return rc;
}

static int read_tpm_events(cursor *c, attest_tpm_quote *tpm, dstack_error *err) {
    size_t count = scale_compact(c);
    tpm->events = attest_array(count, sizeof *tpm->events, "TPM events", err);
    int rc = tpm->events == NULL ? DSTACK_E_LIMIT : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        attest_tpm_event *event = &tpm->events[tpm->event_count++];
        event->pcr = cursor_u32le(c);
        rc = read_bytes(c, &event->digest, "TPM event", err);
    }
    return rc;
}

static int read_tpm(cursor *c, dstack_attestation *a, dstack_error *err) {
    attest_tpm_quote *tpm = a->tpm = calloc(1, sizeof *tpm);
    if (tpm == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a TPM quote");
    }
    int rc = read_bytes(c, &tpm->message, "TPM quote", err);
    if (rc == 0) {
        rc = read_bytes(c, &tpm->signature, "TPM signature", err);
    }
    if (rc == 0) {
        rc = read_pcrs(c, tpm, err);
    }
    if (rc == 0) {
        rc = read_bytes(c, &tpm->ak_cert, "TPM certificate", err);
    }
    if (rc == 0) {
        tpm->platform = cursor_u8(c);
        if (!cursor_ok(c) || tpm->platform >= ATTEST_TPM_PLATFORMS) {
            rc = cut_short("TPM platform", err);
        }
    }
    return rc == 0 ? read_tpm_events(c, tpm, err) : rc;
}

static int read_snp(cursor *c, dstack_attestation *a, dstack_error *err) {
    size_t count = scale_compact(c);
    if (count > ATTEST_CERTS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "attestation: %zu certificates, at most %d are read",
                         count, ATTEST_CERTS_MAX);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_bytes(c, &a->certs[a->cert_count++], "certificate", err);
    }
    return rc == 0 ? read_text(c, &a->mr_config, "mr_config", err) : rc;
}

static int read_platform(cursor *c, dstack_attestation *a, dstack_error *err) {
    int rc = read_bytes(c, &a->evidence, "evidence", err);
    if (rc == 0 && attest_variant_is_tdx(a->variant)) {
        rc = read_tdx_events(c, a->event_log, err);
    }
    if (rc == 0 && a->variant == DSTACK_TEE_GCP_TDX) {
        rc = read_tpm(c, a, err);
    }
    if (rc == 0 && a->variant == DSTACK_TEE_SEV_SNP) {
        rc = read_snp(c, a, err);
    }
    return rc;
}

int attest_v0_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err) {
    cursor c = cursor_init(encoded);
    uint8_t version = cursor_u8(&c), kind = cursor_u8(&c);
    if (!cursor_ok(&c) || version != 0 || kind > DSTACK_TEE_AWS_NITRO_TPM) {
        return error_set(err, DSTACK_E_FORMAT, "attestation: unknown kind of evidence");
    }
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new((dstack_tee_variant)kind, err);
    if (a == NULL) {
        return DSTACK_E_MEMORY;
    }
    a->decoded_form = DSTACK_ATTESTATION_V0;
    int rc = read_platform(&c, a, err);
    if (rc == 0) {
        rc = read_runtime_events(&c, a->runtime, err);
    }
    if (rc == 0) {
        cursor_copy(&c, a->report_data, sizeof a->report_data);
        rc = read_text(&c, &a->config, "config", err);
    }
    if (rc == 0 && !cursor_done(&c)) {
        rc = error_set(err, DSTACK_E_FORMAT, "attestation: %zu trailing bytes", cursor_left(&c));
    }
    if (rc == 0) {
        *out = a;
        a = NULL;
    }
    return rc;
}

static void put_buf(dstack_buf *out, const dstack_buf *bytes) {
    scale_put_bytes(out, bytes_of_buf(bytes));
}

static void put_tdx_events(dstack_buf *out, const dstack_event_log *log) {
    scale_put_compact(out, log->count);
    for (size_t i = 0; i < log->count; i++) {
        const attest_event *event = &log->events[i];
        buf_put_u32le(out, event->imr);
        buf_put_u32le(out, event->type);
        put_buf(out, &event->digest);
        scale_put_str(out, event->name);
        put_buf(out, &event->payload);
    }
}

static void put_tpm(dstack_buf *out, const attest_tpm_quote *tpm) {
    put_buf(out, &tpm->message);
    put_buf(out, &tpm->signature);
    scale_put_compact(out, tpm->pcr_count);
    for (size_t i = 0; i < tpm->pcr_count; i++) {
        buf_put_u32le(out, tpm->pcrs[i].index);
        scale_put_str(out, tpm->pcrs[i].algorithm);
        put_buf(out, &tpm->pcrs[i].value);
    }
    put_buf(out, &tpm->ak_cert);
    buf_put_u8(out, tpm->platform);
    scale_put_compact(out, tpm->event_count);
    for (size_t i = 0; i < tpm->event_count; i++) {
        buf_put_u32le(out, tpm->events[i].pcr);
        put_buf(out, &tpm->events[i].digest);
    }
}

static void put_platform(dstack_buf *out, const dstack_attestation *a) {
    put_buf(out, &a->evidence);
    if (attest_variant_is_tdx(a->variant)) {
        put_tdx_events(out, a->event_log);
    }
    if (a->variant == DSTACK_TEE_GCP_TDX) {
        put_tpm(out, a->tpm);
    }
    if (a->variant == DSTACK_TEE_SEV_SNP) {
        scale_put_compact(out, a->cert_count);
        for (size_t i = 0; i < a->cert_count; i++) {
            put_buf(out, &a->certs[i]);
        }
        scale_put_str(out, a->mr_config);
    }
}

int attest_v0_encode(const dstack_attestation *a, dstack_buf *out, dstack_error *err) {
    if (a->payload != NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "version 0 cannot carry a report data payload (dstack-pod)");
    }
    for (size_t i = 0; i < a->runtime->count; i++) {
        if (a->runtime->events[i].version != 1) {
            return error_set(err, DSTACK_E_UNSUPPORTED,
                             "version 0 cannot carry version 2 runtime events");
        }
    }
    buf_put_u8(out, 0);
    buf_put_u8(out, (uint8_t)a->variant);
    put_platform(out, a);
    scale_put_compact(out, a->runtime->count);
    for (size_t i = 0; i < a->runtime->count; i++) {
        scale_put_str(out, a->runtime->events[i].name);
        put_buf(out, &a->runtime->events[i].payload);
    }
    buf_put(out, a->report_data, sizeof a->report_data);
    scale_put_str(out, a->config);
    return buf_check(out, err);
}
