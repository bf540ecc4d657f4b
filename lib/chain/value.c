#include "chain/value.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"

static const char *without_prefix(const char *text) {
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? text + 2 : text;
}

/* A letter is upper case where the hash of the lower-case digits has 8 or more (EIP-55). */
void chain_address_text(const chain_address *address, char out[CHAIN_ADDRESS_TEXT]) {
    uint8_t hash[HASH_KECCAK256_SIZE];
    memcpy(out, "0x", 2);
    hex_encode(bytes_of(address->bytes, CHAIN_ADDRESS_SIZE), out + 2);
    hash_keccak256(bytes_of(out + 2, (size_t)2 * CHAIN_ADDRESS_SIZE), hash);
    for (size_t i = 0; i < (size_t)2 * CHAIN_ADDRESS_SIZE; i++) {
        uint8_t digit = i % 2 == 0 ? hash[i / 2] >> 4 : hash[i / 2] & 15;
        if (digit >= 8) {
            out[2 + i] = (char)toupper((unsigned char)out[2 + i]);
        }
    }
}

static bool mixes_case(const char *text) {
    bool upper = false, lower = false;
    for (; *text != 0; text++) {
        upper = upper || (*text >= 'A' && *text <= 'F');
        lower = lower || (*text >= 'a' && *text <= 'f');
    }
    return upper && lower;
}

int chain_address_parse(const char *text, chain_address *out, dstack_error *err) {
    char right[CHAIN_ADDRESS_TEXT];
    text = without_prefix(text);
    int rc = hex_decode_fixed(text, out->bytes, sizeof out->bytes, err);
    if (rc != 0) {
        return error_prefix(err, rc, "address");
    }
    chain_address_text(out, right);
    if (mixes_case(text) && strcmp(text, right + 2) != 0) {
        return error_set(err, DSTACK_E_FORMAT, "address 0x%s: its checksum would be %s", text,
                         right);
    }
    return 0;
}

int chain_word_parse(const char *text, chain_word *out, dstack_error *err) {
    int rc = hex_decode_fixed(without_prefix(text), out->bytes, sizeof out->bytes, err);
    return rc != 0 ? error_prefix(err, rc, "32-byte value") : 0;
}

void chain_word_text(const chain_word *word, char out[CHAIN_WORD_TEXT]) {
    memcpy(out, "0x", 2);
    hex_encode(bytes_of(word->bytes, CHAIN_WORD_SIZE), out + 2);
}

int chain_quantity_parse(const char *text, uint64_t *out, dstack_error *err) {
    uint64_t value = 0;
    size_t len = strlen(text);
    bool good =
        len >= 3 && len <= 18 && text[0] == '0' && text[1] == 'x' && (text[2] != '0' || len == 3);
    for (size_t i = 2; good && i < len; i++) {
        int c = tolower((unsigned char)text[i]);
        good = isxdigit((unsigned char)text[i]) != 0;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (!good) {
        return error_set(err, DSTACK_E_FORMAT, "not a quantity of at most 64 bits: %.40s", text);
    }
    *out = value;
    return 0;
}

int chain_data_parse(const char *text, dstack_buf *out, dstack_error *err) {
    if (text[0] != '0' || text[1] != 'x') {
        return error_set(err, DSTACK_E_FORMAT, "data does not begin with 0x");
    }
    return hex_decode(bytes_of_str(text + 2), out, err);
}

void chain_data_put(dstack_buf *out, dstack_bytes data) {
    buf_put_str(out, "0x");
    buf_put_hex(out, data);
}
