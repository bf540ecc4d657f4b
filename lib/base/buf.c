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

void buf_put_hex(dstack_buf *buf, dstack_bytes bytes) {
    static const char digits[] = "0123456789abcdef";
    buf_reserve(buf, 2 * bytes.len);
    for (size_t i = 0; i < bytes.len && !buf->failed; i++) {
        buf->data[buf->len++] = (uint8_t)digits[bytes.data[i] >> 4];
        buf->data[buf->len++] = (uint8_t)digits[bytes.data[i] & 15];
    }
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
