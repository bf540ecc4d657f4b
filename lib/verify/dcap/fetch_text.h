/* What goes over the wire to a collateral server, and what comes back, as text: no network here. */
#ifndef VERIFY_DCAP_FETCH_TEXT_H
#define VERIFY_DCAP_FETCH_TEXT_H

#include <dstack/quote.h>

/* The base of a server's URLs: trailing slashes and the API's own prefix taken off. */
void fetch_base_url(const char *url, dstack_buf *out);
/* Intel's own service publishes the root list in another place than caches do. */
bool fetch_is_intel(const char *base);

/* Parameters of the request for a PCK certificate, from certification data of type 1 to 3:
 * "qeid=...&encrypted_ppid=...&cpusvn=...&pcesvn=...&pceid=...". tcbm: CPUSVN and PCESVN in hex, as
 * the answer names the level that its certificate is for. */
int fetch_pck_query(const dstack_quote *quote, dstack_buf *query, char tcbm[37], dstack_error *err);

/* Percent decoding; '+' stays what it is, being base64. */
int fetch_percent_decode(dstack_bytes text, dstack_buf *out, dstack_error *err);

/* The exact text of one member's value, and the bytes of "signature", of {"<member>": ...,
 * "signature": "hex"}. */
int fetch_signed_text(dstack_bytes body, const char *member, dstack_bytes *text,
                      dstack_buf *signature, dstack_error *err);

/* A DER list that may come as hex text. */
int fetch_hex_or_der(dstack_bytes body, bool must_be_hex, dstack_buf *out, dstack_error *err);

#endif
