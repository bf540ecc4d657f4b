/* PKCS#10 certification requests (RFC 2986), as ACME servers want them. */
#ifndef DSTACK_X509_CSR_H
#define DSTACK_X509_CSR_H

#include <stddef.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "crypto/ecdsa.h"
#include "x509/cert.h"

typedef struct x509_csr {
    dstack_bytes der;
    dstack_bytes info;    /* CertificationRequestInfo with header: what is signed */
    dstack_bytes subject; /* Name, DER with header */
    dstack_bytes spki;
    dstack_bytes san; /* value of the requested subjectAltName or empty */
    x509_signature_algorithm signature_algorithm;
    dstack_bytes signature;
} x509_csr;

/* Parses a request and verifies its signature by its own key. Borrows der. */
int x509_csr_parse(x509_csr *out, dstack_bytes der, dstack_error *err);
bool x509_csr_san_next(const x509_csr *csr, size_t *position, x509_san *out);

/* Builds a request: subject CN (NULL for an empty subject), names that become dNSName or iPAddress
 * entries, signed with SHA-256 (P-256) or SHA-384 (P-384). Appends DER to out. */
int x509_csr_build(const ecdsa_private *key, const char *common_name, const char *const *names,
                   size_t name_count, dstack_buf *out, dstack_error *err);

#endif
