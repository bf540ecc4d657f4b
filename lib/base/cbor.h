/* CBOR (RFC 8949) as measurement documents and the simulated TEE's channel use it: definite lengths,
 * shortest integers, no tags, no floats. Reading and writing go through libcbor's streaming calls,
 * which allocate nothing, so that no length in the input decides about memory. */
#ifndef BASE_CBOR_H
#define BASE_CBOR_H

#include "base/cursor.h"

void cbor_put_uint(dstack_buf *out, uint64_t value);
void cbor_put_bool(dstack_buf *out, bool value);
void cbor_put_bytes(dstack_buf *out, dstack_bytes value);
void cbor_put_text(dstack_buf *out, const char *text);
/* Head of a map of `pairs` members, of an array of `items`. */
void cbor_put_map(dstack_buf *out, size_t pairs);
void cbor_put_array(dstack_buf *out, size_t items);

typedef enum cbor_kind {
    CBOR_END, /* nothing left, or the cursor failed */
    CBOR_UINT,
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_ARRAY,
    CBOR_MAP,
    CBOR_BOOL,
} cbor_kind;

typedef struct cbor_token {
    cbor_kind kind;
    uint64_t value;     /* integer, number of items or pairs, or 0/1 */
    dstack_bytes bytes; /* content of a byte or text string, borrowed */
} cbor_token;

/* Reads the next token. Anything malformed or outside the subset fails the cursor. */
cbor_token cbor_read(cursor *c);
/* Typed forms: another kind fails the cursor and gives zero or an empty view. */
uint64_t cbor_read_uint(cursor *c);
bool cbor_read_bool(cursor *c);
dstack_bytes cbor_read_bytes(cursor *c);
/* A byte string of exactly len bytes, copied. */
void cbor_read_fixed(cursor *c, uint8_t *out, size_t len);
dstack_bytes cbor_read_text(cursor *c);
uint64_t cbor_read_map(cursor *c);
uint64_t cbor_read_array(cursor *c);
/* Skips one value, whatever it holds, to a nesting of 8. */
void cbor_skip(cursor *c);

#endif
