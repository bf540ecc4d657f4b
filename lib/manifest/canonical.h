/* Canonical JSON: the text that JavaScript's JSON.stringify gives for a value whose object members
 * were sorted, which for JSON documents is RFC 8785 (JCS). */
#ifndef MANIFEST_CANONICAL_H
#define MANIFEST_CANONICAL_H

#include <jansson.h>

#include <dstack/bytes.h>

/* Parses for canonical writing: numbers become doubles, as JavaScript reads them. NULL on failure.
 */
json_t *canonical_parse(dstack_bytes text, size_t limit, const char *what, dstack_error *err);
/* Appends a value. Members are sorted by UTF-16 code units; numbers in their shortest form. */
int canonical_write(const json_t *value, dstack_buf *out, dstack_error *err);
/* Appends a string literal: short escapes where JSON has them, \u00xx for other control characters,
 * everything else as it is. The input is UTF-8. */
void canonical_put_string(dstack_buf *out, dstack_bytes text);

#endif
