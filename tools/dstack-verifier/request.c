#include "request.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

void request_clear(verify_request *request) {
    dstack_buf_clear(&request->attestation);
    dstack_buf_clear(&request->quote);
    dstack_buf_clear(&request->nonce);
    free(request->event_log);
    free(request->vm_config);
    *request = (verify_request){0};
}

static int wrong(dstack_error *err, const char *key, const char *due) {
    return error_set(err, DSTACK_E_ARGUMENT, "\"%s\" must be %s", key, due);
}

static int take_hex(const json_t *object, const char *key, bool *present, dstack_buf *out,
                    dstack_error *err) {
    const json_t *value = json_object_get(object, key);
    *present = value != NULL && !json_is_null(value);
    if (!*present) {
        return 0;
    }
    if (!json_is_string(value) ||
        hex_decode(bytes_of(json_string_value(value), json_string_length(value)), out, NULL) != 0) {
        return wrong(err, key, "an even number of hex digits");
    }
    return buf_check(out, err);
}

static int take_text(const json_t *object, const char *key, char **out, dstack_error *err) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        return 0;
    }
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
        return wrong(err, key, "a text");
    }
    *out = strdup(json_string_value(value));
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static int take_flag(const json_t *object, const char *key, bool *out, dstack_error *err) {
    const json_t *value = json_object_get(object, key);
    if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
        return wrong(err, key, "true or false");
    }
    *out = json_is_true(value);
    return 0;
}

/* Both may be given when they say the same. */
static int take_binding(const json_t *object, verify_request *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf exact = {0};
    bool has_exact = false, has_nonce = false;
    int rc = take_hex(object, "expected_report_data", &has_exact, &exact, err);
    rc = rc != 0 ? rc : take_hex(object, "nonce", &has_nonce, &out->nonce, err);
    if (rc == 0 && has_exact && exact.len != DSTACK_REPORT_DATA_SIZE) {
        rc = wrong(err, "expected_report_data", "64 bytes");
    }
    if (rc == 0 && has_nonce && (out->nonce.len < 8 || out->nonce.len > DSTACK_REPORT_DATA_SIZE)) {
        rc = wrong(err, "nonce", "8 to 64 bytes");
    }
    if (rc != 0 || !(has_exact || has_nonce)) {
        return rc;
    }
    out->bound = true;
    if (has_nonce) {
        rc = dstack_report_data_pad(bytes_of_buf(&out->nonce), out->report_data, err);
    } else {
        memcpy(out->report_data, exact.data, exact.len);
    }
    if (rc == 0 && has_exact && memcmp(out->report_data, exact.data, exact.len) != 0) {
        rc = wrong(err, "nonce", "the same as \"expected_report_data\"");
    }
    return rc;
}

static int take_members(const json_t *object, verify_request *out, dstack_error *err) {
    int rc = take_hex(object, "attestation", &out->has_attestation, &out->attestation, err);
    rc = rc != 0 ? rc : take_hex(object, "quote", &out->has_quote, &out->quote, err);
    rc = rc != 0 ? rc : take_text(object, "event_log", &out->event_log, err);
    rc = rc != 0 ? rc : take_text(object, "vm_config", &out->vm_config, err);
    rc = rc != 0 ? rc : take_flag(object, "debug", &out->debug, err);
    return rc != 0 ? rc : take_binding(object, out, err);
}

int request_parse(dstack_bytes text, verify_request *out, dstack_error *err) {
    *out = (verify_request){0};
    DSTACK_AUTO(json) json_t *body = json_parse(text, REQUEST_MAX, "request", err);
    if (body == NULL) {
        DSTACK_AUTO(json)
        json_t *scalar = json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY, NULL);
        return scalar == NULL || json_is_object(scalar) || json_is_array(scalar)
                   ? DSTACK_E_FORMAT
                   : error_set(err, DSTACK_E_ARGUMENT, "the body must be an object");
    }
    /* The reference's service reads an empty array as an empty object. */
    if (json_is_array(body) && json_array_size(body) == 0) {
        return 0;
    }
    int rc = json_is_object(body) ? take_members(body, out, err)
                                  : error_set(err, DSTACK_E_ARGUMENT, "the body must be an object");
    if (rc != 0) {
        request_clear(out);
    }
    return rc;
}

/* Clients know these texts; the reason behind them follows in the log only. */
static int say(dstack_error *err, int rc, const char *text) {
    return rc == 0 ? 0 : error_set(err, rc == DSTACK_E_MEMORY ? rc : DSTACK_E_FORMAT, "%s", text);
}

int request_attestation(const verify_request *request, dstack_attestation **out,
                        dstack_error *err) {
    if (request->has_attestation) {
        int rc = dstack_attestation_decode(bytes_of_buf(&request->attestation), out, err);
        return say(err, rc, "Failed to decode attestaion"); /* spelled as the reference does */
    }
    if (!request->has_quote) {
        return say(err, DSTACK_E_FORMAT, "Quote is required");
    }
    if (request->event_log == NULL) {
        return say(err, DSTACK_E_FORMAT, "Event log is required");
    }
    int rc = dstack_attestation_from_quote(bytes_of_buf(&request->quote),
                                           bytes_of_str(request->event_log), out, err);
    return say(err, rc, "Failed to create attestation");
}
