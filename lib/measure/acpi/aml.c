#include "measure/acpi/aml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/hex.h"

#define EXPANDED_MAX 1024

/* A piece of text between blanks; a brace is one of its own. */
typedef struct token {
    const char *at;
    size_t len;
} token;

static token next_token(const char **text) {
    const char *at = *text + strspn(*text, " ");
    const char *end = at[0] == '\'' ? strchr(at + 1, '\'') : NULL;
    const size_t len = end != NULL ? (size_t)(end - at) + 1 : strcspn(at, " {}");
    const token t = {at, len == 0 && at[0] != '\0' ? 1 : len};
    *text = at + t.len;
    return t;
}

static void put_u8(aml *a, uint64_t value) {
    buf_put_u8(a->out, (uint8_t)value);
}

/* DWordPrefix and the like, section 20.2.3: the shortest form. */
static void put_integer(aml *a, uint64_t value) {
    if (value <= 1) {
        put_u8(a, value); /* ZeroOp, OneOp */
    } else if (value <= UINT8_MAX) {
        put_u8(a, 0x0a);
        put_u8(a, value);
    } else if (value <= UINT16_MAX) {
        put_u8(a, 0x0b);
        buf_put_u16le(a->out, (uint16_t)value);
    } else if (value <= UINT32_MAX) {
        put_u8(a, 0x0c);
        buf_put_u32le(a->out, (uint32_t)value);
    } else {
        put_u8(a, 0x0e);
        buf_put_u64le(a->out, value);
    }
}

/* PkgLength, section 20.2.4; `own` counts the encoding itself. Returns its size. */
static size_t package_length(size_t content, bool own, uint8_t out[4]) {
    static const size_t limits[] = {(size_t)1 << 6, (size_t)1 << 12, (size_t)1 << 20};
    size_t size = 1;
    while (size < 4 && content + (own ? size : 0) >= limits[size - 1]) {
        size++;
    }
    const size_t value = content + (own ? size : 0);
    if (size == 1) {
        out[0] = (uint8_t)value;
        return 1;
    }
    out[0] = (uint8_t)(((size - 1) << 6) | (value & 0x0f));
    for (size_t i = 1; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * i - 4));
    }
    return size;
}

static void insert(aml *a, size_t at, const uint8_t *bytes, size_t len) {
    buf_put_zeros(a->out, len);
    if (a->out->failed) {
        return;
    }
    uint8_t *where = a->out->data + at;
    memmove(where + len, where, a->out->len - len - at);
    memcpy(where, bytes, len);
}

static void open_package(aml *a, bool template) {
    if (a->depth == AML_MAX_DEPTH) {
        a->failed = true;
        return;
    }
    a->open[a->depth].start = a->out->len;
    a->open[a->depth++].template = template;
}

static void close_package(aml *a) {
    if (a->depth == 0 || a->out->failed) {
        a->failed = true;
        return;
    }
    const size_t start = a->open[--a->depth].start;
    uint8_t length[4];
    if (a->open[a->depth].template) {
        buf_put(a->out, "\x79", 2); /* end tag; a zero checksum counts as right */
        const size_t size = a->out->len - start;
        const uint8_t integer[] = {0x0a, (uint8_t)size};
        a->failed |= size < 2 || size > UINT8_MAX;
        insert(a, start, integer, sizeof integer);
    }
    insert(a, start, length, package_length(a->out->len - start, true, length));
}

/* NameSeg: upper case, filled up with underscores. */
static void put_segment(aml *a, const char *text, size_t len) {
    if (len == 0 || len > 4) {
        a->failed = true;
        return;
    }
    char segment[4] = {'_', '_', '_', '_'};
    memcpy(segment, text, len);
    buf_put(a->out, segment, sizeof segment);
}

/* NameString, section 20.2.2. */
static void put_name(aml *a, token t) {
    if (t.len > 0 && t.at[0] == '\\') {
        put_u8(a, '\\');
        t.at++;
        t.len--;
    }
    size_t segments = 1;
    for (size_t i = 0; i < t.len; i++) {
        segments += t.at[i] == '.';
    }
    if (t.len == 0) {
        put_u8(a, 0); /* NullName: the root itself */
        return;
    }
    if (segments == 2) {
        put_u8(a, 0x2e);
    } else if (segments > 2) {
        put_u8(a, 0x2f);
        put_u8(a, segments);
    }
    while (segments-- > 0) {
        const char *dot = memchr(t.at, '.', t.len);
        const size_t len = dot != NULL ? (size_t)(dot - t.at) : t.len;
        put_segment(a, t.at, len);
        t.at += len + (dot != NULL);
        t.len -= len + (dot != NULL);
    }
}

