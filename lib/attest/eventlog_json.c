/* The event log as JSON text. */
#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "manifest/canonical.h"

#define EVENT_LOG_JSON_MAX ((size_t)16 << 20)

static int need_u32(const json_t *object, const char *key, uint32_t *out, dstack_error *err) {
    int64_t value = 0;
    int rc = json_need_int(object, key, &value, err);
    if (rc == 0 && (value < 0 || value > UINT32_MAX)) {
        rc = error_set(err, DSTACK_E_FORMAT, "member \"%s\" must be 0 to 2^32-1", key);
    }
    *out = (uint32_t)value;
    return rc;
}

static int parse_event(const json_t *object, dstack_event_log *log, dstack_error *err) {
    if (!json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "must be an object");
    }
    DSTACK_AUTO(buf) dstack_buf digest = {0};
    DSTACK_AUTO(buf) dstack_buf payload = {0};
    dstack_event event = {0};
    int64_t version = 1;
    const char *payload_text = NULL;
    int rc = need_u32(object, "imr", &event.imr, err);
    if (rc == 0) {
        rc = need_u32(object, "event_type", &event.type, err);
    }
    if (rc == 0) {
        rc = json_hex_or_empty(object, "digest", &digest, err);
    }
    if (rc == 0) {
        rc = json_need_str(object, "event", &event.name, err);
    }
    if (rc == 0) {
        rc = json_need_str(object, "event_payload", &payload_text, err);
    }
    if (rc == 0) {
        rc = error_prefix(err, hex_decode(bytes_of_str(payload_text), &payload, err),
                          "member \"event_payload\"");
    }
    if (rc == 0) {
        rc = json_int_or(object, "version", 1, &version, err);
    }
    if (rc == 0 && (version < 1 || version > 2)) {
        rc = error_set(err, DSTACK_E_FORMAT, "unknown event log version");
    }
    if (rc == 0) {
        rc = json_str_or(object, "preimage", NULL, &event.preimage, err);
    }
    if (rc == 0) {
        event.version = (uint32_t)version;
        event.digest = bytes_of_buf(&digest);
        event.payload = bytes_of_buf(&payload);
        rc = dstack_event_log_add(log, &event, err);
    }
    return rc;
}

int dstack_event_log_parse_json(dstack_bytes text, dstack_event_log **out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *array = json_parse(text, EVENT_LOG_JSON_MAX, "event log", err);
    if (array == NULL) {
        return text.len > EVENT_LOG_JSON_MAX ? DSTACK_E_LIMIT : DSTACK_E_FORMAT;
    }
    if (!json_is_array(array)) {
        return error_set(err, DSTACK_E_FORMAT, "event log must be a JSON array");
    }
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    if (log == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an event log");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        rc = error_prefix(err, parse_event(json_array_get(array, i), log, err), "event %zu", i);
    }
    if (rc == 0) {
        *out = log;
        log = NULL;
    }
    return rc;
}

/* Written by hand rather than through jansson: logs are long, and the member order is fixed. */
static void put_event(dstack_buf *out, const attest_event *event, bool digest, bool payload) {
    buf_put_fmt(out, "{\"imr\":%u,\"event_type\":%u,\"digest\":\"", event->imr, event->type);
    if (digest) {
        buf_put_hex(out, bytes_of_buf(&event->digest));
    }
    buf_put_str(out, "\",\"event\":");
    canonical_put_string(out, bytes_of_str(event->name));
    buf_put_str(out, ",\"event_payload\":\"");
    if (payload) {
        buf_put_hex(out, bytes_of_buf(&event->payload));
    }
    buf_put_str(out, "\"");
    if (event->version == 2) {
        buf_put_str(out, ",\"version\":2");
    }
    if (event->preimage != NULL) {
        buf_put_str(out, ",\"preimage\":");
        canonical_put_string(out, bytes_of_str(event->preimage));
    }
    buf_put_str(out, "}");
}

int dstack_event_log_to_json(const dstack_event_log *log, dstack_buf *out, dstack_error *err) {
    buf_put_str(out, "[");
    for (size_t i = 0; i < dstack_event_log_count(log); i++) {
        buf_put_str(out, i == 0 ? "" : ",");
        put_event(out, &log->events[i], true, true);
    }
    buf_put_str(out, "]");
    return buf_check(out, err);
}

int dstack_event_log_to_quote_json(const dstack_event_log *log, dstack_buf *out,
                                   dstack_error *err) {
    buf_put_str(out, "[");
    for (size_t i = 0; i < dstack_event_log_count(log); i++) {
        const attest_event *event = &log->events[i];
        bool runtime = attest_event_is_runtime(event);
        buf_put_str(out, i == 0 ? "" : ",");
        put_event(out, event, !runtime || event->version == 2,
                  runtime || attest_event_is_acpi(event));
    }
    buf_put_str(out, "]");
    return buf_check(out, err);
}
