/* The bounds-checked reader through which every untrusted byte passes.
 *
 * Reads past the end set `failed`, give zeros or empty views and leave the cursor at its end, so a
 * parser reads all its fields and tests once: `if (!cursor_ok(&c)) return error_set(...)`. A length
 * read from the input must still be tested before it decides about anything but reading.
 *
 * The small readers are here to be inlined: certificates and lists are read in single bytes. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <string.h>

#include <dstack/bytes.h>

typedef struct cursor {
    const uint8_t *data; /* whole input */
    size_t len;          /* its size */
    size_t pos;          /* next byte to read, <= len */
    bool failed;         /* some read went past the end */
} cursor;

static inline cursor cursor_init(dstack_bytes input) {
    return (cursor){.data = input.data, .len = input.data == NULL ? 0 : input.len};
}
static inline bool cursor_ok(const cursor *c) {
    return !c->failed;
}
static inline size_t cursor_left(const cursor *c) {
    return c->len - c->pos;
}
/* No failure and nothing left. */
static inline bool cursor_done(const cursor *c) {
    return !c->failed && c->pos == c->len;
}

/* Views and comparisons that parsers share. */
static inline dstack_bytes bytes_of(const void *data, size_t len) {
    return (dstack_bytes){(const uint8_t *)data, len};
}

/* The next n bytes, or NULL and failed when fewer are left. */
static inline const uint8_t *cursor_advance(cursor *c, size_t n) {
    if (c->failed || n > c->len - c->pos) {
        c->failed = true;
        c->pos = c->len;
        return NULL;
    }
    const uint8_t *at = c->data + c->pos;
    c->pos += n;
    return at;
}

static inline uint8_t cursor_u8(cursor *c) {
    const uint8_t *at = cursor_advance(c, 1);
    return at == NULL ? 0 : *at;
}
uint16_t cursor_u16le(cursor *c);
uint32_t cursor_u32le(cursor *c);
uint64_t cursor_u64le(cursor *c);
uint16_t cursor_u16be(cursor *c);
uint32_t cursor_u32be(cursor *c);
uint64_t cursor_u64be(cursor *c);
/* A view of the next n bytes (no copy); empty and failed when fewer are left. */
static inline dstack_bytes cursor_take(cursor *c, size_t n) {
    const uint8_t *at = cursor_advance(c, n);
    return bytes_of(at, at == NULL ? 0 : n);
}
/* Copies the next n bytes; fills with zeros and fails when fewer are left. */
void cursor_copy(cursor *c, void *out, size_t n);
/* Everything that is left. */
dstack_bytes cursor_rest(cursor *c);
static inline void cursor_skip(cursor *c, size_t n) {
    (void)cursor_advance(c, n);
}
/* The next byte without reading it; 0 and failed at the end. */
static inline uint8_t cursor_peek_u8(cursor *c) {
    if (c->failed || c->pos == c->len) {
        c->failed = true;
        return 0;
    }
    return c->data[c->pos];
}

/* The bytes of a C string without its final zero. */
dstack_bytes bytes_of_str(const char *text);
dstack_bytes bytes_of_buf(const dstack_buf *buf);
/* Variable time: for public values only. */
static inline bool bytes_equal(dstack_bytes a, dstack_bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline bool bytes_equal_str(dstack_bytes a, const char *text) {
    return a.len == 0 ? text[0] == '\0'
                      : a.data[0] == (uint8_t)text[0] && bytes_equal(a, bytes_of_str(text));
}
/* True when every byte is zero (also for an empty view). */
bool bytes_are_zero(dstack_bytes a);

#endif