/* FieldElement: a name and its width in bits, or a width that is skipped. */
static void put_field(aml *a, token t, const char *colon) {
    uint8_t length[4];
    if (colon == t.at) {
        put_u8(a, 0);
    } else {
        put_segment(a, t.at, (size_t)(colon - t.at));
    }
    buf_put(a->out, length, package_length(strtoul(colon + 1, NULL, 10), false, length));
}

/* Compressed id, section 19.3.4: three letters of five bits, four hexadecimal digits. */
static void put_eisa(aml *a, token t) {
    char digits[5] = "";
    if (t.len != 7) {
        a->failed = true;
        return;
    }
    memcpy(digits, t.at + 3, 4);
    const uint32_t letters = (uint32_t)(t.at[0] - '@') << 10 | (uint32_t)(t.at[1] - '@') << 5 |
                             (uint32_t)(t.at[2] - '@');
    buf_put_u16be(a->out, (uint16_t)letters);
    buf_put_u16be(a->out, (uint16_t)strtoul(digits, NULL, 16));
}

/* ToUUID, section 19.6.142: the first three groups are little-endian. */
static void put_uuid(aml *a, token t) {
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char digits[33];
    uint8_t raw[16];
    size_t n = 0;
    for (size_t i = 0; i < t.len && n < 32; i++) {
        if (t.at[i] != '-') {
            digits[n++] = t.at[i];
        }
    }
    digits[n] = '\0';
    a->failed |= hex_decode_fixed(digits, raw, sizeof raw, NULL) != 0;
    for (size_t i = 0; i < 16 && !a->failed; i++) {
        put_u8(a, raw[order[i]]);
    }
}

static void put_operand(aml *a, char kind, token t) {
    const uint64_t number = strchr("bwdq", kind) != NULL ? strtoull(t.at, NULL, 0) : 0;
    switch (kind) {
    case 'n':
        put_name(a, t);
        break;
    case 'e':
        put_eisa(a, t);
        break;
    case 'u':
        put_uuid(a, t);
        break;
    case 'b':
        put_u8(a, number);
        break;
    case 'w':
        buf_put_u16le(a->out, (uint16_t)number);
        break;
    case 'd':
        buf_put_u32le(a->out, (uint32_t)number);
        break;
    default:
        buf_put_u64le(a->out, number);
        break;
    }
}

static void put_term(aml *a, token t, const char **text) {
    const aml_term *term = aml_term_find(t.at, t.len);
    if (term == NULL) {
        a->failed = true;
        return;
    }
    buf_put(a->out, term->opcode, term->opcode_len);
    if (term->kind != AML_PLAIN) {
        open_package(a, term->kind == AML_TEMPLATE);
    }
    for (const char *kind = term->operands; *kind != '\0'; kind++) {
        const token operand = next_token(text);
        a->failed |= operand.len == 0;
        put_operand(a, *kind, operand);
    }
}

/* Names are upper case throughout; words of the language are not. */
static bool is_name(token t) {
    for (size_t i = 0; i < t.len; i++) {
        if (t.at[i] >= 'a' && t.at[i] <= 'z') {
            return false;
        }
    }
    return true;
}

static void put_token(aml *a, token t, const char **text) {
    const char *colon = memchr(t.at, ':', t.len);
    switch (t.at[0]) {
    case '{':
        return;
    case '}':
        close_package(a);
        return;
    case '#':
        a->failed |= hex_decode(bytes_of(t.at + 1, t.len - 1), a->out, NULL) != 0;
        return;
    case '\'':
        put_u8(a, 0x0d);
        buf_put(a->out, t.at + 1, t.len - 2);
        put_u8(a, 0);
        return;
    default:
        break;
    }
    if (t.at[0] >= '0' && t.at[0] <= '9') {
        put_integer(a, strtoull(t.at, NULL, 0));
    } else if (colon != NULL) {
        put_field(a, t, colon);
    } else if (is_name(t)) {
        put_name(a, t);
    } else {
        put_term(a, t, text);
    }
}

void aml_put(aml *a, const char *text) {
    for (token t = next_token(&text); t.len > 0 && !a->failed; t = next_token(&text)) {
        put_token(a, t, &text);
    }
    a->failed |= a->out->failed;
}

void aml_putf(aml *a, const char *fmt, ...) {
    char text[EXPANDED_MAX];
    va_list args;
    va_start(args, fmt);
    const int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof text) {
        a->failed = true;
        return;
    }
    aml_put(a, text);
}
