/* The SGX extension of PCK certificates (Intel "SGX PCK Certificate and Certificate Revocation List
 * Profile Specification", section 1.3.5). */
#ifndef VERIFY_DCAP_PCK_H
#define VERIFY_DCAP_PCK_H

#include <dstack/verifier.h>

#include "x509/cert.h"

/* DSTACK_E_DCAP_PCK_EXTENSION when the extension is missing, there twice or incomplete. */
int dcap_pck_parse(dstack_pck_info *out, const x509_cert *leaf, dstack_error *err);
/* The same from the value of the extension. */
int dcap_pck_parse_extension(dstack_pck_info *out, dstack_bytes value, dstack_error *err);

/* Which CA's revocation list covers a leaf: "processor" or "platform". */
const char *dcap_pck_ca_kind(const x509_cert *leaf);

/* True when `part` occurs in the name's common name. */
bool dcap_name_contains(dstack_bytes name, const char *part);

#endif
