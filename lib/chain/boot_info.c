#include "chain/boot_info.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "chain/abi.h"

/* The limits of the reference's contract webhook. */
#define STATUS_MAX 128
#define ADVISORIES_MAX 128
#define ADVISORY_MAX 256

static const char app_signature[] =
    "isAppAllowed((address,bytes32,address,bytes32,bytes32,bytes32,bytes32,string,string[]))";
static const char kms_signature[] =
    "isKmsAllowed((address,bytes32,address,bytes32,bytes32,bytes32,bytes32,string,string[]))";

/* In the order of the contracts' struct AppBootInfo. */
static const struct {
    const char *name;
    size_t size;
    bool needed;
} hex_members[] = {
    {"appId", CHAIN_ADDRESS_SIZE, true},      {"composeHash", CHAIN_WORD_SIZE, true},
    {"instanceId", CHAIN_ADDRESS_SIZE, true}, {"deviceId", CHAIN_WORD_SIZE, true},
    {"mrAggregated", CHAIN_WORD_SIZE, true},  {"mrSystem", CHAIN_WORD_SIZE, false},
    {"osImageHash", CHAIN_WORD_SIZE, true},
};
#define HEX_MEMBERS (sizeof hex_members / sizeof hex_members[0])

static int invalid(const char *name, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "invalid authorization request: %s", name);
}

/* An odd number of digits is padded like any other short value. */
static int parse_padded(const char *text, uint8_t *out, size_t size) {
    char digits[2 * CHAIN_WORD_SIZE + 1];
    text += text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 2 : 0;
    size_t len = strlen(text), room = 2 * size;
    if (len > room) {
        return DSTACK_E_FORMAT;
    }
    memset(digits, '0', room - len);
    memcpy(digits + room - len, text, len + 1);
    return hex_decode_fixed(digits, out, size, NULL);
}

static int take_hex(const json_t *info, size_t index, uint8_t *out, dstack_error *err) {
    const char *name = hex_members[index].name;
    const json_t *member = json_object_get(info, name);
    if (member == NULL && !hex_members[index].needed) {
        return 0;
    }
    const char *text = json_string_value(member);
    return text != NULL && parse_padded(text, out, hex_members[index].size) == 0
               ? 0
               : invalid(name, err);
}

static int take_text(const json_t *text, size_t most, const char *name, chain_abi_value *out,
                     dstack_error *err) {
    if (!json_is_string(text) || json_string_length(text) > most) {
        return invalid(name, err);
    }
    *out = CHAIN_ABI_OF_BYTES(bytes_of(json_string_value(text), json_string_length(text)));
    return 0;
}

static int take_advisories(const json_t *info, chain_abi_value *items, size_t *count,
                           dstack_error *err) {
    const json_t *list = json_object_get(info, "advisoryIds");
    *count = json_array_size(list);
    if ((list != NULL && !json_is_array(list)) || *count > ADVISORIES_MAX) {
        return invalid("advisoryIds", err);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < *count; i++) {
        rc = take_text(json_array_get(list, i), ADVISORY_MAX, "advisoryIds", &items[i], err);
    }
    return rc;
}

int chain_boot_info_encode(bool kms, const json_t *boot_info, dstack_buf *calldata,
                           dstack_error *err) {
    uint8_t words[HEX_MEMBERS][CHAIN_WORD_SIZE] = {{0}};
    chain_abi_value members[HEX_MEMBERS + 2], advisories[ADVISORIES_MAX];
    size_t advisory_count = 0;
    int rc = json_is_object(boot_info) ? 0 : invalid("not an object", err);
    for (size_t i = 0; rc == 0 && i < HEX_MEMBERS; i++) {
        rc = take_hex(boot_info, i, words[i], err);
        members[i] = (chain_abi_value){
            .type = hex_members[i].size == CHAIN_ADDRESS_SIZE ? CHAIN_ABI_ADDRESS : CHAIN_ABI_WORD,
            .bytes = bytes_of(words[i], hex_members[i].size)};
    }
    const json_t *status = json_object_get(boot_info, "tcbStatus");
    members[HEX_MEMBERS] = CHAIN_ABI_OF_BYTES(bytes_of("", 0));
    if (rc == 0 && status != NULL) {
        rc = take_text(status, STATUS_MAX, "tcbStatus", &members[HEX_MEMBERS], err);
    }
    rc = rc != 0 ? rc : take_advisories(boot_info, advisories, &advisory_count, err);
    if (rc != 0) {
        return rc;
    }
    members[HEX_MEMBERS + 1] =
        (chain_abi_value){.type = CHAIN_ABI_ARRAY, .items = advisories, .count = advisory_count};
    chain_abi_value tuple = {.type = CHAIN_ABI_TUPLE, .items = members, .count = HEX_MEMBERS + 2};
    return chain_abi_encode_call(kms ? kms_signature : app_signature, &tuple, 1, calldata, err);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void put_text(dstack_bytes text, char *out, size_t room) {
    size_t len = text.len < room ? text.len : room - 1;
    /* Not in the middle of a character. */
    while (len < text.len && len > 0 && (text.data[len] & 0xc0) == 0x80) {
        len--;
    }
    DSTACK_AUTO(json)
    json_t *valid = json_stringn(len > 0 ? (const char *)text.data : "", len);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = text.data[i];
        bool shown = c >= 0x20 && c != 0x7f && (c < 0x80 || valid != NULL);
        out[i] = shown ? (char)c : '?';
    }
    out[len] = 0;
}

int chain_boot_info_answer(dstack_bytes returned, bool *allowed, char *reason, size_t room,
                           dstack_error *err) {
    chain_abi_reader r = chain_abi_read(returned);
    bool flag = chain_abi_get_bool(&r);
    dstack_bytes text = chain_abi_get_bytes(&r);
    *allowed = false;
    if (!chain_abi_ok(&r)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "%zu bytes that the contract returned are no decision", returned.len);
    }
    *allowed = flag;
    put_text(text, reason, room);
    return 0;
}

int chain_text_answer(dstack_bytes returned, char *out, size_t room, dstack_error *err) {
    chain_abi_reader r = chain_abi_read(returned);
    dstack_bytes text = chain_abi_get_bytes(&r);
    if (!chain_abi_ok(&r)) {
        return error_set(err, DSTACK_E_FORMAT, "%zu bytes that the contract returned are no text",
                         returned.len);
    }
    if (text.len >= room) {
        return error_set(err, DSTACK_E_LIMIT, "a text of %zu bytes in the contract", text.len);
    }
    put_text(text, out, room);
    return 0;
}
