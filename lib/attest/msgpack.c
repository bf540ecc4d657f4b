#include "attest/msgpack.h"

/* First bytes of the MessagePack specification's format table. */
enum {
    FIXMAP = 0x80,
    FIXARRAY = 0x90,
    FIXSTR = 0xa0,
    NIL = 0xc0,
    BIN8 = 0xc4,
    UINT8 = 0xcc,
    STR8 = 0xd9,
    ARRAY16 = 0xdc,
    MAP16 = 0xde,
};

static size_t fail(cursor *c) {
    c->failed = true;
    c->pos = c->len;
    return 0;
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static uint64_t number(cursor *c, unsigned log_size) {
    switch (log_size) {
    case 0:
        return cursor_u8(c);
    case 1:
        return cursor_u16be(c);
    case 2:
        return cursor_u32be(c);
    default:
        return cursor_u64be(c);
    }
}

uint64_t msgpack_uint(cursor *c) {
    uint8_t first = cursor_u8(c);
    if (first < 0x80) {
        return first;
    }
    if (first < UINT8 || first > UINT8 + 3) {
        return fail(c);
    }
    return number(c, first - UINT8);
}

dstack_bytes msgpack_text(cursor *c) {
    uint8_t first = cursor_u8(c);
    if ((first & 0xe0) == FIXSTR) {
        return cursor_take(c, first & 0x1f);
    }
    if (first < STR8 || first > STR8 + 2) {
        fail(c);
        return (dstack_bytes){0};
    }
    return cursor_take(c, (size_t)number(c, first - STR8));
}

static size_t count(cursor *c, uint8_t fixed, uint8_t wide) {
    uint8_t first = cursor_u8(c);
    size_t value;
    if ((first & 0xf0) == fixed) {
        value = first & 0x0f;
    } else if (first == wide || first == wide + 1) {
        value = (size_t)number(c, 1 + first - wide);
    } else {
        return fail(c);
    }
    return value <= cursor_left(c) ? value : fail(c);
}

size_t msgpack_array(cursor *c) {
    return count(c, FIXARRAY, ARRAY16);
}

size_t msgpack_map(cursor *c) {
    return count(c, FIXMAP, MAP16);
}

void msgpack_bytes(cursor *c, dstack_buf *out) {
    buf_reset(out);
    uint8_t first = cursor_peek_u8(c);
    if (first >= BIN8 && first <= BIN8 + 2) {
        cursor_skip(c, 1);
        buf_put_bytes(out, cursor_take(c, (size_t)number(c, first - BIN8)));
        return;
    }
    size_t items = msgpack_array(c);
    buf_reserve(out, items);
    for (size_t i = 0; i < items && cursor_ok(c); i++) {
        uint64_t value = msgpack_uint(c);
        if (value > UINT8_MAX) {
            fail(c);
        }
        buf_put_u8(out, (uint8_t)value);
    }
}

bool msgpack_nil(cursor *c) {
    if (cursor_left(c) == 0 || cursor_peek_u8(c) != NIL) {
        return false;
    }
    cursor_skip(c, 1);
    return true;
}

/* Values of a fixed size, by first byte c0 to d8: false, true, floats, signed integers, ext. */
static size_t fixed_size(uint8_t first) {
    switch (first) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
        return 0;
    case 0xcc:
    case 0xd0:
        return 1;
    case 0xcd:
    case 0xd1:
        return 2;
    case 0xca:
    case 0xce:
    case 0xd2:
        return 4;
    case 0xcb:
    case 0xcf:
    case 0xd3:
        return 8;
    default:
        return first >= 0xd4 && first <= 0xd8 ? 1 + ((size_t)1 << (first - 0xd4)) : SIZE_MAX;
    }
}

