/* Unsigned integers above 2^63 - 1, which jansson has no type for: before parsing they become strings
 * that begin with a zero character, as no text field of a message may. */
#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "service/rpc_internal.h"

#define LARGEST_SIGNED "9223372036854775807"
#define LARGEST_UNSIGNED "18446744073709551615"

static bool exceeds(const char *digits, size_t len, const char *limit) {
    size_t room = strlen(limit);
    return len > room || (len == room && memcmp(digits, limit, len) > 0);
}

/* The length of the number at `at`, and whether it is one of those. */
static size_t number_len(const char *at, size_t left, bool *big) {
    size_t len = 0;
    bool plain = true;
    while (len < left && (isdigit((unsigned char)at[len]) || strchr("+-.eE", at[len]) != NULL) &&
           at[len] != 0) {
        plain = plain && isdigit((unsigned char)at[len]);
        len++;
    }
    *big = plain && at[0] != '0' && exceeds(at, len, LARGEST_SIGNED) &&
           !exceeds(at, len, LARGEST_UNSIGNED);
    return len;
}

static size_t string_len(const char *at, size_t left) {
    size_t len = 1;
    while (len < left && at[len] != '"') {
        len += at[len] == '\\' && len + 1 < left ? 2 : 1;
    }
    return len < left ? len + 1 : left;
}

void rpc_quote_big_integers(dstack_bytes text, dstack_buf *out) {
    const char *at = (const char *)text.data;
    for (size_t left = text.len; left > 0;) {
        bool big = false;
        size_t len = 1;
        if (*at == '"') {
            len = string_len(at, left);
        } else if (isdigit((unsigned char)*at) || *at == '-') {
            len = number_len(at, left, &big);
        }
        buf_put_str(out, big ? "\"\\u0000" : "");
        buf_put(out, at, len);
        buf_put_str(out, big ? "\"" : "");
        at += len;
        left -= len;
    }
}

bool rpc_has_long_number(dstack_bytes text) {
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        run = isdigit(text.data[i]) ? run + 1 : 0;
        if (run >= strlen(LARGEST_SIGNED)) {
            return true;
        }
    }
    return false;
}

bool rpc_read_big_integer(const json_t *value, uint64_t *out) {
    const char *text = json_string_value(value);
    if (text == NULL || json_string_length(value) < 2 || text[0] != 0) {
        return false;
    }
    *out = 0;
    for (text++; isdigit((unsigned char)*text); text++) {
        *out = *out * 10 + (uint64_t)(*text - '0');
    }
    return true;
}
