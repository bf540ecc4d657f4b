#include "base/cursor.h"

#include <string.h>

static uint64_t read_le(cursor *c, size_t n) {
    const uint8_t *at = cursor_advance(c, n);
    uint64_t value = 0;
    for (size_t i = n; at != NULL && i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static uint64_t read_be(cursor *c, size_t n) {
    const uint8_t *at = cursor_advance(c, n);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < n; i++) {
        value = value << 8 | at[i];
    }
    return value;
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

void cursor_copy(cursor *c, void *out, size_t n) {
    const uint8_t *at = cursor_advance(c, n);
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

dstack_bytes bytes_of_str(const char *text) {
    return bytes_of(text, strlen(text));
}

dstack_bytes bytes_of_buf(const dstack_buf *buf) {
    return (dstack_bytes){buf->data, buf->len};
}

bool bytes_are_zero(dstack_bytes a) {
    uint8_t any = 0;
    for (size_t i = 0; i < a.len; i++) {
        any |= a.data[i];
    }
    return any == 0;
}
