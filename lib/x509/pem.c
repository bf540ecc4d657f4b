#include "x509/pem.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"

static const char begin_mark[] = "-----BEGIN ";
static const char end_mark[] = "-----END ";
static const char dashes[] = "-----";

void pem_block_clear(pem_block *block) {
    buf_wipe(&block->der);
    block->label = (dstack_bytes){0};
}

void pem_reader_init(pem_reader *reader, dstack_bytes text) {
    reader->rest = text;
}

/* Moves *text past the first occurrence of mark and gives what stood before it. */
static bool split(dstack_bytes *text, const char *mark, dstack_bytes *before) {
    size_t len = strlen(mark);
    const uint8_t *at = text->len < len ? NULL : memmem(text->data, text->len, mark, len);
    if (at == NULL) {
        return false;
    }
    size_t skipped = (size_t)(at - text->data);
    *before = bytes_of(text->data, skipped);
    *text = bytes_of(at + len, text->len - skipped - len);
    return true;
}

static bool label_is_sound(dstack_bytes label) {
    bool sound = label.len > 0 && label.len <= PEM_MAX_LABEL;
    for (size_t i = 0; sound && i < label.len; i++) {
        sound = label.data[i] >= ' ' && label.data[i] < 0x7f && label.data[i] != '-';
    }
    return sound;
}

int pem_next(pem_reader *reader, pem_block *block, bool *found, dstack_error *err) {
    dstack_bytes before, label, body, end_label;
    dstack_bytes rest = reader->rest;
    pem_block_clear(block);
    *found = false;
    if (rest.len > PEM_MAX_TEXT) {
        return error_set(err, DSTACK_E_LIMIT, "PEM text of %zu bytes exceeds %d", rest.len,
                         PEM_MAX_TEXT);
    }
    if (!split(&rest, begin_mark, &before)) {
        reader->rest = (dstack_bytes){0};
        return 0;
    }
    if (!split(&rest, dashes, &label) || !label_is_sound(label)) {
        return error_set(err, DSTACK_E_FORMAT, "PEM: a BEGIN line has no well-formed label");
    }
    if (!split(&rest, end_mark, &body) || !split(&rest, dashes, &end_label)) {
        return error_set(err, DSTACK_E_FORMAT, "PEM: block \"%.*s\" has no END line",
                         (int)label.len, (const char *)label.data);
    }
    if (!bytes_equal(label, end_label)) {
        return error_set(err, DSTACK_E_FORMAT, "PEM: block \"%.*s\" ends under another label",
                         (int)label.len, (const char *)label.data);
    }
    buf_reserve(&block->der, body.len / 4 * 3 + 3); /* in one piece: it may be a private key */
    int rc = memmem(label.data, label.len, "PRIVATE", 7) != NULL
                 ? base64_decode(body, BASE64_STANDARD, &block->der, err)
                 : base64_decode_public(body, &block->der, err);
    if (rc != 0) {
        return error_prefix(err, rc, "PEM block \"%.*s\"", (int)label.len,
                            (const char *)label.data);
    }
    block->label = label;
    reader->rest = rest;
    *found = true;
    return 0;
}

int pem_append(dstack_buf *out, const char *label, dstack_bytes der, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    buf_reserve(&text, (der.len + 2) / 3 * 4 + 1);
    base64_encode(der, BASE64_STANDARD, &text);
    buf_put_str(out, begin_mark);
    buf_put_str(out, label);
    buf_put_str(out, "-----\n");
    for (size_t i = 0; i < text.len; i += 64) {
        buf_put(out, text.data + i, text.len - i < 64 ? text.len - i : 64);
        buf_put_u8(out, '\n');
    }
    buf_put_str(out, end_mark);
    buf_put_str(out, label);
    buf_put_str(out, "-----\n");
    int rc = buf_check(&text, err);
    return rc != 0 ? rc : buf_check(out, err);
}

bool pem_looks_like(dstack_bytes text) {
    /* DER may hold PEM inside: an RA-TLS certificate carries the text of other certificates in its
     * evidence. A SEQUENCE in long form has a second byte that no text has. */
    if (text.len >= 2 && text.data[0] == 0x30 && text.data[1] >= 0x80) {
        return false;
    }
    dstack_bytes before;
    return split(&text, begin_mark, &before);
}
