/* Parts of TPM quote verification that others of the library use. */
#ifndef VERIFY_TPM_TPM_H
#define VERIFY_TPM_TPM_H

#include <dstack/tpm.h>

#include "x509/cert.h"

/* Whether the quote is signed by the key of its own certificate, whoever issued that. */
int tpm_check_signature(const dstack_tpm_quote *quote, dstack_error *err);

/* Addresses that a certificate names: of its issuer's certificate (RFC 5280, section 4.2.2.1,
 * caIssuers), and of the lists that its revocation is told in (section 4.2.1.13). At most max are
 * given, in order; others than URIs, and what is malformed, are left out. They borrow from the
 * certificate and are not terminated. */
#define TPM_MAX_URLS 4
size_t tpm_issuer_urls(const x509_cert *cert, dstack_bytes urls[TPM_MAX_URLS]);
size_t tpm_crl_urls(const x509_cert *cert, dstack_bytes urls[TPM_MAX_URLS]);

#endif
