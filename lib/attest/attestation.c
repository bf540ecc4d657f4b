/* The envelope as a whole: making, choosing the wire form, stripping, access. */
#include "dstack/attestation.h"

#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"

dstack_bytes attest_tpm_pcr(const attest_tpm_quote *tpm, uint32_t index) {
    for (size_t i = 0; tpm != NULL && i < tpm->pcr_count; i++) {
        if (tpm->pcrs[i].index == index && tpm->pcrs[i].value.len == 32) {
            return bytes_of_buf(&tpm->pcrs[i].value);
        }
    }
    return (dstack_bytes){0};
}

const char *const attest_tpm_platform_names[ATTEST_TPM_PLATFORMS] = {"dstack", "gcp",
                                                                     "nitroenclave", "aws-ec2"};

const char *dstack_tee_variant_name(dstack_tee_variant variant) {
    static const char *const names[] = {"dstack-tdx", "dstack-gcp-tdx", "dstack-nitro-enclave",
                                        "dstack-amd-sev-snp", "dstack-aws-nitro-tpm"};
    return (unsigned)variant < sizeof names / sizeof *names ? names[variant] : "unknown";
}

bool attest_variant_has_log(dstack_tee_variant variant) {
    return attest_variant_is_tdx(variant);
}

dstack_attestation *attest_new(dstack_tee_variant variant, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *a = calloc(1, sizeof *a);
    if (a != NULL) {
        a->variant = variant;
        a->decoded_form = DSTACK_ATTESTATION_LEGACY_CHOICE;
        a->runtime = dstack_event_log_new();
        a->config = strdup("");
        a->mr_config = strdup("");
        a->event_log = attest_variant_has_log(variant) ? dstack_event_log_new() : NULL;
    }
    if (a == NULL || a->runtime == NULL || a->config == NULL || a->mr_config == NULL ||
        (attest_variant_has_log(variant) && a->event_log == NULL)) {
        error_set(err, DSTACK_E_MEMORY, "no memory for an attestation");
        return NULL;
    }
    dstack_attestation *made = a;
    a = NULL;
    return made;
}

static void tpm_free(attest_tpm_quote *tpm) {
    if (tpm == NULL) {
        return;
    }
    dstack_buf_clear(&tpm->message);
    dstack_buf_clear(&tpm->signature);
    dstack_buf_clear(&tpm->ak_cert);
    for (size_t i = 0; i < tpm->pcr_count; i++) {
        free(tpm->pcrs[i].algorithm);
        dstack_buf_clear(&tpm->pcrs[i].value);
    }
    for (size_t i = 0; i < tpm->event_count; i++) {
        dstack_buf_clear(&tpm->events[i].digest);
    }
    free(tpm->pcrs);
    free(tpm->events);
    free(tpm);
}

void dstack_attestation_free(dstack_attestation *a) {
    if (a == NULL) {
        return;
    }
    dstack_buf_clear(&a->evidence);
    dstack_event_log_free(a->event_log);
    tpm_free(a->tpm);
    for (size_t i = 0; i < a->cert_count; i++) {
        dstack_buf_clear(&a->certs[i]);
    }
    free(a->mr_config);
    dstack_event_log_free(a->runtime);
    free(a->config);
    free(a->payload);
    free(a);
}

int dstack_attestation_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err) {
    *out = NULL;
    if (encoded.len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "attestation is empty");
    }
    if (encoded.len > DSTACK_ATTESTATION_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "attestation of %zu bytes, at most %zu are read",
                         encoded.len, DSTACK_ATTESTATION_MAX_SIZE);
    }
    uint8_t first = encoded.data[0];
    if (first == 0) {
        return attest_v0_decode(encoded, out, err);
    }
    if ((first & 0xf0) == 0x80 || first == 0xde || first == 0xdf) {
        return attest_v1_decode(encoded, out, err);
    }
    return error_set(err, DSTACK_E_FORMAT, "unknown attestation wire format 0x%02x", first);
}

static bool needs_v1(const dstack_attestation *a) {
    bool needed = a->payload != NULL;
    for (size_t i = 0; i < a->runtime->count; i++) {
        needed |= a->runtime->events[i].version != 1;
    }
    return needed;
}

int dstack_attestation_encode(const dstack_attestation *a, dstack_attestation_form form,
                              dstack_buf *out, dstack_error *err) {
    if (form == DSTACK_ATTESTATION_AS_DECODED) {
        form = a->decoded_form;
    }
    if (form == DSTACK_ATTESTATION_LEGACY_CHOICE) {
        form = needs_v1(a) ? DSTACK_ATTESTATION_V1 : DSTACK_ATTESTATION_V0;
    }
    return form == DSTACK_ATTESTATION_V0 ? attest_v0_encode(a, out, err)
                                         : attest_v1_encode(a, out, err);
}

