/* Reading version 1 of the envelope: MessagePack maps. Every map is read through a table of its
 * keys, so that order does not matter, unknown keys are passed over, and a repeated key is refused.
 */
#include <string.h>

#include "attest/attest.h"
#include "attest/msgpack.h"
#include "base/error.h"

#define FIELDS_MAX 8

static int malformed(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "attestation: %s is malformed or cut short", what);
}

/* Finds the values of the named keys: fields[i] is left at the value of names[i], its len 0 and
 * data NULL where the map has no such key. Bit i of required asks for names[i]. */
static int read_map(cursor *c, const char *what, const char *const *names, unsigned required,
                    cursor fields[FIELDS_MAX], dstack_error *err) {
    size_t pairs = msgpack_map(c);
    unsigned seen = 0;
    memset(fields, 0, sizeof(cursor) * FIELDS_MAX);
    for (size_t i = 0; i < pairs && cursor_ok(c); i++) {
        dstack_bytes key = msgpack_text(c);
        size_t start = c->pos;
        msgpack_skip(c);
        for (size_t n = 0; cursor_ok(c) && names[n] != NULL; n++) {
            if (!bytes_equal_str(key, names[n])) {
                continue;
            }
            if (seen & 1u << n) {
                return error_set(err, DSTACK_E_FORMAT, "attestation: %s has key %s twice", what,
                                 names[n]);
            }
            seen |= 1u << n;
            fields[n] = cursor_init(bytes_of(c->data + start, c->pos - start));
        }
    }
    if (!cursor_ok(c)) {
        return malformed(what, err);
    }
    for (size_t n = 0; names[n] != NULL; n++) {
        if (required & 1u << n && !(seen & 1u << n)) {
            return error_set(err, DSTACK_E_FORMAT, "attestation: %s lacks %s", what, names[n]);
        }
    }
    return 0;
}

static bool given(const cursor *field) {
    return field->data != NULL;
}

static int read_bytes(cursor *field, const char *what, dstack_buf *out, dstack_error *err) {
    msgpack_bytes(field, out);
    return cursor_done(field) ? buf_check(out, err) : malformed(what, err);
}

static int read_text(cursor *field, const char *what, char **out, dstack_error *err) {
    dstack_bytes text = msgpack_text(field);
    return cursor_done(field) ? attest_text(text, what, out, err) : malformed(what, err);
}

static int read_u32(cursor *field, const char *what, uint32_t *out, dstack_error *err) {
    uint64_t value = msgpack_uint(field);
    *out = (uint32_t)value;
    return cursor_done(field) && value <= UINT32_MAX ? 0 : malformed(what, err);
}

static int read_event(cursor *c, dstack_event_log *log, dstack_error *err) {
    static const char *const names[] = {"imr",    "event_type", "event",    "event_payload",
                                        "digest", "version",    "preimage", NULL};
    enum { IMR, TYPE, NAME, PAYLOAD, DIGEST, VERSION, PREIMAGE };
    cursor f[FIELDS_MAX];
    dstack_event event = {.version = 1};
    DSTACK_AUTO(str) char *name = NULL;
    DSTACK_AUTO(str) char *preimage = NULL;
    DSTACK_AUTO(buf) dstack_buf payload = {0};
    DSTACK_AUTO(buf) dstack_buf digest = {0};
    int rc = read_map(c, "event", names, 0xf, f, err);
    if (rc == 0) {
        rc = read_u32(&f[IMR], "imr", &event.imr, err);
    }
    if (rc == 0) {
        rc = read_u32(&f[TYPE], "event_type", &event.type, err);
    }
    if (rc == 0) {
        rc = read_text(&f[NAME], "event", &name, err);
    }
    if (rc == 0) {
        rc = read_bytes(&f[PAYLOAD], "event_payload", &payload, err);
    }
    if (rc == 0 && given(&f[DIGEST])) {
        rc = read_bytes(&f[DIGEST], "digest", &digest, err);
    }
    if (rc == 0 && given(&f[VERSION])) {
        rc = read_u32(&f[VERSION], "version", &event.version, err);
    }
    if (rc == 0 && given(&f[PREIMAGE]) && !msgpack_nil(&f[PREIMAGE])) {
        rc = read_text(&f[PREIMAGE], "preimage", &preimage, err);
    }
    if (rc == 0) {
        event.name = name;
        event.preimage = preimage;
        event.payload = bytes_of_buf(&payload);
        event.digest = bytes_of_buf(&digest);
        rc = dstack_event_log_add(log, &event, err);
    }
    return rc;
}

