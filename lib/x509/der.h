/* Distinguished Encoding Rules (X.690), the subset that certificates use.
 *
 * Reading is strict: definite lengths in their shortest form, single-byte tags, no value longer
 * than its container. The reader is the base cursor; a malformed element marks the cursor failed
 * and leaves it so, so that a parser reads all its fields and tests once, as with any cursor.
 * Writing goes to a dstack_buf: der_begin/der_end bracket a constructed value. */
#ifndef DSTACK_X509_DER_H
#define DSTACK_X509_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "base/cursor.h"

enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_T61_STRING = 0x14,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_BMP_STRING = 0x1e,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
};
/* Context tags: primitive and constructed. */
#define DER_CONTEXT(n) (0x80 | (n))
#define DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n))

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct der_element {
    uint8_t tag;
    dstack_bytes value; /* content octets */
    dstack_bytes whole; /* header and content */
} der_element;

/* Reads the next element of any tag. Fails the cursor on malformed or truncated input. */
der_element der_read(cursor *c);
/* The tag of the next element without reading it, or 0 at the end. */
uint8_t der_peek(const cursor *c);

/* Reads an element of that tag, content octets returned; fails the cursor on another tag. */
dstack_bytes der_take(cursor *c, uint8_t tag);
/* As der_take, header included. */
dstack_bytes der_take_whole(cursor *c, uint8_t tag);
/* A cursor over the content of the next element, which must have that tag. */
cursor der_enter(cursor *c, uint8_t tag);
/* Enters an optional element: false (and nothing read) where the next tag is another. */
bool der_enter_optional(cursor *c, uint8_t tag, cursor *inner);
/* Marks outer failed unless inner was read to its end without failure. */
void der_leave(cursor *outer, const cursor *inner);

bool der_boolean(cursor *c);
/* INTEGER, content octets as they stand (two's complement, shortest form, never empty). */
dstack_bytes der_integer(cursor *c);
/* INTEGER that is not negative and fits 64 bits. */
uint64_t der_uint(cursor *c);
/* INTEGER that is not negative, written to out as len big-endian bytes; fails where it is longer.
 */
void der_unsigned_fixed(cursor *c, uint8_t *out, size_t len);
/* OBJECT IDENTIFIER, content octets. */
dstack_bytes der_oid(cursor *c);
/* BIT STRING of whole octets (no unused bits). */
dstack_bytes der_bit_string(cursor *c);
/* BIT STRING of named bits, bit 0 the most significant of the first octet; at most 16 bits. Takes
 * trailing zero bits, which DER drops but the reference system writes. */
uint16_t der_named_bits(cursor *c);
/* UTCTime or GeneralizedTime as RFC 5280, 4.1.2.5 restricts them (seconds, 'Z'), to UNIX seconds.
 * GeneralizedTime is taken for any year from 0001 on. */
int64_t der_time(cursor *c);

/* 0 where c was read to its end; DSTACK_E_FORMAT "<what>: ..." otherwise. */
int der_finish(const cursor *c, const char *what, dstack_error *err);

/* OIDs as content octets: DER_OID_BYTES(0x55, 0x1d, 0x13). */
#define DER_OID_BYTES(...)                                                                         \
    ((dstack_bytes){(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})})

/* ---- writing -------------------------------------------------------------------------------- */

/* Opens a constructed or wrapping element; the returned mark goes to der_end. */
size_t der_begin(dstack_buf *out, uint8_t tag);
/* Closes it: the length is put in, in its shortest form. */
void der_end(dstack_buf *out, size_t mark);

void der_put(dstack_buf *out, uint8_t tag, dstack_bytes value);
void der_put_boolean(dstack_buf *out, bool value);
void der_put_uint(dstack_buf *out, uint64_t value);
/* Unsigned big-endian magnitude of any length; leading zeros are dropped, a sign octet is added. */
void der_put_unsigned(dstack_buf *out, dstack_bytes magnitude);
void der_put_oid(dstack_buf *out, dstack_bytes oid);
void der_put_null(dstack_buf *out);
/* BIT STRING of whole octets. */
void der_put_bit_string(dstack_buf *out, dstack_bytes octets);
/* BIT STRING of named bits (bit i of bits = named bit i), trailing zero bits dropped as DER asks.
 */
void der_put_named_bits(dstack_buf *out, uint16_t bits);
void der_put_text(dstack_buf *out, uint8_t tag, const char *text);
/* UTCTime for the years 1950 to 2049, GeneralizedTime otherwise (RFC 5280, 4.1.2.5). Marks out
 * failed for years outside 1 to 9999. */
void der_put_time(dstack_buf *out, int64_t unix_seconds);

#endif
