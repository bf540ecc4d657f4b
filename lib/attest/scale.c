#include "attest/scale.h"

static size_t fail(cursor *c) {
    c->failed = true;
    c->pos = c->len;
    return 0;
}

/* The two low bits of the first byte tell the size; the fourth form is for numbers from 2^30 on,
 * which no length within the limits of this library can be. */
size_t scale_compact(cursor *c) {
    uint8_t mode = cursor_peek_u8(c) & 3;
    if (!cursor_ok(c) || mode == 3) {
        return fail(c);
    }
    size_t value;
    size_t least;
    if (mode == 0) {
        value = cursor_u8(c) >> 2;
        least = 0;
    } else if (mode == 1) {
        value = cursor_u16le(c) >> 2;
        least = 1u << 6;
    } else {
        value = cursor_u32le(c) >> 2;
        least = 1u << 14;
    }
    return cursor_ok(c) && value >= least ? value : fail(c);
}

dstack_bytes scale_bytes(cursor *c) {
    return cursor_take(c, scale_compact(c));
}

bool scale_bool(cursor *c) {
    uint8_t value = cursor_u8(c);
    if (value > 1) {
        fail(c);
    }
    return value == 1;
}

void scale_put_compact(dstack_buf *out, size_t value) {
    if (value < 1u << 6) {
        buf_put_u8(out, (uint8_t)(value << 2));
    } else if (value < 1u << 14) {
        buf_put_u16le(out, (uint16_t)(value << 2 | 1));
    } else if (value < 1u << 30) {
        buf_put_u32le(out, (uint32_t)(value << 2 | 2));
    } else {
        out->failed = true;
    }
}

void scale_put_bytes(dstack_buf *out, dstack_bytes bytes) {
    scale_put_compact(out, bytes.len);
    buf_put_bytes(out, bytes);
}

void scale_put_str(dstack_buf *out, const char *text) {
    scale_put_bytes(out, bytes_of_str(text));
}
