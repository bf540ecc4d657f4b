#include "measure/checksums.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static dstack_bytes next_line(dstack_bytes *rest) {
    const uint8_t *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    const size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    const dstack_bytes line = bytes_of(rest->data, len);
    const size_t used = end != NULL ? len + 1 : len;
    *rest = bytes_of(rest->data + used, rest->len - used);
    return line;
}

static dstack_bytes next_word(dstack_bytes *line) {
    size_t start = 0;
    while (start < line->len && is_blank(line->data[start])) {
        start++;
    }
    size_t end = start;
    while (end < line->len && !is_blank(line->data[end])) {
        end++;
    }
    const dstack_bytes word = bytes_of(line->data + start, end - start);
    *line = bytes_of(line->data + end, line->len - end);
    return word;
}

int checksums_find(dstack_bytes text, const char *name, uint8_t hash[32], dstack_error *err) {
    if (text.len > CHECKSUMS_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "sha256sum.txt of %zu bytes is too long", text.len);
    }
    dstack_bytes found = {0};
    bool seen = false;
    while (text.len > 0) {
        dstack_bytes line = next_line(&text);
        const dstack_bytes value = next_word(&line);
        if (!bytes_equal_str(next_word(&line), name)) {
            continue;
        }
        if (seen) {
            return error_set(err, DSTACK_E_FORMAT, "sha256sum.txt contains duplicate %s entries",
                             name);
        }
        seen = true;
        found = value;
    }
    if (!seen) {
        return error_set(err, DSTACK_E_NOT_FOUND, "sha256sum.txt is missing %s", name);
    }
    char hex[65] = {0};
    if (found.len == 64) {
        memcpy(hex, found.data, 64);
    }
    const int rc = hex_decode_fixed(hex, hash, 32, err);
    return rc != 0 ? error_prefix(err, rc, "sha256sum.txt: hash of %s", name) : 0;
}

int checksums_check(dstack_bytes text, const char *name, dstack_bytes content, dstack_error *err) {
    uint8_t expected[32], actual[32];
    const int rc = checksums_find(text, name, expected, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(content, actual);
    if (memcmp(expected, actual, sizeof actual) != 0) {
        char want[65], have[65];
        hex_encode(bytes_of(expected, sizeof expected), want);
        hex_encode(bytes_of(actual, sizeof actual), have);
        return error_set(err, DSTACK_E_REFUSED, "%s hash mismatch: expected=%s, actual=%s", name,
                         want, have);
    }
    return 0;
}