static int read_runtime_event(cursor *c, dstack_event_log *log, dstack_error *err) {
    static const char *const names[] = {"event", "payload", "version", NULL};
    cursor f[FIELDS_MAX];
    uint32_t version = 1;
    DSTACK_AUTO(str) char *name = NULL;
    DSTACK_AUTO(buf) dstack_buf payload = {0};
    int rc = read_map(c, "runtime event", names, 0x3, f, err);
    if (rc == 0) {
        rc = read_text(&f[0], "event", &name, err);
    }
    if (rc == 0) {
        rc = read_bytes(&f[1], "payload", &payload, err);
    }
    if (rc == 0 && given(&f[2])) {
        rc = read_u32(&f[2], "version", &version, err);
    }
    if (rc == 0) {
        rc = dstack_event_log_add_runtime(log, name, bytes_of_buf(&payload), version, err);
    }
    return rc;
}

static int read_events(cursor *field, const char *what,
                       int (*read)(cursor *, dstack_event_log *, dstack_error *),
                       dstack_event_log *log, dstack_error *err) {
    size_t count = msgpack_array(field);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read(field, log, err);
    }
    return rc == 0 && !cursor_done(field) ? malformed(what, err) : rc;
}

static int read_pcrs(cursor *field, attest_tpm_quote *tpm, dstack_error *err) {
    static const char *const names[] = {"index", "algorithm", "value", NULL};
    size_t count = msgpack_array(field);
    tpm->pcrs = attest_array(count, sizeof *tpm->pcrs, "TPM registers", err);
    int rc = tpm->pcrs == NULL ? DSTACK_E_LIMIT : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        attest_pcr_value *pcr = &tpm->pcrs[tpm->pcr_count++];
        cursor f[FIELDS_MAX];
        rc = read_map(field, "TPM register", names, 0x7, f, err);
        if (rc == 0) {
            rc = read_u32(&f[0], "index", &pcr->index, err);
        }
        if (rc == 0) {
            rc = read_text(&f[1], "algorithm", &pcr->algorithm, err);
        }
        if (rc == 0) {
            rc = read_bytes(&f[2], "value", &pcr->value, err);
        }
    }
    return rc == 0 && !cursor_done(field) ? malformed("pcr_values", err) : rc;
}

static int read_tpm_events(cursor *field, attest_tpm_quote *tpm, dstack_error *err) {
    static const char *const names[] = {"pcr_index", "digest", NULL};
    size_t count = msgpack_array(field);
    tpm->events = attest_array(count, sizeof *tpm->events, "TPM events", err);
    int rc = tpm->events == NULL ? DSTACK_E_LIMIT : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        attest_tpm_event *event = &tpm->events[tpm->event_count++];
        cursor f[FIELDS_MAX];
        rc = read_map(field, "TPM event", names, 0x3, f, err);
        if (rc == 0) {
            rc = read_u32(&f[0], "pcr_index", &event->pcr, err);
        }
        if (rc == 0) {
            rc = read_bytes(&f[1], "digest", &event->digest, err);
        }
    }
    return rc == 0 && !cursor_done(field) ? malformed("TPM event log", err) : rc;
}

static int read_tpm_platform(cursor *field, uint8_t *out, dstack_error *err) {
    dstack_bytes text = msgpack_text(field);
    for (uint8_t i = 0; cursor_done(field) && i < ATTEST_TPM_PLATFORMS; i++) {
        if (bytes_equal_str(text, attest_tpm_platform_names[i])) {
            *out = i;
            return 0;
        }
    }
    return malformed("TPM platform", err);
}

static int read_tpm(cursor *field, dstack_attestation *a, dstack_error *err) {
    static const char *const names[] = {"message",  "signature", "pcr_values", "ak_cert",
                                        "platform", "event_log", NULL};
    cursor f[FIELDS_MAX];
    attest_tpm_quote *tpm = a->tpm = calloc(1, sizeof *tpm);
    if (tpm == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a TPM quote");
    }
    int rc = read_map(field, "TPM quote", names, 0x3f, f, err);
    if (rc == 0) {
        rc = read_bytes(&f[0], "message", &tpm->message, err);
    }
    if (rc == 0) {
        rc = read_bytes(&f[1], "signature", &tpm->signature, err);
    }
    if (rc == 0) {
        rc = read_pcrs(&f[2], tpm, err);
    }
    if (rc == 0) {
        rc = read_bytes(&f[3], "ak_cert", &tpm->ak_cert, err);
    }
    if (rc == 0) {
        rc = read_tpm_platform(&f[4], &tpm->platform, err);
    }
    return rc == 0 ? read_tpm_events(&f[5], tpm, err) : rc;
}

static int read_certs(cursor *field, dstack_attestation *a, dstack_error *err) {
    size_t count = msgpack_array(field);
    if (count > ATTEST_CERTS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "attestation: %zu certificates, at most %d are read",
                         count, ATTEST_CERTS_MAX);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        msgpack_bytes(field, &a->certs[a->cert_count]);
        rc = buf_check(&a->certs[a->cert_count++], err);
    }
    return rc == 0 && !cursor_done(field) ? malformed("cert_chain", err) : rc;
}

