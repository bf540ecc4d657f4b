/* What a contract returns, and what a node says of a block, by whoever runs the node. */
#include <jansson.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/json.h"
#include "chain/abi.h"
#include "chain/boot_info.h"
#include "chain/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_anything(dstack_bytes plan, dstack_bytes input) {
    chain_abi_reader r = chain_abi_read(input);
    for (size_t i = 0; i < plan.len; i++) {
        size_t count;
        switch (plan.data[i] % 7) {
        case 0:
            (void)chain_abi_get_uint(&r);
            break;
        case 1:
            (void)chain_abi_get_bool(&r);
            break;
        case 2:
            (void)chain_abi_get_address(&r);
            break;
        case 3:
            (void)chain_abi_get_word(&r);
            break;
        case 4:
            (void)chain_abi_get_bytes(&r);
            break;
        case 5:
            r = chain_abi_get_array(&r, &count);
            break;
        case 6:
            r = chain_abi_get_tuple(&r);
            break;
        }
    }
}

static void read_block(dstack_bytes text) {
    chain_block block;
    DSTACK_AUTO(json) json_t *value = json_parse(text, 65536, "block", NULL);
    if (value != NULL) {
        (void)chain_block_parse(value, &block, NULL);
    }
}

static void read_boot_info(dstack_bytes text) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    DSTACK_AUTO(json) json_t *value = json_parse(text, 65536, "boot info", NULL);
    if (value != NULL) {
        (void)chain_boot_info_encode(false, value, &out, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[64];
    bool allowed;
    if (size < 10) {
        return 0;
    }
    dstack_bytes rest = bytes_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        read_anything(bytes_of(data + 1, 8), bytes_of(data + 9, size - 9));
        break;
    case 1:
        (void)chain_boot_info_answer(rest, &allowed, text, sizeof text, NULL);
        break;
    case 2:
        chain_abi_revert_text(rest, text, sizeof text);
        break;
    case 3:
        read_block(rest);
        break;
    case 4:
        read_boot_info(rest);
        break;
    }
    return 0;
}
