/* Runtime events: what is hashed for them, and the guest's file of them. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "manifest/canonical.h"

#define RUNTIME_LOG_MAX ((size_t)16 << 20)

static int check_version(uint32_t version, dstack_error *err) {
    if (version != 1 && version != 2) {
        return error_set(err, DSTACK_E_FORMAT, "unknown event log version: %u", version);
    }
    return 0;
}

int dstack_runtime_event_preimage(const char *name, dstack_bytes payload, uint32_t version,
                                  dstack_buf *out, dstack_error *err) {
    int rc = check_version(version, err);
    if (rc != 0) {
        return rc;
    }
    if (version == 1) {
        buf_put_u32le(out, DSTACK_RUNTIME_EVENT_TYPE);
        buf_put_str(out, ":");
        buf_put_str(out, name);
        buf_put_str(out, ":");
        buf_put_bytes(out, payload);
    } else {
        /* RFC 8785: the three names are in order already */
        buf_put_str(out, "{\"name\":");
        canonical_put_string(out, bytes_of_str(name));
        buf_put_str(out, ",\"payload\":\"");
        buf_put_hex(out, payload);
        buf_put_fmt(out, "\",\"type\":%u}", DSTACK_RUNTIME_EVENT_TYPE);
    }
    return buf_check(out, err);
}

int dstack_runtime_event_digest(const char *name, dstack_bytes payload, uint32_t version,
                                uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf preimage = {0};
    int rc = dstack_runtime_event_preimage(name, payload, version, &preimage, err);
    if (rc == 0) {
        hash_sha384(bytes_of_buf(&preimage), out);
    }
    return rc;
}

static int fill_digest(attest_event *event, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf preimage = {0};
    int rc = dstack_runtime_event_preimage(event->name, bytes_of_buf(&event->payload),
                                           event->version, &preimage, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t digest[DSTACK_REGISTER_SIZE];
    hash_sha384(bytes_of_buf(&preimage), digest);
    rc = attest_copy(bytes_of(digest, sizeof digest), &event->digest, err);
    if (rc == 0 && event->version == 2) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        buf_put_hex(&text, bytes_of_buf(&preimage));
        rc = buf_check(&text, err);
        if (rc == 0) {
            rc = attest_text(bytes_of_buf(&text), "event preimage", &event->preimage, err);
        }
    }
    return rc;
}

int dstack_event_log_fill_digests(dstack_event_log *log, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < log->count; i++) {
        if (attest_event_is_runtime(&log->events[i])) {
            rc = fill_digest(&log->events[i], err);
        }
    }
    return rc;
}

int dstack_runtime_event_line(const char *name, dstack_bytes payload, uint32_t version,
                              dstack_buf *out, dstack_error *err) {
    int rc = check_version(version, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_str(out, "{\"event\":");
    canonical_put_string(out, bytes_of_str(name));
    buf_put_str(out, ",\"payload\":\"");
    base64_encode(payload, BASE64_STANDARD, out);
    buf_put_str(out, version == 2 ? "\",\"version\":2}\n" : "\"}\n");
    return buf_check(out, err);
}

static int parse_line(dstack_bytes line, dstack_event_log *log, dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_parse(line, RUNTIME_LOG_MAX, "runtime event", err);
    if (object == NULL) {
        return DSTACK_E_FORMAT;
    }
    const char *name = NULL, *payload_text = NULL;
    int64_t version = 1;
    DSTACK_AUTO(buf) dstack_buf payload = {0};
    int rc = json_need_str(object, "event", &name, err);
    if (rc == 0) {
        rc = json_need_str(object, "payload", &payload_text, err);
    }
    if (rc == 0) {
        rc = base64_decode(bytes_of_str(payload_text), BASE64_STANDARD, &payload, err);
    }
    if (rc == 0) {
        rc = json_int_or(object, "version", 1, &version, err);
    }
    if (rc == 0 && (version < 1 || version > 2)) {
        rc = error_set(err, DSTACK_E_FORMAT, "unknown event log version");
    }
    if (rc == 0) {
        rc =
            dstack_event_log_add_runtime(log, name, bytes_of_buf(&payload), (uint32_t)version, err);
    }
    return rc;
}

static bool is_blank(dstack_bytes line) {
    for (size_t i = 0; i < line.len; i++) {
        if (strchr(" \t\r", line.data[i]) == NULL || line.data[i] == 0) {
            return false;
        }
    }
    return true;
}

int dstack_event_log_parse_runtime(dstack_bytes text, dstack_event_log **out, dstack_error *err) {
    if (text.len > RUNTIME_LOG_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "runtime event log is larger than %zu bytes",
                         RUNTIME_LOG_MAX);
    }
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    if (log == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an event log");
    }
    cursor c = cursor_init(text);
    int rc = 0;
    for (size_t number = 1; rc == 0 && cursor_left(&c) > 0; number++) {
        const uint8_t *start = c.data + c.pos;
        const uint8_t *end = memchr(start, '\n', cursor_left(&c));
        dstack_bytes line = cursor_take(&c, end == NULL ? cursor_left(&c) : (size_t)(end - start));
        if (end != NULL) {
            cursor_skip(&c, 1);
        }
        if (!is_blank(line)) {
            rc = error_prefix(err, parse_line(line, log, err), "line %zu", number);
        }
    }
    if (rc == 0) {
        *out = log;
        log = NULL;
    }
    return rc;
}