static void skip(cursor *c, unsigned depth) {
    if (depth == 0) {
        fail(c);
        return;
    }
    uint8_t first = cursor_peek_u8(c);
    if (!cursor_ok(c)) {
        return;
    }
    size_t children = 0;
    if (first < 0x80 || first >= 0xe0) {
        cursor_skip(c, 1);
    } else if ((first & 0xf0) == FIXMAP || first == MAP16 || first == MAP16 + 1) {
        children = msgpack_map(c) * 2;
    } else if ((first & 0xf0) == FIXARRAY || first == ARRAY16 || first == ARRAY16 + 1) {
        children = msgpack_array(c);
    } else if ((first & 0xe0) == FIXSTR || (first >= STR8 && first <= STR8 + 2)) {
        msgpack_text(c);
    } else if (first >= BIN8 && first <= BIN8 + 2) {
        cursor_skip(c, 1);
        cursor_skip(c, (size_t)number(c, first - BIN8));
    } else if (first >= 0xc7 && first <= 0xc9) {
        cursor_skip(c, 1);
        cursor_skip(c, (size_t)number(c, first - 0xc7) + 1);
    } else {
        cursor_skip(c, 1);
        cursor_skip(c, fixed_size(first));
    }
    for (size_t i = 0; i < children && cursor_ok(c); i++) {
        skip(c, depth - 1);
    }
}

void msgpack_skip(cursor *c) {
    skip(c, MSGPACK_MAX_DEPTH);
}

void msgpack_put_uint(dstack_buf *out, uint64_t value) {
    if (value < 0x80) {
        buf_put_u8(out, (uint8_t)value);
    } else if (value <= UINT8_MAX) {
        buf_put_u8(out, UINT8);
        buf_put_u8(out, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        buf_put_u8(out, UINT8 + 1);
        buf_put_u16be(out, (uint16_t)value);
    } else if (value <= UINT32_MAX) {
        buf_put_u8(out, UINT8 + 2);
        buf_put_u32be(out, (uint32_t)value);
    } else {
        buf_put_u8(out, UINT8 + 3);
        buf_put_u64be(out, value);
    }
}

/* A length after its kind: `kind` takes one byte, kind + 1 two, kind + 2 four. */
static void put_length(dstack_buf *out, uint8_t kind, size_t len) {
    if (len <= UINT8_MAX) {
        buf_put_u8(out, kind);
        buf_put_u8(out, (uint8_t)len);
    } else if (len <= UINT16_MAX) {
        buf_put_u8(out, kind + 1);
        buf_put_u16be(out, (uint16_t)len);
    } else if (len <= UINT32_MAX) {
        buf_put_u8(out, kind + 2);
        buf_put_u32be(out, (uint32_t)len);
    } else {
        out->failed = true;
    }
}

void msgpack_put_text(dstack_buf *out, dstack_bytes text) {
    if (text.len < 32) {
        buf_put_u8(out, (uint8_t)(FIXSTR | text.len));
    } else {
        put_length(out, STR8, text.len);
    }
    buf_put_bytes(out, text);
}

void msgpack_put_str(dstack_buf *out, const char *text) {
    msgpack_put_text(out, bytes_of_str(text));
}

void msgpack_put_bin(dstack_buf *out, dstack_bytes bytes) {
    put_length(out, BIN8, bytes.len);
    buf_put_bytes(out, bytes);
}

static void put_count(dstack_buf *out, uint8_t fixed, uint8_t wide, size_t count) {
    if (count < 16) {
        buf_put_u8(out, (uint8_t)(fixed | count));
    } else if (count <= UINT16_MAX) {
        buf_put_u8(out, wide);
        buf_put_u16be(out, (uint16_t)count);
    } else if (count <= UINT32_MAX) {
        buf_put_u8(out, wide + 1);
        buf_put_u32be(out, (uint32_t)count);
    } else {
        out->failed = true;
    }
}

void msgpack_put_array(dstack_buf *out, size_t count) {
    put_count(out, FIXARRAY, ARRAY16, count);
}

void msgpack_put_map(dstack_buf *out, size_t count) {
    put_count(out, FIXMAP, MAP16, count);
}

void msgpack_put_nil(dstack_buf *out) {
    buf_put_u8(out, NIL);
}

void msgpack_put_ints(dstack_buf *out, dstack_bytes bytes) {
    msgpack_put_array(out, bytes.len);
    buf_reserve(out, bytes.len * 2);
    for (size_t i = 0; i < bytes.len; i++) {
        msgpack_put_uint(out, bytes.data[i]);
    }
}
