/* The contract ABI (Solidity documentation, "Contract ABI Specification"): arguments in, results
 * out. Only the types that our contracts use. */
#ifndef CHAIN_ABI_H
#define CHAIN_ABI_H

#include "chain/value.h"

#define CHAIN_SELECTOR_SIZE 4
#define CHAIN_ABI_DEPTH 4 /* of tuples and arrays inside each other */

typedef enum chain_abi_type {
    CHAIN_ABI_UINT,    /* number: any uintN */
    CHAIN_ABI_BOOL,    /* flag */
    CHAIN_ABI_ADDRESS, /* bytes, 20 of them */
    CHAIN_ABI_WORD,    /* bytes, 32 of them: bytes32, or a uint256 given whole */
    CHAIN_ABI_FIXED,   /* bytes, at most 32: bytesN, such as bytes4 */
    CHAIN_ABI_BYTES,   /* bytes: bytes and string */
    CHAIN_ABI_ARRAY,   /* items: T[] */
    CHAIN_ABI_TUPLE,   /* items: a struct */
} chain_abi_type;

typedef struct chain_abi_value {
    chain_abi_type type;
    uint64_t number;
    bool flag;
    dstack_bytes bytes;
    const struct chain_abi_value *items;
    size_t count;
} chain_abi_value;

#define CHAIN_ABI_OF_UINT(n) ((chain_abi_value){.type = CHAIN_ABI_UINT, .number = (n)})
#define CHAIN_ABI_OF_BOOL(b) ((chain_abi_value){.type = CHAIN_ABI_BOOL, .flag = (b)})
#define CHAIN_ABI_OF_ADDRESS(a)                                                                    \
    ((chain_abi_value){.type = CHAIN_ABI_ADDRESS, .bytes = {(a)->bytes, CHAIN_ADDRESS_SIZE}})
#define CHAIN_ABI_OF_WORD(w)                                                                       \
    ((chain_abi_value){.type = CHAIN_ABI_WORD, .bytes = {(w)->bytes, CHAIN_WORD_SIZE}})
#define CHAIN_ABI_OF_BYTES(b) ((chain_abi_value){.type = CHAIN_ABI_BYTES, .bytes = (b)})

/* The first four bytes of the hash of "name(type,type)". */
void chain_abi_selector(const char *signature, uint8_t out[CHAIN_SELECTOR_SIZE]);
/* The hash of an event's signature: topic 0 of its logs. */
void chain_abi_topic(const char *signature, chain_word *out);
/* Appends the arguments alone (as constructors take them). DSTACK_E_ARGUMENT for bytes of a wrong
 * size or a nesting that is too deep. */
int chain_abi_encode(const chain_abi_value *values, size_t count, dstack_buf *out,
                     dstack_error *err);
/* Appends selector and arguments. The signature's types are the caller's to keep in step with the
 * values. */
int chain_abi_encode_call(const char *signature, const chain_abi_value *values, size_t count,
                          dstack_buf *out, dstack_error *err);

/* Reads results one after another. What is out of bounds, or not in the one form that the
 * specification has for a value, sets `failed` and reads as zero or empty; a caller reads all and
 * asks chain_abi_ok() once. Views last as long as the input. */
typedef struct chain_abi_reader {
    dstack_bytes frame; /* what offsets count from */
    size_t at;          /* next head word */
    unsigned depth;
    bool failed;
} chain_abi_reader;

chain_abi_reader chain_abi_read(dstack_bytes data);
bool chain_abi_ok(const chain_abi_reader *r);
/* Fails above 64 bits. */
uint64_t chain_abi_get_uint(chain_abi_reader *r);
bool chain_abi_get_bool(chain_abi_reader *r);
chain_address chain_abi_get_address(chain_abi_reader *r);
chain_word chain_abi_get_word(chain_abi_reader *r);
/* bytes or string, padding checked to be zeros. */
dstack_bytes chain_abi_get_bytes(chain_abi_reader *r);
/* T[]: *count items can be read from the result; a count that the data cannot hold fails. */
chain_abi_reader chain_abi_get_array(chain_abi_reader *r, size_t *count);
/* A struct with a member of variable size (one of fixed size lies flat: read its members). */
chain_abi_reader chain_abi_get_tuple(chain_abi_reader *r);
/* The failure of an inner reader becomes the outer one's. */
void chain_abi_join(chain_abi_reader *r, const chain_abi_reader *inner);

/* What the data of a reverted call says, as text for people: the message of Error(string), or the
 * name of a custom error that our contracts have, or the data itself in hex. */
void chain_abi_revert_text(dstack_bytes data, char *out, size_t room);

#endif
