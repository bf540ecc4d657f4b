#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "chain/abi.h"

chain_abi_reader chain_abi_read(dstack_bytes data) {
    return (chain_abi_reader){.frame = data};
}

bool chain_abi_ok(const chain_abi_reader *r) {
    return !r->failed;
}

static dstack_bytes take(chain_abi_reader *r, size_t len) {
    cursor c = cursor_init(r->frame);
    cursor_skip(&c, r->at);
    dstack_bytes out = cursor_take(&c, len);
    r->failed = r->failed || !cursor_ok(&c);
    if (r->failed) {
        return (dstack_bytes){0};
    }
    r->at += len;
    return out;
}

chain_word chain_abi_get_word(chain_abi_reader *r) {
    chain_word word = {{0}};
    dstack_bytes bytes = take(r, CHAIN_WORD_SIZE);
    if (bytes.len == CHAIN_WORD_SIZE) {
        memcpy(word.bytes, bytes.data, CHAIN_WORD_SIZE);
    }
    return word;
}

/* Numbers and addresses stand at the end of a word, after zeros. */
static chain_word padded_word(chain_abi_reader *r, size_t used) {
    chain_word word = chain_abi_get_word(r);
    if (!bytes_are_zero(bytes_of(word.bytes, CHAIN_WORD_SIZE - used))) {
        r->failed = true;
        return (chain_word){{0}};
    }
    return word;
}

uint64_t chain_abi_get_uint(chain_abi_reader *r) {
    chain_word word = padded_word(r, sizeof(uint64_t));
    cursor c = cursor_init(bytes_of(word.bytes, CHAIN_WORD_SIZE));
    cursor_skip(&c, CHAIN_WORD_SIZE - sizeof(uint64_t));
    return cursor_u64be(&c);
}

bool chain_abi_get_bool(chain_abi_reader *r) {
    uint64_t value = chain_abi_get_uint(r);
    r->failed = r->failed || value > 1;
    return !r->failed && value == 1;
}

chain_address chain_abi_get_address(chain_abi_reader *r) {
    chain_address address;
    chain_word word = padded_word(r, CHAIN_ADDRESS_SIZE);
    memcpy(address.bytes, word.bytes + CHAIN_WORD_SIZE - CHAIN_ADDRESS_SIZE, CHAIN_ADDRESS_SIZE);
    return address;
}

/* Goes where the next head word points. */
static chain_abi_reader follow(chain_abi_reader *r) {
    uint64_t offset = chain_abi_get_uint(r);
    if (r->failed || offset > r->frame.len || r->depth >= CHAIN_ABI_DEPTH) {
        r->failed = true;
        return (chain_abi_reader){.failed = true};
    }
    return (chain_abi_reader){
        .frame = bytes_of(r->frame.data + offset, r->frame.len - (size_t)offset),
        .depth = r->depth + 1,
    };
}

dstack_bytes chain_abi_get_bytes(chain_abi_reader *r) {
    chain_abi_reader at = follow(r);
    uint64_t len = chain_abi_get_uint(&at);
    if (at.failed || len > at.frame.len) {
        r->failed = true;
        return (dstack_bytes){0};
    }
    dstack_bytes out = take(&at, (size_t)len);
    dstack_bytes padding =
        take(&at, (CHAIN_WORD_SIZE - (size_t)len % CHAIN_WORD_SIZE) % CHAIN_WORD_SIZE);
    if (at.failed || !bytes_are_zero(padding)) {
        r->failed = true;
        return (dstack_bytes){0};
    }
    return out;
}

chain_abi_reader chain_abi_get_array(chain_abi_reader *r, size_t *count) {
    chain_abi_reader at = follow(r);
    uint64_t items = chain_abi_get_uint(&at);
    *count = 0;
    /* Every item has a head word at least, so a count that the data cannot hold is a lie. */
    if (at.failed || items > (at.frame.len - at.at) / CHAIN_WORD_SIZE) {
        r->failed = true;
        return (chain_abi_reader){.failed = true};
    }
    *count = (size_t)items;
    at.frame = bytes_of(at.frame.data + at.at, at.frame.len - at.at);
    at.at = 0;
    return at;
}

chain_abi_reader chain_abi_get_tuple(chain_abi_reader *r) {
    return follow(r);
}

void chain_abi_join(chain_abi_reader *r, const chain_abi_reader *inner) {
    r->failed = r->failed || inner->failed;
}

/* ---- reverts ----------------------------------------------------------------------------------
 */

static const char *const custom_errors[] = {
    "OwnableUnauthorizedAccount(address)",
    "OwnableInvalidOwner(address)",
    "InvalidInitialization()",
    "NotInitializing()",
    "UUPSUnauthorizedCallContext()",
    "UUPSUnsupportedProxiableUUID(bytes32)",
    "ERC1967InvalidImplementation(address)",
    /* a timelock's */
    "AccessControlUnauthorizedAccount(address,bytes32)",
    "TimelockInsufficientDelay(uint256,uint256)",
    "TimelockUnexpectedOperationState(bytes32,bytes32)",
};

static bool starts_with_selector(dstack_bytes data, const char *signature) {
    uint8_t selector[CHAIN_SELECTOR_SIZE];
    chain_abi_selector(signature, selector);
    return data.len >= sizeof selector && memcmp(data.data, selector, sizeof selector) == 0;
}

/* Texts come from contracts that anybody may have written: they show as one line of text. */
static void put_line(dstack_bytes text, char *out, size_t room) {
    size_t n = 0;
    for (; n < text.len && n + 1 < room; n++) {
        uint8_t c = text.data[n];
        out[n] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    out[n] = 0;
}

void chain_abi_revert_text(dstack_bytes data, char *out, size_t room) {
    if (starts_with_selector(data, "Error(string)")) {
        chain_abi_reader r = chain_abi_read(bytes_of(data.data + 4, data.len - 4));
        dstack_bytes message = chain_abi_get_bytes(&r);
        if (chain_abi_ok(&r)) {
            put_line(message, out, room);
            return;
        }
    }
    for (size_t i = 0; i < sizeof custom_errors / sizeof custom_errors[0]; i++) {
        if (starts_with_selector(data, custom_errors[i])) {
            snprintf(out, room, "%s", custom_errors[i]);
            return;
        }
    }
    DSTACK_AUTO(buf) dstack_buf hex = {0};
    chain_data_put(&hex, bytes_of(data.data, data.len < 100 ? data.len : 100));
    const char *text = buf_text(&hex);
    snprintf(out, room, "%s", data.len > 0 && text != NULL ? text : "no reason given");
}
