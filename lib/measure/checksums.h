/* sha256sum.txt: the file whose own hash is the image's identity. */
#ifndef MEASURE_CHECKSUMS_H
#define MEASURE_CHECKSUMS_H

#include <dstack/bytes.h>

#define CHECKSUMS_MAX_SIZE ((size_t)64 << 10)

/* Finds the one line for `name` (lower-case hash, two blanks, name). DSTACK_E_NOT_FOUND without it,
 * DSTACK_E_FORMAT for a second one or for a malformed hash. */
int checksums_find(dstack_bytes text, const char *name, uint8_t hash[32], dstack_error *err);

/* That line's hash must be the content's: DSTACK_E_REFUSED otherwise. */
int checksums_check(dstack_bytes text, const char *name, dstack_bytes content, dstack_error *err);

#endif
