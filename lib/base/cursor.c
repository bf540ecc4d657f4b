#include "base/cursor.h"

#include <string.h>

cursor cursor_init(dstack_bytes input) {
    return (cursor){.data = input.data, .len = input.data == NULL ? 0 : input.len};
}

static const uint8_t *take(cursor *c, size_t n) {
    if (c->failed || n > c->len - c->pos) {
        c->failed = true;
        c->pos = c->len;
        return NULL;
    }
    const uint8_t *at = c->data + c->pos;
    c->pos += n;
    return at;
}

static uint64_t read_le(cursor *c, size_t n) {
    const uint8_t *at = take(c, n);
    uint64_t value = 0;
    for (size_t i = n; at != NULL && i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static uint64_t read_be(cursor *c, size_t n) {
    const uint8_t *at = take(c, n);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < n; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

uint8_t cursor_u8(cursor *c) {
    return (uint8_t)read_le(c, 1);
}

uint16_t cursor_u16le(cursor *c) {
    return (uint16_t)read_le(c, 2);
}

uint32_t cursor_u32le(cursor *c) {
    return (uint32_t)read_le(c, 4);
}

uint64_t cursor_u64le(cursor *c) {
    return read_le(c, 8);
}

uint16_t cursor_u16be(cursor *c) {
    return (uint16_t)read_be(c, 2);
}

uint32_t cursor_u32be(cursor *c) {
    return (uint32_t)read_be(c, 4);
}

uint64_t cursor_u64be(cursor *c) {
    return read_be(c, 8);
}

dstack_bytes cursor_take(cursor *c, size_t n) {
    const uint8_t *at = take(c, n);
    return at == NULL ? (dstack_bytes){NULL, 0} : (dstack_bytes){at, n};
}

void cursor_copy(cursor *c, void *out, size_t n) {
    const uint8_t *at = take(c, n);
    if (n == 0) {
        return;
    }
    if (at == NULL) {
        memset(out, 0, n);
    } else {
        memcpy(out, at, n);
    }
}

dstack_bytes cursor_rest(cursor *c) {
    return cursor_take(c, c->failed ? 0 : cursor_left(c));
}

void cursor_skip(cursor *c, size_t n) {
    (void)take(c, n);
}

uint8_t cursor_peek_u8(cursor *c) {
    if (c->failed || c->pos == c->len) {
        c->failed = true;
        return 0;
    }
    return c->data[c->pos];
}

dstack_bytes bytes_of_str(const char *text) {
    return bytes_of(text, strlen(text));
}

dstack_bytes bytes_of_buf(const dstack_buf *buf) {
    return (dstack_bytes){buf->data, buf->len};
}

bool bytes_equal(dstack_bytes a, dstack_bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_equal_str(dstack_bytes a, const char *text) {
    return bytes_equal(a, bytes_of_str(text));
}

bool bytes_are_zero(dstack_bytes a) {
    uint8_t any = 0;
    for (size_t i = 0; i < a.len; i++) {
        any |= a.data[i];
    }
    return any == 0;
}
