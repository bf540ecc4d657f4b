/* Hex and base64 text. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <dstack/bytes.h>

/* Lower-case hex into out, which holds 2 * len + 1 bytes. */
void hex_encode(dstack_bytes bytes, char *out);
/* Decodes text of any case into exactly `len` bytes; refuses other lengths, prefixes and blanks. */
int hex_decode_fixed(const char *text, uint8_t *out, size_t len, dstack_error *err);
/* The same from text that need not end with a zero. */
int hex_decode_bytes(dstack_bytes text, uint8_t *out, size_t len, dstack_error *err);
/* Appends the decoded bytes to out; text need not end with a zero. */
int hex_decode(dstack_bytes text, dstack_buf *out, dstack_error *err);

typedef enum base64_form { BASE64_STANDARD, BASE64_URL_NOPAD } base64_form;
/* Appends text. */
void base64_encode(dstack_bytes bytes, base64_form form, dstack_buf *out);
/* Appends bytes; strict for the form given; white space is ignored in the standard form only. */
int base64_decode(dstack_bytes text, base64_form form, dstack_buf *out, dstack_error *err);
/* The same verdict and bytes for the standard form, by a table and so several times as fast: for
 * text that is no secret, such as certificates. */
int base64_decode_public(dstack_bytes text, dstack_buf *out, dstack_error *err);

/* Turns a file's content given as binary, hex or base64 text into bytes. `looks_binary` decides on
 * the content itself whether it can be the wanted binary form (for a quote: version and sizes); the
 * text forms are tried when it says no. Text around which only white space stands is accepted. */
int bytes_from_any_text(dstack_bytes content, bool (*looks_binary)(dstack_bytes), dstack_buf *out,
                        dstack_error *err);

#endif
