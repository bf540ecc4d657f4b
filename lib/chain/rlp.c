#include "chain/rlp.h"

#include "base/buf.h"
#include "base/cursor.h"

#define STRING 0x80
#define LIST 0xc0
#define SHORT_MAX 55

static size_t size_of_number(uint64_t value) {
    size_t size = 0;
    for (; value != 0; value >>= 8) {
        size++;
    }
    return size;
}

static void put_big_endian(dstack_buf *out, uint64_t value, size_t size) {
    while (size > 0) {
        buf_put_u8(out, (uint8_t)(value >> 8 * --size));
    }
}

static void put_header(dstack_buf *out, uint8_t base, size_t len) {
    if (len <= SHORT_MAX) {
        buf_put_u8(out, (uint8_t)(base + len));
    } else {
        size_t size = size_of_number(len);
        buf_put_u8(out, (uint8_t)(base + SHORT_MAX + size));
        put_big_endian(out, len, size);
    }
}

void rlp_put_bytes(dstack_buf *out, dstack_bytes bytes) {
    /* A single small byte is its own encoding. */
    if (bytes.len != 1 || bytes.data[0] >= STRING) {
        put_header(out, STRING, bytes.len);
    }
    buf_put_bytes(out, bytes);
}

void rlp_put_number(dstack_buf *out, dstack_bytes big_endian) {
    while (big_endian.len > 0 && big_endian.data[0] == 0) {
        big_endian.data++;
        big_endian.len--;
    }
    rlp_put_bytes(out, big_endian);
}

void rlp_put_uint(dstack_buf *out, uint64_t value) {
    uint8_t bytes[sizeof value];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(value >> 8 * (sizeof bytes - 1 - i));
    }
    rlp_put_number(out, bytes_of(bytes, sizeof bytes));
}

void rlp_put_list(dstack_buf *out, const dstack_buf *items) {
    put_header(out, LIST, items->len);
    buf_put_bytes(out, bytes_of_buf(items));
    out->failed = out->failed || items->failed;
}
