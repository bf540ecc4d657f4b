#include "base/json.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"

json_t *json_parse(dstack_bytes text, size_t limit, const char *what, dstack_error *err) {
    if (text.len > limit) {
        error_set(err, DSTACK_E_LIMIT, "%s is larger than %zu bytes", what, limit);
        return NULL;
    }
    json_error_t where;
    json_t *value = json_loadb(text.data == NULL ? "" : (const char *)text.data, text.len,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (value == NULL) {
        error_set(err, DSTACK_E_FORMAT, "%s is not valid JSON: %s at line %d column %d", what,
                  where.text, where.line, where.column);
    }
    return value;
}

static json_t *member(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int missing(const char *key, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "member \"%s\" is missing", key);
}

static int wrong_type(const char *key, const char *want, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "member \"%s\" must be %s", key, want);
}

int json_need_str(const json_t *object, const char *key, const char **out, dstack_error *err) {
    const json_t *value = member(object, key);
    if (value == NULL) {
        return missing(key, err);
    }
    if (!json_is_string(value)) {
        return wrong_type(key, "a string", err);
    }
    if (strlen(json_string_value(value)) != json_string_length(value)) {
        return wrong_type(key, "a string without NUL characters", err);
    }
    *out = json_string_value(value);
    return 0;
}

int json_str_or(const json_t *object, const char *key, const char *fallback, const char **out,
                dstack_error *err) {
    if (member(object, key) == NULL) {
        *out = fallback;
        return 0;
    }
    return json_need_str(object, key, out, err);
}

int json_need_int(const json_t *object, const char *key, int64_t *out, dstack_error *err) {
    const json_t *value = member(object, key);
    if (value == NULL) {
        return missing(key, err);
    }
    if (!json_is_integer(value)) {
        return wrong_type(key, "an integer", err);
    }
    *out = json_integer_value(value);
    return 0;
}

int json_int_or(const json_t *object, const char *key, int64_t fallback, int64_t *out,
                dstack_error *err) {
    if (member(object, key) == NULL) {
        *out = fallback;
        return 0;
    }
    return json_need_int(object, key, out, err);
}

int json_bool_or(const json_t *object, const char *key, bool fallback, bool *out,
                 dstack_error *err) {
    const json_t *value = member(object, key);
    if (value == NULL) {
        *out = fallback;
        return 0;
    }
    if (!json_is_boolean(value)) {
        return wrong_type(key, "true or false", err);
    }
    *out = json_is_true(value);
    return 0;
}

int json_need_object(const json_t *object, const char *key, json_t **out, dstack_error *err) {
    json_t *value = member(object, key);
    if (value == NULL) {
        return missing(key, err);
    }
    if (!json_is_object(value)) {
        return wrong_type(key, "an object", err);
    }
    *out = value;
    return 0;
}

int json_need_array(const json_t *object, const char *key, json_t **out, dstack_error *err) {
    json_t *value = member(object, key);
    if (value == NULL) {
        return missing(key, err);
    }
    if (!json_is_array(value)) {
        return wrong_type(key, "an array", err);
    }
    *out = value;
    return 0;
}

int json_need_hex(const json_t *object, const char *key, uint8_t *out, size_t len,
                  dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(object, key, &text, err);
    if (rc == 0) {
        rc = hex_decode_fixed(text, out, len, err);
        rc = error_prefix(err, rc, "member \"%s\"", key);
    }
    return rc;
}

int json_hex_or_empty(const json_t *object, const char *key, dstack_buf *out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_str_or(object, key, "", &text, err);
    if (rc == 0) {
        rc = hex_decode((dstack_bytes){(const uint8_t *)text, strlen(text)}, out, err);
        rc = error_prefix(err, rc, "member \"%s\"", key);
    }
    return rc;
}

json_t *json_hex(dstack_bytes bytes) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, bytes);
    const char *hex = buf_text(&text);
    return hex == NULL ? NULL : json_stringn(hex, text.len);
}

static int append(const char *data, size_t len, void *user) {
    dstack_buf *out = user;
    buf_put(out, data, len);
    return out->failed ? -1 : 0;
}

int json_write(const json_t *value, bool pretty, dstack_buf *out, dstack_error *err) {
    size_t flags = JSON_ENCODE_ANY | (pretty ? JSON_INDENT(2) : JSON_COMPACT);
    if (json_dump_callback(value, append, out, flags) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "cannot write JSON");
    }
    return 0;
}
