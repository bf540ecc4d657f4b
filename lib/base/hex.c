#include "base/hex.h"

#include <sodium.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"

void hex_encode(dstack_bytes bytes, char *out) {
    sodium_bin2hex(out, 2 * bytes.len + 1, bytes.data, bytes.len);
}

static int nibble(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(dstack_bytes text, dstack_buf *out, dstack_error *err) {
    if (text.len % 2 != 0) {
        return error_set(err, DSTACK_E_FORMAT, "hex text has an odd length of %zu", text.len);
    }
    buf_reserve(out, text.len / 2);
    for (size_t i = 0; i < text.len; i += 2) {
        int high = nibble(text.data[i]);
        int low = nibble(text.data[i + 1]);
        if (high < 0 || low < 0) {
            return error_set(err, DSTACK_E_FORMAT, "not a hex digit at position %zu",
                             high < 0 ? i : i + 1);
        }
        buf_put_u8(out, (uint8_t)(high << 4 | low));
    }
    return buf_check(out, err);
}

int hex_decode_bytes(dstack_bytes text, uint8_t *out, size_t len, dstack_error *err) {
    if (text.len != 2 * len) {
        return error_set(err, DSTACK_E_FORMAT, "expected %zu hex digits, found %zu", 2 * len,
                         text.len);
    }
    for (size_t i = 0; i < len; i++) {
        int high = nibble(text.data[2 * i]);
        int low = nibble(text.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return error_set(err, DSTACK_E_FORMAT, "not a hex digit at position %zu", 2 * i);
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

int hex_decode_fixed(const char *text, uint8_t *out, size_t len, dstack_error *err) {
    return hex_decode_bytes((dstack_bytes){(const uint8_t *)text, strlen(text)}, out, len, err);
}

static int sodium_variant(base64_form form) {
    return form == BASE64_STANDARD ? sodium_base64_VARIANT_ORIGINAL
                                   : sodium_base64_VARIANT_URLSAFE_NO_PADDING;
}

void base64_encode(dstack_bytes bytes, base64_form form, dstack_buf *out) {
    size_t size = sodium_base64_encoded_len(bytes.len, sodium_variant(form));
    buf_reserve(out, size);
    if (!out->failed) {
        sodium_bin2base64((char *)out->data + out->len, size, bytes.data, bytes.len,
                          sodium_variant(form));
        out->len += size - 1; /* sodium counts the final zero */
    }
}

/* libsodium 1.0.18 takes every byte from 0x80 on for the last letter of the alphabet. */
static bool is_ascii(dstack_bytes text) {
    uint8_t all = 0;
    for (size_t i = 0; i < text.len; i++) {
        all |= text.data[i];
    }
    return all < 0x80;
}

int base64_decode(dstack_bytes text, base64_form form, dstack_buf *out, dstack_error *err) {
    if (!is_ascii(text)) {
        return error_set(err, DSTACK_E_FORMAT, "not base64 text");
    }
    size_t room = text.len / 4 * 3 + 3;
    buf_reserve(out, room);
    if (out->failed) {
        return buf_check(out, err);
    }
    size_t len = 0;
    const char *end = NULL;
    const char *ignore = form == BASE64_STANDARD ? " \t\r\n" : NULL;
    if (text.len > 0 &&
        (sodium_base642bin(out->data + out->len, room, (const char *)text.data, text.len, ignore,
                           &len, &end, sodium_variant(form)) != 0 ||
         end != (const char *)text.data + text.len)) {
        return error_set(err, DSTACK_E_FORMAT, "not base64 text");
    }
    out->len += len;
    return 0;
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int bytes_from_any_text(dstack_bytes content, bool (*looks_binary)(dstack_bytes), dstack_buf *out,
                        dstack_error *err) {
    if (looks_binary(content)) {
        buf_put_bytes(out, content);
        return buf_check(out, err);
    }
    dstack_bytes text = content;
    while (text.len > 0 && is_blank(text.data[0])) {
        text = (dstack_bytes){text.data + 1, text.len - 1};
    }
    while (text.len > 0 && is_blank(text.data[text.len - 1])) {
        text.len--;
    }
    if (text.len > 2 && text.data[0] == '0' && (text.data[1] | 0x20) == 'x') {
        text = (dstack_bytes){text.data + 2, text.len - 2};
    }
    size_t start = out->len;
    if (hex_decode(text, out, NULL) == 0) {
        return 0;
    }
    out->len = start;
    if (base64_decode(text, BASE64_STANDARD, out, NULL) == 0 && out->len > start) {
        return 0;
    }
    out->len = start;
    return error_set(err, DSTACK_E_FORMAT, "neither the expected binary form, nor hex, nor base64");
}
