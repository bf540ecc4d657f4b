#include "service/image_sums.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"

static bool is_blank(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static dstack_bytes take_line(cursor *c) {
    dstack_bytes rest = bytes_of(c->data + c->pos, cursor_left(c));
    const uint8_t *end = memchr(rest.data, '\n', rest.len);
    dstack_bytes line = cursor_take(c, end == NULL ? rest.len : (size_t)(end - rest.data));
    cursor_skip(c, end == NULL ? 0 : 1);
    return line;
}

static dstack_bytes take_word(cursor *c) {
    while (cursor_left(c) > 0 && is_blank(cursor_peek_u8(c))) {
        cursor_skip(c, 1);
    }
    size_t len = 0;
    while (len < cursor_left(c) && !is_blank(c->data[c->pos + len])) {
        len++;
    }
    return cursor_take(c, len);
}

static int take_entry(dstack_bytes digest, dstack_bytes name, size_t line, image_sum *out,
                      dstack_error *err) {
    if (name.len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "image manifest entry is missing a path");
    }
    if (name.len >= sizeof out->name || memchr(name.data, '\0', name.len) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "image manifest line %zu has an unsafe path", line);
    }
    memcpy(out->name, name.data, name.len);
    out->name[name.len] = '\0';
    if (file_check_name(out->name, "file", NULL) != 0 || strcmp(out->name, IMAGE_SUMS_FILE) == 0) {
        return error_set(err, DSTACK_E_FORMAT, "image manifest line %zu has an unsafe path", line);
    }
    return hex_decode_bytes(digest, out->digest, sizeof out->digest, NULL) == 0
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "image manifest line %zu has no SHA-256", line);
}

int image_sums_parse(dstack_bytes text, image_sums *out, dstack_error *err) {
    out->count = 0;
    cursor c = cursor_init(text);
    for (size_t line = 1; cursor_left(&c) > 0; line++) {
        cursor words = cursor_init(take_line(&c));
        dstack_bytes digest = take_word(&words), name = take_word(&words);
        if (digest.len == 0) {
            continue;
        }
        if (take_word(&words).len > 0) {
            return error_set(err, DSTACK_E_FORMAT, "image manifest line %zu has extra fields",
                             line);
        }
        if (out->count == IMAGE_SUMS_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "image manifest has more than %d entries",
                             IMAGE_SUMS_MAX);
        }
        int rc = take_entry(digest, name, line, &out->items[out->count], err);
        if (rc != 0) {
            return rc;
        }
        out->count++;
    }
    return 0;
}

bool image_sums_has(const image_sums *sums, const char *name) {
    for (size_t i = 0; i < sums->count; i++) {
        if (strcmp(sums->items[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}