int dstack_attestation_new_tdx(dstack_bytes quote, const dstack_event_log *log,
                               const dstack_event_log *runtime, const char *config,
                               dstack_attestation **out, dstack_error *err) {
    *out = NULL;
    const dstack_td_report *report = NULL;
    int rc = attest_td_report_parse(quote, &report, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new(DSTACK_TEE_TDX, err);
    if (a == NULL) {
        return DSTACK_E_MEMORY;
    }
    memcpy(a->report_data, report->report_data, sizeof a->report_data);
    rc = attest_copy(quote, &a->evidence, err);
    if (rc == 0) {
        rc = dstack_event_log_append(a->event_log, log, err);
    }
    if (rc == 0) {
        rc = dstack_event_log_append(a->runtime, runtime, err);
    }
    if (rc == 0) {
        rc = attest_text(bytes_of_str(config == NULL ? "" : config), "config", &a->config, err);
    }
    if (rc == 0) {
        *out = a;
        a = NULL;
    }
    return rc;
}

int dstack_attestation_from_quote(dstack_bytes quote, dstack_bytes event_log_json,
                                  dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    DSTACK_AUTO(event_log) dstack_event_log *runtime = dstack_event_log_new();
    if (runtime == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an event log");
    }
    int rc = dstack_event_log_parse_json(event_log_json, &log, err);
    for (size_t i = 0; rc == 0 && i < log->count; i++) {
        const attest_event *event = &log->events[i];
        if (!attest_event_is_runtime(event)) {
            continue;
        }
        if (event->imr != DSTACK_RUNTIME_REGISTER) {
            rc = error_set(err, DSTACK_E_FORMAT, "event %zu: a runtime event in register %u", i,
                           event->imr);
        } else {
            rc = dstack_event_log_add_runtime(runtime, event->name, bytes_of_buf(&event->payload),
                                              event->version, err);
        }
    }
    return rc == 0 ? dstack_attestation_new_tdx(quote, log, runtime, "", out, err) : rc;
}

/* An event as a certificate carries it; false when it is left out. */
static bool strip_event(const attest_event *event, bool keep_acpi, dstack_event *out) {
    *out = (dstack_event){
        .imr = event->imr,
        .type = event->type,
        .version = event->version,
        .digest = bytes_of_buf(&event->digest),
        .name = event->name,
        .payload = bytes_of_buf(&event->payload),
        .preimage = event->preimage,
    };
    if (event->imr != DSTACK_RUNTIME_REGISTER) {
        return keep_acpi && attest_event_is_acpi(event);
    }
    if (!attest_event_is_runtime(event)) {
        out->payload = (dstack_bytes){0};
    } else if (event->version == 1) {
        /* a reader recomputes it; version 2 events keep digest and preimage, which older verifiers
         * insist on */
        out->digest = (dstack_bytes){0};
    }
    return true;
}

static int strip_log(const dstack_event_log *from, bool keep_acpi, dstack_event_log *to,
                     dstack_error *err) {
    DSTACK_AUTO(event_log) dstack_event_log *full = dstack_event_log_new();
    if (full == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an event log");
    }
    int rc = dstack_event_log_append(full, from, err);
    if (rc == 0) {
        rc = dstack_event_log_fill_digests(full, err);
    }
    dstack_event event;
    for (size_t i = 0; rc == 0 && i < full->count; i++) {
        if (strip_event(&full->events[i], keep_acpi, &event)) {
            rc = dstack_event_log_add(to, &event, err);
        }
    }
    return rc;
}

int dstack_attestation_strip(const dstack_attestation *from, dstack_attestation **out,
                             dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    DSTACK_AUTO(attestation) dstack_attestation *copy = NULL;
    int rc = attest_v1_encode(from, &encoded, err);
    if (rc == 0) {
        rc = attest_v1_decode(bytes_of_buf(&encoded), &copy, err);
    }
    if (rc == 0) {
        copy->decoded_form = from->decoded_form;
    }
    if (rc == 0 && from->event_log != NULL) {
        DSTACK_AUTO(event_log) dstack_event_log *stripped = dstack_event_log_new();
        rc = stripped == NULL
                 ? error_set(err, DSTACK_E_MEMORY, "no memory for an event log")
                 : strip_log(from->event_log, from->variant == DSTACK_TEE_TDX, stripped, err);
        if (rc == 0) {
            dstack_event_log *full = copy->event_log;
            copy->event_log = stripped;
            stripped = full;
        }
    }
    if (rc == 0) {
        *out = copy;
        copy = NULL;
    }
    return rc;
}

dstack_tee_variant dstack_attestation_variant(const dstack_attestation *a) {
    return a->variant;
}

dstack_bytes dstack_attestation_evidence(const dstack_attestation *a) {
    return bytes_of_buf(&a->evidence);
}

const dstack_event_log *dstack_attestation_event_log(const dstack_attestation *a) {
    return a->event_log;
}

const dstack_event_log *dstack_attestation_runtime_events(const dstack_attestation *a) {
    return a->runtime;
}

dstack_bytes dstack_attestation_report_data(const dstack_attestation *a) {
    return bytes_of(a->report_data, sizeof a->report_data);
}

const char *dstack_attestation_config(const dstack_attestation *a) {
    return a->config;
}
