/* Certification paths (RFC 5280, section 6) of the plain kind that attestation and RA-TLS need: a
 * leaf, a pool of intermediates, one pinned anchor. No policies, no network, no clock. */
#ifndef DSTACK_X509_PATH_H
#define DSTACK_X509_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "x509/cert.h"
#include "x509/crl.h"

#define X509_PATH_MAX_INTERMEDIATES 6
#define X509_PATH_MAX_CHECKS 100

typedef struct x509_path_options {
    int64_t now;           /* UNIX seconds */
    unsigned required_eku; /* X509_EKU_*: each certificate that has an EKU must allow it; 0: any */
    bool leaf_may_be_ca;   /* default false: a leaf with cA TRUE is refused */
    bool p256_only;        /* refuse anything but ECDSA P-256 with SHA-256 on the path */
    bool check_anchor_dates; /* also hold the anchor's own dates against now */
    /* OIDs (content octets) of critical extensions the caller itself looks at. */
    const dstack_bytes *known_critical;
    size_t known_critical_count;
} x509_path_options;

/* The path found: certs[0] is the leaf, certs[count - 1] the anchor. Pointers borrow the caller's
 * certificates. keys[i] is the verified key of certs[i]; owned. */
typedef struct x509_path {
    const x509_cert *certs[X509_PATH_MAX_INTERMEDIATES + 2];
    ecdsa_key *keys[X509_PATH_MAX_INTERMEDIATES + 2];
    size_t count;
    int64_t valid_from; /* intersection of all validities on the path (without the anchor's unless
                         * check_anchor_dates) */
    int64_t valid_until;
} x509_path;

void x509_path_clear(x509_path *path);

/* Builds and verifies a path. Issuers are found by name (compared byte for byte); an anchor is
 * preferred over a same-named certificate of the pool. Name constraints, the anchor's too, hold for
 * all certificates below. Fails with
 *   DSTACK_E_X509_PATH  no path to the anchor, or a certificate breaks a rule,
 *   DSTACK_E_X509_EXPIRED    a date is out of bounds,
 *   DSTACK_E_CRYPTO     a signature does not hold.
 * out is filled on success alone. */
int x509_path_verify(const x509_cert *leaf, const x509_cert *pool, size_t pool_count,
                     const x509_cert *anchor, const x509_path_options *options, x509_path *out,
                     dstack_error *err);

/* Checks one certificate of a verified path against the CRL of its issuer: names match, signature
 * holds, thisUpdate <= now < nextUpdate, scope covers the certificate, serial is not listed.
 * DSTACK_E_X509_REVOKED where it is listed. */
int x509_crl_check(const x509_crl *crl, const x509_cert *cert, const x509_cert *issuer,
                   const ecdsa_key *issuer_key, int64_t now, dstack_error *err);

#endif
