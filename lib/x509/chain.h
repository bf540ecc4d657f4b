/* Certification paths whose certificates may have any key that x509/signed.h verifies: the chains
 * of AMD and of TPM vendors. What x509/path.h does for ECDSA alone, with the same rules and the same
 * statuses. */
#ifndef DSTACK_X509_CHAIN_H
#define DSTACK_X509_CHAIN_H

#include "x509/cert.h"
#include "x509/crl.h"

#define X509_CHAIN_MAX_INTERMEDIATES 6

typedef struct x509_chain_options {
    int64_t now; /* UNIX seconds */
    /* Where leaf or intermediates have an extKeyUsage, it must name one of these OIDs; none given:
     * any. */
    const dstack_bytes *purposes;
    size_t purpose_count;
} x509_chain_options;

/* certs[0] is the leaf, certs[count - 1] the anchor; borrowed from the caller. */
typedef struct x509_chain {
    const x509_cert *certs[X509_CHAIN_MAX_INTERMEDIATES + 2];
    size_t count;
    int64_t valid_until; /* the earliest end of all, the anchor's included */
} x509_chain;

/* Builds and verifies the path: names, CA flags, path lengths, key usages, purposes, unknown
 * critical extensions, dates (the anchor's too), signatures. DSTACK_E_X509_PATH,
 * DSTACK_E_X509_EXPIRED, DSTACK_E_CRYPTO, DSTACK_E_UNSUPPORTED. */
int x509_chain_verify(const x509_cert *leaf, const x509_cert *pool, size_t pool_count,
                      const x509_cert *anchor, const x509_chain_options *options, x509_chain *out,
                      dstack_error *err);

/* Form and trust of a list against the certificate that issued it: names, cRLSign, dates,
 * signature. */
int x509_chain_check_crl(const x509_crl *crl, const x509_cert *issuer, int64_t now,
                         dstack_error *err);

#endif
