/* The subset of MessagePack that attestations and certificates use: unsigned integers, text,
 * binary, arrays, maps, nil. Reading fails the cursor on anything else and on counts beyond the
 * input; writing takes the shortest form. */
#ifndef ATTEST_MSGPACK_H
#define ATTEST_MSGPACK_H

#include "base/buf.h"
#include "base/cursor.h"

uint64_t msgpack_uint(cursor *c);
dstack_bytes msgpack_text(cursor *c);
/* Number of elements, or of pairs. Each element takes a byte at least, which bounds them. */
size_t msgpack_array(cursor *c);
size_t msgpack_map(cursor *c);
/* Replaces the content of out by a bin, or by an array of integers 0 to 255. */
void msgpack_bytes(cursor *c, dstack_buf *out);
/* True, and the nil is read, when the next value is nil. */
bool msgpack_nil(cursor *c);
/* Passes over one value of any kind, at most MSGPACK_MAX_DEPTH deep. */
#define MSGPACK_MAX_DEPTH 16
void msgpack_skip(cursor *c);

void msgpack_put_uint(dstack_buf *out, uint64_t value);
void msgpack_put_text(dstack_buf *out, dstack_bytes text);
void msgpack_put_str(dstack_buf *out, const char *text);
void msgpack_put_bin(dstack_buf *out, dstack_bytes bytes);
void msgpack_put_array(dstack_buf *out, size_t count);
void msgpack_put_map(dstack_buf *out, size_t count);
void msgpack_put_nil(dstack_buf *out);
/* One integer per byte. */
void msgpack_put_ints(dstack_buf *out, dstack_bytes bytes);

#endif
