/* The subset of SCALE (Simple Concatenated Aggregate Little-Endian) that attestations and signing
 * requests use. Reading fails the cursor: on lengths that are not in their shortest form, on
 * booleans other than 0 and 1, on lengths beyond the input. */
#ifndef ATTEST_SCALE_H
#define ATTEST_SCALE_H

#include "base/buf.h"
#include "base/cursor.h"

size_t scale_compact(cursor *c);
dstack_bytes scale_bytes(cursor *c);
bool scale_bool(cursor *c);

void scale_put_compact(dstack_buf *out, size_t value);
void scale_put_bytes(dstack_buf *out, dstack_bytes bytes);
void scale_put_str(dstack_buf *out, const char *text);

#endif
