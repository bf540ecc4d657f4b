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

/* Letter to six bits, marked by the seventh; 0 for every other byte. */
static const uint8_t sextets[256] = {
    ['A'] = 64,  ['B'] = 65,  ['C'] = 66,  ['D'] = 67,  ['E'] = 68,  ['F'] = 69,  ['G'] = 70,
    ['H'] = 71,  ['I'] = 72,  ['J'] = 73,  ['K'] = 74,  ['L'] = 75,  ['M'] = 76,  ['N'] = 77,
    ['O'] = 78,  ['P'] = 79,  ['Q'] = 80,  ['R'] = 81,  ['S'] = 82,  ['T'] = 83,  ['U'] = 84,
    ['V'] = 85,  ['W'] = 86,  ['X'] = 87,  ['Y'] = 88,  ['Z'] = 89,  ['a'] = 90,  ['b'] = 91,
    ['c'] = 92,  ['d'] = 93,  ['e'] = 94,  ['f'] = 95,  ['g'] = 96,  ['h'] = 97,  ['i'] = 98,
    ['j'] = 99,  ['k'] = 100, ['l'] = 101, ['m'] = 102, ['n'] = 103, ['o'] = 104, ['p'] = 105,
    ['q'] = 106, ['r'] = 107, ['s'] = 108, ['t'] = 109, ['u'] = 110, ['v'] = 111, ['w'] = 112,
    ['x'] = 113, ['y'] = 114, ['z'] = 115, ['0'] = 116, ['1'] = 117, ['2'] = 118, ['3'] = 119,
    ['4'] = 120, ['5'] = 121, ['6'] = 122, ['7'] = 123, ['8'] = 124, ['9'] = 125, ['+'] = 126,
    ['/'] = 127,
};

/* Whole groups of four letters go through the table, with line ends between them; whatever is left,
 * at the latest the padding, is decoded and judged by the strict decoder. */
int base64_decode_public(dstack_bytes text, dstack_buf *out, dstack_error *err) {
    buf_reserve(out, text.len / 4 * 3 + 3);
    if (out->failed) {
        return buf_check(out, err);
    }
    const uint8_t *from = text.data;
    size_t at = 0;
    uint8_t *to = out->data + out->len;
    while (text.len - at >= 4) {
        uint32_t a = sextets[from[at]], b = sextets[from[at + 1]], c = sextets[from[at + 2]],
                 d = sextets[from[at + 3]];
        if ((a & b & c & d & 64) != 0) {
            uint32_t group = a << 18 | (b & 63) << 12 | (c & 63) << 6 | (d & 63);
            *to++ = (uint8_t)(group >> 16);
            *to++ = (uint8_t)(group >> 8);
            *to++ = (uint8_t)group;
            at += 4;
        } else if (from[at] == '\n' || from[at] == '\r') {
            at++;
        } else {
            break;
        }
    }
    out->len = (size_t)(to - out->data);
    dstack_bytes rest = {at == 0 ? from : from + at, text.len - at};
    return base64_decode(rest, BASE64_STANDARD, out, err);
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
