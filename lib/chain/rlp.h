/* Recursive Length Prefix, the encoding of transactions (Ethereum Yellow Paper, appendix B). Building
 * only: nothing here is read from a peer. */
#ifndef CHAIN_RLP_H
#define CHAIN_RLP_H

#include <stdint.h>

#include <dstack/bytes.h>

/* Appends a byte string. */
void rlp_put_bytes(dstack_buf *out, dstack_bytes bytes);
/* Appends a number: big-endian without leading zeros, and 0 as the empty string. */
void rlp_put_uint(dstack_buf *out, uint64_t value);
/* The same for a number of any size given big-endian. */
void rlp_put_number(dstack_buf *out, dstack_bytes big_endian);
/* Appends a list whose items are in `items`, one after another. */
void rlp_put_list(dstack_buf *out, const dstack_buf *items);

#endif