static int read_platform_data(cursor *data, dstack_attestation *a, dstack_error *err) {
    const char *names[] = {attest_v1_names[a->variant].evidence, NULL, NULL, NULL};
    if (attest_variant_is_tdx(a->variant)) {
        names[1] = "event_log";
        names[2] = a->variant == DSTACK_TEE_GCP_TDX ? "tpm_quote" : NULL;
    } else if (a->variant == DSTACK_TEE_SEV_SNP) {
        names[1] = "cert_chain";
        names[2] = "mr_config";
    }
    cursor f[FIELDS_MAX];
    int rc = read_map(data, "platform", names, 0x7, f, err);
    if (rc == 0) {
        rc = read_bytes(&f[0], names[0], &a->evidence, err);
    }
    if (rc == 0 && attest_variant_is_tdx(a->variant)) {
        rc = read_events(&f[1], "event_log", read_event, a->event_log, err);
    }
    if (rc == 0 && a->variant == DSTACK_TEE_GCP_TDX) {
        rc = read_tpm(&f[2], a, err);
    }
    if (rc == 0 && a->variant == DSTACK_TEE_SEV_SNP) {
        rc = read_certs(&f[1], a, err);
    }
    if (rc == 0 && a->variant == DSTACK_TEE_SEV_SNP) {
        rc = read_text(&f[2], "mr_config", &a->mr_config, err);
    }
    return rc;
}

static int read_stack(cursor *stack, dstack_attestation *a, dstack_error *err) {
    static const char *const outer[] = {"kind", "data", NULL};
    static const char *const names[] = {"report_data", "runtime_events", "config",
                                        "report_data_payload", NULL};
    cursor o[FIELDS_MAX], f[FIELDS_MAX];
    int rc = read_map(stack, "stack", outer, 0x3, o, err);
    if (rc != 0) {
        return rc;
    }
    dstack_bytes kind = msgpack_text(&o[0]);
    bool pod = bytes_equal_str(kind, "dstack-pod");
    if (!cursor_done(&o[0]) || (!pod && !bytes_equal_str(kind, "dstack"))) {
        return error_set(err, DSTACK_E_FORMAT, "attestation: unknown kind of stack");
    }
    DSTACK_AUTO(buf) dstack_buf report_data = {0};
    rc = read_map(&o[1], "stack", names, pod ? 0xf : 0x7, f, err);
    if (rc == 0) {
        rc = read_bytes(&f[0], "report_data", &report_data, err);
    }
    if (rc == 0 && report_data.len != sizeof a->report_data) {
        rc = error_set(err, DSTACK_E_FORMAT, "attestation: report_data must be 64 bytes");
    }
    if (rc == 0) {
        memcpy(a->report_data, report_data.data, sizeof a->report_data);
        rc = read_events(&f[1], "runtime_events", read_runtime_event, a->runtime, err);
    }
    if (rc == 0) {
        rc = read_text(&f[2], "config", &a->config, err);
    }
    return rc == 0 && pod ? read_text(&f[3], "report_data_payload", &a->payload, err) : rc;
}

static int read_kind(cursor *field, dstack_tee_variant *out, dstack_error *err) {
    dstack_bytes kind = msgpack_text(field);
    for (size_t i = 0; cursor_done(field) && i < ATTEST_VARIANTS; i++) {
        if (bytes_equal_str(kind, attest_v1_names[i].kind)) {
            *out = (dstack_tee_variant)i;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_FORMAT, "attestation: unknown kind of evidence");
}

int attest_v1_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err) {
    static const char *const names[] = {"version", "platform", "stack", NULL};
    static const char *const outer[] = {"kind", "data", NULL};
    cursor c = cursor_init(encoded), f[FIELDS_MAX], p[FIELDS_MAX];
    int rc = read_map(&c, "envelope", names, 0x7, f, err);
    if (rc == 0 && !cursor_done(&c)) {
        rc = error_set(err, DSTACK_E_FORMAT, "attestation: %zu trailing bytes", cursor_left(&c));
    }
    uint32_t version = 0;
    if (rc == 0) {
        rc = read_u32(&f[0], "version", &version, err);
    }
    if (rc == 0 && version != 1) {
        rc = error_set(err, DSTACK_E_FORMAT, "unsupported attestation version: expected 1, got %u",
                       version);
    }
    if (rc == 0) {
        rc = read_map(&f[1], "platform", outer, 0x3, p, err);
    }
    dstack_tee_variant variant = DSTACK_TEE_TDX;
    if (rc == 0) {
        rc = read_kind(&p[0], &variant, err);
    }
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new(variant, err);
    if (a == NULL) {
        return DSTACK_E_MEMORY;
    }
    a->decoded_form = DSTACK_ATTESTATION_V1;
    rc = read_platform_data(&p[1], a, err);
    if (rc == 0) {
        rc = read_stack(&f[2], a, err);
    }
    if (rc == 0) {
        *out = a;
        a = NULL;
    }
    return rc;
}
