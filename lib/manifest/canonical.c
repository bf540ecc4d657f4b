#include "manifest/canonical.h"

#include <math.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"

json_t *canonical_parse(dstack_bytes text, size_t limit, const char *what, dstack_error *err) {
    if (text.len > limit) {
        error_set(err, DSTACK_E_LIMIT, "%s is larger than %zu bytes", what, limit);
        return NULL;
    }
    json_error_t where;
    json_t *value = json_loadb(text.data == NULL ? "" : (const char *)text.data, text.len,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL |
                                   JSON_DECODE_ANY,
                               &where);
    if (value == NULL) {
        error_set(err, DSTACK_E_FORMAT, "%s is not valid JSON: %s at line %d column %d", what,
                  where.text, where.line, where.column);
    }
    return value;
}

void canonical_put_string(dstack_buf *out, dstack_bytes text) {
    static const char short_escapes[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    buf_put_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\') {
            buf_put_u8(out, '\\');
            buf_put_u8(out, c);
        } else if (c >= 0x20) {
            buf_put_u8(out, c);
        } else if (short_escapes[c] != 0) {
            buf_put_u8(out, '\\');
            buf_put_u8(out, (uint8_t)short_escapes[c]);
        } else {
            buf_put_fmt(out, "\\u%04x", c);
        }
    }
    buf_put_u8(out, '"');
}

/* ECMA-262, Number::toString with radix 10: the shortest digits that read back to the same double,
 * plain notation for exponents from -7 to 20. */
static void put_number(dstack_buf *out, double value) {
    if (!isfinite(value)) {
        buf_put_str(out, "null");
        return;
    }
    if (value == 0) {
        buf_put_str(out, "0");
        return;
    }
    char text[40];
    for (int digits = 0; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, fabs(value));
        if (strtod(text, NULL) == fabs(value)) {
            break;
        }
    }
    char *mark = strchr(text, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    char digits[24];
    int count = 0;
    for (char *c = text; c < mark; c++) {
        if (*c != '.') {
            digits[count++] = *c;
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    int point = exponent + 1; /* digits before the decimal point */
    buf_put_str(out, value < 0 ? "-" : "");
    if (point > 21 || point < -5) {
        buf_put(out, digits, 1);
        buf_put_str(out, count > 1 ? "." : "");
        buf_put(out, digits + 1, (size_t)count - 1);
        buf_put_fmt(out, "e%+d", exponent);
    } else if (point <= 0) {
        buf_put_str(out, "0.");
        for (int i = point; i < 0; i++) {
            buf_put_u8(out, '0');
        }
        buf_put(out, digits, (size_t)count);
    } else {
        for (int i = 0; i < count || i < point; i++) {
            buf_put_str(out, i == point ? "." : "");
            buf_put_u8(out, i < count ? (uint8_t)digits[i] : '0');
        }
    }
}

/* In UTF-8 order equals code point order; UTF-16 order differs only where one character lies above
 * the basic plane (its first unit is a surrogate, d800 to dfff) and the other in e000 to ffff. */
static int sort_key(uint8_t byte) {
    return byte >= 0xf0 ? 0xed00 + byte : byte >= 0xee ? 0xee00 + byte : byte << 8;
}

typedef struct canonical_member {
    const char *key;
    size_t len;
    json_t *value;
} canonical_member;

static int compare_members(const void *left, const void *right) {
    const canonical_member *a = left, *b = right;
    size_t common = a->len < b->len ? a->len : b->len;
    for (size_t i = 0; i < common; i++) {
        uint8_t x = (uint8_t)a->key[i], y = (uint8_t)b->key[i];
        if (x != y) {
            return sort_key(x) < sort_key(y) ? -1 : 1;
        }
    }
    return a->len < b->len ? -1 : a->len > b->len;
}

static int put_object(const json_t *object, dstack_buf *out, dstack_error *err) {
    size_t count = json_object_size(object), i = 0;
    canonical_member *members = calloc(count == 0 ? 1 : count, sizeof *members);
    if (members == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for %zu JSON members", count);
    }
    const char *key;
    size_t len;
    json_t *value;
    json_object_keylen_foreach((json_t *)object, key, len, value) {
        members[i++] = (canonical_member){key, len, value};
    }
    qsort(members, count, sizeof *members, compare_members);
    int rc = 0;
    buf_put_u8(out, '{');
    for (i = 0; rc == 0 && i < count; i++) {
        buf_put_str(out, i == 0 ? "" : ",");
        canonical_put_string(out, bytes_of(members[i].key, members[i].len));
        buf_put_u8(out, ':');
        rc = canonical_write(members[i].value, out, err);
    }
    buf_put_u8(out, '}');
    free(members);
    return rc;
}

static int put_array(const json_t *array, dstack_buf *out, dstack_error *err) {
    int rc = 0;
    buf_put_u8(out, '[');
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        buf_put_str(out, i == 0 ? "" : ",");
        rc = canonical_write(json_array_get(array, i), out, err);
    }
    buf_put_u8(out, ']');
    return rc;
}

/* Recursion is bounded by jansson's parser (2048 levels). */
int canonical_write(const json_t *value, dstack_buf *out, dstack_error *err) {
    int rc = 0;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        rc = put_object(value, out, err);
        break;
    case JSON_ARRAY:
        rc = put_array(value, out, err);
        break;
    case JSON_STRING:
        canonical_put_string(out, bytes_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        put_number(out, json_number_value(value));
        break;
    default:
        buf_put_str(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
    return rc == 0 ? buf_check(out, err) : rc;
}
