#include "base/cbor_any.h"

#include <cbor.h>

#define NESTING_MAX 8

static void put(void *context, cbor_any_kind kind, uint64_t value) {
    *(cbor_any *)context = (cbor_any){.kind = kind, .value = value};
}

static void on_uint8(void *context, uint8_t value) {
    put(context, CBOR_ANY_UINT, value);
}
static void on_uint16(void *context, uint16_t value) {
    put(context, CBOR_ANY_UINT, value);
}
static void on_uint32(void *context, uint32_t value) {
    put(context, CBOR_ANY_UINT, value);
}
static void on_uint64(void *context, uint64_t value) {
    put(context, CBOR_ANY_UINT, value);
}
static void on_negint8(void *context, uint8_t value) {
    put(context, CBOR_ANY_NEGATIVE, value);
}
static void on_negint16(void *context, uint16_t value) {
    put(context, CBOR_ANY_NEGATIVE, value);
}
static void on_negint32(void *context, uint32_t value) {
    put(context, CBOR_ANY_NEGATIVE, value);
}
static void on_negint64(void *context, uint64_t value) {
    put(context, CBOR_ANY_NEGATIVE, value);
}
/* libcbor 0.8 counts in size_t, later versions in 64 bits: the same here. */
static void on_bytes(void *context, cbor_data data, size_t len) {
    *(cbor_any *)context = (cbor_any){.kind = CBOR_ANY_BYTES, .bytes = bytes_of(data, len)};
}
static void on_text(void *context, cbor_data data, size_t len) {
    *(cbor_any *)context = (cbor_any){.kind = CBOR_ANY_TEXT, .bytes = bytes_of(data, len)};
}
static void on_array(void *context, size_t items) {
    put(context, CBOR_ANY_ARRAY, items);
}
static void on_map(void *context, size_t pairs) {
    put(context, CBOR_ANY_MAP, pairs);
}
static void on_open_array(void *context) {
    put(context, CBOR_ANY_ARRAY, CBOR_ANY_INDEFINITE);
}
static void on_open_map(void *context) {
    put(context, CBOR_ANY_MAP, CBOR_ANY_INDEFINITE);
}
static void on_bool(void *context, bool value) {
    put(context, CBOR_ANY_BOOL, value);
}
static void on_null(void *context) {
    put(context, CBOR_ANY_NULL, 0);
}
static void on_break(void *context) {
    put(context, CBOR_ANY_BREAK, 0);
}

static struct cbor_callbacks callbacks(void) {
    struct cbor_callbacks table = cbor_empty_callbacks;
    table.uint8 = on_uint8;
    table.uint16 = on_uint16;
    table.uint32 = on_uint32;
    table.uint64 = on_uint64;
    table.negint8 = on_negint8;
    table.negint16 = on_negint16;
    table.negint32 = on_negint32;
    table.negint64 = on_negint64;
    table.byte_string = on_bytes;
    table.string = on_text;
    table.array_start = on_array;
    table.map_start = on_map;
    table.indef_array_start = on_open_array;
    table.indef_map_start = on_open_map;
    table.boolean = on_bool;
    table.null = on_null;
    table.indef_break = on_break;
    return table;
}

static void fail(cursor *c) {
    c->failed = true;
    c->pos = c->len;
}

/* libcbor 0.8 takes for an error every one-byte tag that had no meaning when it was written, COSE's
 * among them: tags are read here. */
static cbor_any read_tag(cursor *c) {
    cbor_any item = {.kind = CBOR_ANY_TAG, .value = cursor_u8(c) & 0x1f};
    switch (item.value) {
    case 24:
        item.value = cursor_u8(c);
        break;
    case 25:
        item.value = cursor_u16be(c);
        break;
    case 26:
        item.value = cursor_u32be(c);
        break;
    case 27:
        item.value = cursor_u64be(c);
        break;
    default:
        c->failed |= item.value > 23;
    }
    if (!cursor_ok(c)) {
        fail(c);
        return (cbor_any){0};
    }
    return item;
}

cbor_any cbor_any_read(cursor *c) {
    cbor_any item = {0};
    if (!cursor_ok(c) || cursor_left(c) == 0) {
        fail(c);
        return item;
    }
    if (c->data[c->pos] >> 5 == 6) {
        return read_tag(c);
    }
    const struct cbor_callbacks table = callbacks();
    const struct cbor_decoder_result result =
        cbor_stream_decode(c->data + c->pos, cursor_left(c), &table, &item);
    if (result.status != CBOR_DECODER_FINISHED || item.kind == CBOR_ANY_NONE) {
        fail(c);
        return (cbor_any){0};
    }
    cursor_skip(c, result.read);
    return item;
}

cbor_any cbor_any_take(cursor *c, cbor_any_kind kind) {
    const cbor_any item = cbor_any_read(c);
    if (item.kind != kind) {
        fail(c);
        return (cbor_any){0};
    }
    return item;
}

/* A break is one byte; every other item takes one at least, so that a count beyond what is left
 * cannot be met. */
bool cbor_any_next(cursor *c, cbor_any head, uint64_t *n) {
    if (!cursor_ok(c)) {
        return false;
    }
    if (head.value != CBOR_ANY_INDEFINITE) {
        if (head.value > c->len) {
            fail(c);
        }
        return cursor_ok(c) && (*n)++ < head.value;
    }
    if (cursor_left(c) > 0 && c->data[c->pos] == 0xff) {
        cursor_skip(c, 1);
        return false;
    }
    (*n)++;
    return cursor_left(c) > 0;
}

static void skip_nested(cursor *c, int depth) {
    const cbor_any item = cbor_any_read(c);
    const bool is_map = item.kind == CBOR_ANY_MAP;
    if (item.kind == CBOR_ANY_BREAK || depth > NESTING_MAX) {
        fail(c);
    } else if (item.kind == CBOR_ANY_TAG) {
        skip_nested(c, depth + 1);
    } else if (is_map || item.kind == CBOR_ANY_ARRAY) {
        for (uint64_t n = 0; cbor_any_next(c, item, &n);) {
            skip_nested(c, depth + 1);
            if (is_map) {
                skip_nested(c, depth + 1);
            }
        }
    }
}

void cbor_any_skip(cursor *c) {
    skip_nested(c, 0);
}
