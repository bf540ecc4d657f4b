/* CBOR (RFC 8949) as others write it: beside the subset of base/cbor.h also negative integers, null,
 * tags and maps and arrays of indefinite length. Nothing is allocated. Strings of indefinite length
 * and floats are refused. */
#ifndef BASE_CBOR_ANY_H
#define BASE_CBOR_ANY_H

#include "base/cursor.h"

typedef enum cbor_any_kind {
    CBOR_ANY_NONE, /* the cursor failed */
    CBOR_ANY_UINT,
    CBOR_ANY_NEGATIVE, /* value v stands for -1 - v */
    CBOR_ANY_BYTES,
    CBOR_ANY_TEXT,
    CBOR_ANY_ARRAY,
    CBOR_ANY_MAP,
    CBOR_ANY_TAG,
    CBOR_ANY_BOOL,
    CBOR_ANY_NULL,
    CBOR_ANY_BREAK,
} cbor_any_kind;

/* The number of items of an array or map that ends with a break. */
#define CBOR_ANY_INDEFINITE UINT64_MAX

typedef struct cbor_any {
    cbor_any_kind kind;
    uint64_t value;     /* integer, tag, 0/1, number of items or pairs */
    dstack_bytes bytes; /* content of a byte or text string, borrowed */
} cbor_any;

cbor_any cbor_any_read(cursor *c);
/* An item of that kind; another fails the cursor. */
cbor_any cbor_any_take(cursor *c, cbor_any_kind kind);
/* Skips one item, whatever it holds, to a nesting of 8. */
void cbor_any_skip(cursor *c);

/* Walks the members of an array or map: `for (uint64_t n = 0; cbor_any_next(c, head, &n);)`. False
 * after the last (a break is read) and once the cursor has failed. */
bool cbor_any_next(cursor *c, cbor_any head, uint64_t *n);

#endif
