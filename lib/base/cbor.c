#include "base/cbor.h"

#include <cbor.h>
#include <string.h>

#include "base/buf.h"

/* Longest head: one byte and eight of argument. */
#define HEAD_MAX 9
#define NESTING_MAX 8

void cbor_put_uint(dstack_buf *out, uint64_t value) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_uint(value, head, sizeof head));
}

void cbor_put_bool(dstack_buf *out, bool value) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_bool(value, head, sizeof head));
}

void cbor_put_bytes(dstack_buf *out, dstack_bytes value) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_bytestring_start(value.len, head, sizeof head));
    buf_put_bytes(out, value);
}

void cbor_put_text(dstack_buf *out, const char *text) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_string_start(strlen(text), head, sizeof head));
    buf_put_str(out, text);
}

void cbor_put_map(dstack_buf *out, size_t pairs) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_map_start(pairs, head, sizeof head));
}

void cbor_put_array(dstack_buf *out, size_t items) {
    uint8_t head[HEAD_MAX];
    buf_put(out, head, cbor_encode_array_start(items, head, sizeof head));
}

static void on_uint8(void *context, uint8_t value) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_UINT, .value = value};
}

static void on_uint16(void *context, uint16_t value) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_UINT, .value = value};
}

static void on_uint32(void *context, uint32_t value) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_UINT, .value = value};
}

static void on_uint64(void *context, uint64_t value) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_UINT, .value = value};
}

static void on_bytes(void *context, cbor_data data, size_t len) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_BYTES, .bytes = bytes_of(data, len)};
}

static void on_text(void *context, cbor_data data, size_t len) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_TEXT, .bytes = bytes_of(data, len)};
}

static void on_array(void *context, size_t items) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_ARRAY, .value = items};
}

static void on_map(void *context, size_t pairs) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_MAP, .value = pairs};
}

static void on_bool(void *context, bool value) {
    *(cbor_token *)context = (cbor_token){.kind = CBOR_BOOL, .value = value};
}

/* libcbor's empty callbacks stand for everything outside the subset: they leave the token at
 * CBOR_END. */
static struct cbor_callbacks callbacks(void) {
    struct cbor_callbacks table = cbor_empty_callbacks;
    table.uint8 = on_uint8;
    table.uint16 = on_uint16;
    table.uint32 = on_uint32;
    table.uint64 = on_uint64;
    table.byte_string = on_bytes;
    table.string = on_text;
    table.array_start = on_array;
    table.map_start = on_map;
    table.boolean = on_bool;
    return table;
}

cbor_token cbor_read(cursor *c) {
    cbor_token token = {0};
    if (!cursor_ok(c) || cursor_left(c) == 0) {
        c->failed = true;
        return token;
    }
    const struct cbor_callbacks table = callbacks();
    const struct cbor_decoder_result result =
        cbor_stream_decode(c->data + c->pos, cursor_left(c), &table, &token);
    if (result.status != CBOR_DECODER_FINISHED || token.kind == CBOR_END) {
        c->failed = true;
        c->pos = c->len;
        return (cbor_token){0};
    }
    cursor_skip(c, result.read);
    return token;
}

static cbor_token read_kind(cursor *c, cbor_kind kind) {
    const cbor_token token = cbor_read(c);
    if (token.kind != kind) {
        c->failed = true;
        c->pos = c->len;
        return (cbor_token){0};
    }
    return token;
}

uint64_t cbor_read_uint(cursor *c) {
    return read_kind(c, CBOR_UINT).value;
}

bool cbor_read_bool(cursor *c) {
    return read_kind(c, CBOR_BOOL).value != 0;
}

dstack_bytes cbor_read_bytes(cursor *c) {
    return read_kind(c, CBOR_BYTES).bytes;
}

void cbor_read_fixed(cursor *c, uint8_t *out, size_t len) {
    const dstack_bytes bytes = cbor_read_bytes(c);
    memset(out, 0, len);
    if (bytes.len != len) {
        c->failed = true;
        c->pos = c->len;
        return;
    }
    memcpy(out, bytes.data, len);
}

dstack_bytes cbor_read_text(cursor *c) {
    return read_kind(c, CBOR_TEXT).bytes;
}

uint64_t cbor_read_map(cursor *c) {
    return read_kind(c, CBOR_MAP).value;
}

uint64_t cbor_read_array(cursor *c) {
    return read_kind(c, CBOR_ARRAY).value;
}

static void skip_nested(cursor *c, int depth) {
    const cbor_token token = cbor_read(c);
    if (token.kind != CBOR_ARRAY && token.kind != CBOR_MAP) {
        return;
    }
    /* Every item takes a byte at least: a larger count cannot be met. */
    if (depth == NESTING_MAX || token.value > cursor_left(c)) {
        c->failed = true;
        c->pos = c->len;
        return;
    }
    const uint64_t items = token.kind == CBOR_MAP ? 2 * token.value : token.value;
    for (uint64_t i = 0; i < items && cursor_ok(c); i++) {
        skip_nested(c, depth + 1);
    }
}

void cbor_skip(cursor *c) {
    skip_nested(c, 0);
}
