/* Building HTML: every value goes through one of these. */
#ifndef AGENT_SERVE_HTML_H
#define AGENT_SERVE_HTML_H

#include <stdint.h>

#include <dstack/bytes.h>

/* Appends text with the characters that HTML gives a meaning to escaped; control characters but for
 * tab and line feed, which HTML does not allow at all, become U+FFFD. */
void html_text(dstack_buf *out, const char *text);
/* <dt>name</dt><dd>value</dd>, nothing where the value is empty. `name` is ours and plain. */
void html_fact(dstack_buf *out, const char *name, const char *value);
void html_fact_hex(dstack_buf *out, const char *name, dstack_bytes value);
/* Bytes with a unit of base 1024 and two digits: "1.50 GB". */
void html_size(dstack_buf *out, uint64_t bytes);
/* "2 d 3 h", "4 min": the two largest units. */
void html_duration(dstack_buf *out, uint64_t seconds);
/* A moment in UTC, as a <time> element. */
void html_moment(dstack_buf *out, int64_t unix_seconds);

#endif
