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

/* Eight digits of four bytes at once, without a table: the bytes may be a key, and which line of a
 * table is read would show in the cache. */
static void hex_of_four(const uint8_t in[4], uint8_t out[8]) {
    uint64_t x =
        (uint64_t)in[0] | (uint64_t)in[1] << 16 | (uint64_t)in[2] << 32 | (uint64_t)in[3] << 48;
    uint64_t nibbles = ((x >> 4) & 0x000f000f000f000f) | ((x & 0x000f000f000f000f) << 8);
    uint64_t letters = ((nibbles + 0x0606060606060606) >> 4) & 0x0101010101010101;
    uint64_t digits = nibbles + 0x3030303030303030 + letters * ('a' - '0' - 10);
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(digits >> (8 * i));
    }
}

void buf_put_hex(dstack_buf *buf, dstack_bytes bytes) {
    buf_reserve(buf, 2 * bytes.len);
    if (buf->failed) {
        return;
    }
    uint8_t *out = buf->data + buf->len;
    size_t whole = bytes.len & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4) {
        hex_of_four(bytes.data + i, out + 2 * i);
    }
    if (whole < bytes.len) {
        uint8_t rest[4] = {0}, text[8];
        memcpy(rest, bytes.data + whole, bytes.len - whole);
        hex_of_four(rest, text);
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
