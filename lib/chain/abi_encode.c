#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "chain/abi.h"
#include "crypto/hash.h"

void chain_abi_topic(const char *signature, chain_word *out) {
    hash_keccak256(bytes_of_str(signature), out->bytes);
}

void chain_abi_selector(const char *signature, uint8_t out[CHAIN_SELECTOR_SIZE]) {
    chain_word hash;
    chain_abi_topic(signature, &hash);
    memcpy(out, hash.bytes, CHAIN_SELECTOR_SIZE);
}

static bool is_dynamic(const chain_abi_value *value) {
    if (value->type != CHAIN_ABI_TUPLE) {
        return value->type == CHAIN_ABI_BYTES || value->type == CHAIN_ABI_ARRAY;
    }
    for (size_t i = 0; i < value->count; i++) {
        if (is_dynamic(&value->items[i])) {
            return true;
        }
    }
    return false;
}

/* Bytes that a value takes in the head. */
static size_t head_size(const chain_abi_value *value) {
    size_t size = CHAIN_WORD_SIZE;
    if (value->type == CHAIN_ABI_TUPLE && !is_dynamic(value)) {
        size = 0;
        for (size_t i = 0; i < value->count; i++) {
            size += head_size(&value->items[i]);
        }
    }
    return size;
}

static int check(const chain_abi_value *value, unsigned depth, dstack_error *err) {
    size_t len = value->bytes.len;
    bool good = depth <= CHAIN_ABI_DEPTH;
    good = good && (value->type != CHAIN_ABI_ADDRESS || len == CHAIN_ADDRESS_SIZE);
    good = good && (value->type != CHAIN_ABI_WORD || len == CHAIN_WORD_SIZE);
    good = good && (value->type != CHAIN_ABI_FIXED || len <= CHAIN_WORD_SIZE);
    if (!good) {
        return error_set(err, DSTACK_E_ARGUMENT, "value of %zu bytes at depth %u of a call", len,
                         depth);
    }
    int rc = 0;
    bool nested = value->type == CHAIN_ABI_ARRAY || value->type == CHAIN_ABI_TUPLE;
    for (size_t i = 0; rc == 0 && nested && i < value->count; i++) {
        rc = check(&value->items[i], depth + 1, err);
    }
    return rc;
}

static void put_number(dstack_buf *out, uint64_t number) {
    buf_put_zeros(out, CHAIN_WORD_SIZE - sizeof number);
    buf_put_u64be(out, number);
}

static void put_all(dstack_buf *out, const chain_abi_value *values, size_t count);

/* In the tail, or, for what is not dynamic, in the head. */
static void put_content(dstack_buf *out, const chain_abi_value *value) {
    dstack_bytes bytes = value->bytes;
    switch (value->type) {
    case CHAIN_ABI_UINT:
        put_number(out, value->number);
        break;
    case CHAIN_ABI_BOOL:
        put_number(out, value->flag);
        break;
    case CHAIN_ABI_ADDRESS:
        buf_put_zeros(out, CHAIN_WORD_SIZE - bytes.len);
        buf_put_bytes(out, bytes);
        break;
    case CHAIN_ABI_WORD:
    case CHAIN_ABI_FIXED:
        buf_put_bytes(out, bytes);
        buf_put_zeros(out, CHAIN_WORD_SIZE - bytes.len);
        break;
    case CHAIN_ABI_BYTES:
        put_number(out, bytes.len);
        buf_put_bytes(out, bytes);
        buf_put_zeros(out, (CHAIN_WORD_SIZE - bytes.len % CHAIN_WORD_SIZE) % CHAIN_WORD_SIZE);
        break;
    case CHAIN_ABI_ARRAY:
        put_number(out, value->count);
        put_all(out, value->items, value->count);
        break;
    case CHAIN_ABI_TUPLE:
        put_all(out, value->items, value->count);
        break;
    }
}

/* Heads, with offsets to the tails, then the tails. */
static void put_all(dstack_buf *out, const chain_abi_value *values, size_t count) {
    DSTACK_AUTO(buf) dstack_buf tails = {0};
    size_t heads = 0;
    for (size_t i = 0; i < count; i++) {
        heads += head_size(&values[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (is_dynamic(&values[i])) {
            put_number(out, heads + tails.len);
            put_content(&tails, &values[i]);
        } else {
            put_content(out, &values[i]);
        }
    }
    buf_put_bytes(out, bytes_of_buf(&tails));
    out->failed = out->failed || tails.failed;
}

int chain_abi_encode(const chain_abi_value *values, size_t count, dstack_buf *out,
                     dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check(&values[i], 0, err);
    }
    if (rc == 0) {
        put_all(out, values, count);
        rc = buf_check(out, err);
    }
    return rc;
}

int chain_abi_encode_call(const char *signature, const chain_abi_value *values, size_t count,
                          dstack_buf *out, dstack_error *err) {
    uint8_t selector[CHAIN_SELECTOR_SIZE];
    chain_abi_selector(signature, selector);
    buf_put(out, selector, sizeof selector);
    return chain_abi_encode(values, count, out, err);
}
