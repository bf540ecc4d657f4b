/* Dates of Intel's signed texts. */
#ifndef VERIFY_DCAP_DATE_H
#define VERIFY_DCAP_DATE_H

#include <dstack/bytes.h>

/* RFC 3339 date and time with a zone to UNIX seconds; a fraction is cut off. False for anything
 * else, and for times before 1970. */
bool dcap_date_parse(dstack_bytes text, int64_t *seconds);
/* The other way, in UTC: "2026-01-01T00:00:00Z". out takes 32 bytes. */
void dcap_date_text(int64_t seconds, char *out);

#endif
