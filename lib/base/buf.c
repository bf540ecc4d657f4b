#include "base/buf.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Far above any document handled here; keeps size arithmetic away from overflow. */
#define BUF_MAX ((size_t)1 << 40)

void dstack_buf_clear(dstack_buf *buf) {
    if (buf != NULL) {
        free(buf->data);
        *buf = (dstack_buf){0};
    }
}

void buf_wipe(dstack_buf *buf) {
    if (buf->data != NULL) {
        sodium_memzero(buf->data, buf->cap);
    }
    dstack_buf_clear(buf);
}

void buf_reserve(dstack_buf *buf, size_t more) {
    if (buf->failed) {
        return;
    }
    if (more > BUF_MAX || buf->len > BUF_MAX - more) {
        buf->failed = true;
        return;
    }
    size_t need = buf->len + more;
    if (need <= buf->cap) {
        return;
    }
    size_t cap = buf->cap < 32 ? 64 : buf->cap * 2;
    if (cap < need) {
        cap = need;
    }
    uint8_t *data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return;
    }
    buf->data = data;
    buf->cap = cap;
}

void buf_put(dstack_buf *buf, const void *data, size_t len) {
    buf_reserve(buf, len);
    if (!buf->failed && len > 0) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
}

void buf_put_bytes(dstack_buf *buf, dstack_bytes bytes) {
    buf_put(buf, bytes.data, bytes.len);
}

void buf_put_u8(dstack_buf *buf, uint8_t value) {
    buf_put(buf, &value, 1);
}

static void put_le(dstack_buf *buf, uint64_t value, size_t n) {
    uint8_t raw[8];
    for (size_t i = 0; i < n; i++) {
        raw[i] = (uint8_t)(value >> (8 * i));
    }
    buf_put(buf, raw, n);
}

static void put_be(dstack_buf *buf, uint64_t value, size_t n) {
    uint8_t raw[8];
    for (size_t i = 0; i < n; i++) {
        raw[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    }
    buf_put(buf, raw, n);
}

void buf_put_u16le(dstack_buf *buf, uint16_t value) {
    put_le(buf, value, 2);
}

void buf_put_u32le(dstack_buf *buf, uint32_t value) {
    put_le(buf, value, 4);
}

void buf_put_u64le(dstack_buf *buf, uint64_t value) {
    put_le(buf, value, 8);
}

void buf_put_u16be(dstack_buf *buf, uint16_t value) {
    put_be(buf, value, 2);
}

void buf_put_u32be(dstack_buf *buf, uint32_t value) {
    put_be(buf, value, 4);
}

void buf_put_u64be(dstack_buf *buf, uint64_t value) {
    put_be(buf, value, 8);
}

void buf_put_str(dstack_buf *buf, const char *text) {
    buf_put(buf, text, strlen(text));
}

void buf_put_fmt(dstack_buf *buf, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0) {
        buf->failed = true;
    } else {
        buf_reserve(buf, (size_t)len + 1);
        if (!buf->failed) {
            vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, fmt, again);
            buf->len += (size_t)len;
        }
    }
    va_end(again);
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Digits of values up to 15, without a table: they may be of a key, and which line of a table is read
 * would show in the cache. */
static bytes16 hex_digits(bytes16 nibbles) {
    return nibbles + '0' + ((bytes16)(nibbles > 9) & ('a' - '0' - 10));
}

static void hex_of_sixteen(const uint8_t in[16], uint8_t out[32]) {
    bytes16 bytes;
    memcpy(&bytes, in, sizeof bytes);
    bytes16 high = hex_digits(bytes >> 4), low = hex_digits(bytes & 15);
    bytes16 first =
        __builtin_shufflevector(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    bytes16 second = __builtin_shufflevector(high, low, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                             29, 14, 30, 15, 31);
    memcpy(out, &first, sizeof first);
    memcpy(out + 16, &second, sizeof second);
}

void buf_put_hex(dstack_buf *buf, dstack_bytes bytes) {
    buf_reserve(buf, 2 * bytes.len);
    if (buf->failed) {
        return;
    }
    uint8_t *out = buf->data + buf->len;
    size_t whole = bytes.len & ~(size_t)15;
    for (size_t i = 0; i < whole; i += 16) {
        hex_of_sixteen(bytes.data + i, out + 2 * i);
    }
    if (whole < bytes.len) {
        uint8_t rest[16] = {0}, text[32];
        memcpy(rest, bytes.data + whole, bytes.len - whole);
        hex_of_sixteen(rest, text);
        memcpy(out + 2 * whole, text, 2 * (bytes.len - whole));
        sodium_memzero(rest, sizeof rest);
        sodium_memzero(text, sizeof text);
    }
    buf->len += 2 * bytes.len;
}

void buf_put_zeros(dstack_buf *buf, size_t count) {
    buf_reserve(buf, count);
    if (!buf->failed && count > 0) {
        memset(buf->data + buf->len, 0, count);
        buf->len += count;
    }
}

const char *buf_text(dstack_buf *buf) {
    buf_reserve(buf, 1);
    if (buf->failed) {
        return NULL;
    }
    buf->data[buf->len] = '\0';
    return (const char *)buf->data;
}

char *buf_detach_text(dstack_buf *buf) {
    if (buf_text(buf) == NULL) {
        return NULL;
    }
    char *text = (char *)buf->data;
    *buf = (dstack_buf){0};
    return text;
}

int buf_check(const dstack_buf *buf, dstack_error *err) {
    return buf->failed ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

void buf_reset(dstack_buf *buf) {
    buf->len = 0;
    buf->failed = false;
}
