/* Addresses, words and numbers of an EVM chain, and the text forms that JSON-RPC gives them
 * (Ethereum JSON-RPC specification, "Hex value encoding"). */
#ifndef CHAIN_VALUE_H
#define CHAIN_VALUE_H

#include <dstack/bytes.h>

#define CHAIN_ADDRESS_SIZE 20
#define CHAIN_WORD_SIZE 32
#define CHAIN_ADDRESS_TEXT (2 + 2 * CHAIN_ADDRESS_SIZE + 1)
#define CHAIN_WORD_TEXT (2 + 2 * CHAIN_WORD_SIZE + 1)

typedef struct chain_address {
    uint8_t bytes[CHAIN_ADDRESS_SIZE];
} chain_address;

typedef struct chain_word {
    uint8_t bytes[CHAIN_WORD_SIZE];
} chain_word;

/* 40 hex digits with or without "0x". Where both cases of letters occur, they must be the checksum
 * of EIP-55: a mistyped address is refused then. */
int chain_address_parse(const char *text, chain_address *out, dstack_error *err);
/* "0x" and 40 digits in the case of EIP-55. */
void chain_address_text(const chain_address *address, char out[CHAIN_ADDRESS_TEXT]);
/* 64 hex digits with or without "0x". */
int chain_word_parse(const char *text, chain_word *out, dstack_error *err);
void chain_word_text(const chain_word *word, char out[CHAIN_WORD_TEXT]);
/* "0x1a": no leading zeros, at most 64 bits. */
int chain_quantity_parse(const char *text, uint64_t *out, dstack_error *err);
/* Appends the bytes of "0x…" with an even number of digits. */
int chain_data_parse(const char *text, dstack_buf *out, dstack_error *err);
/* Appends "0x" and lower-case hex. */
void chain_data_put(dstack_buf *out, dstack_bytes data);

#endif
