/* Certificate revocation lists (RFC 5280, section 5), version 2, strict DER, without copying.
 *
 * Accepted: full lists signed by the issuer itself. Refused: delta lists, indirect lists, lists
 * split by reason or for attribute certificates, unknown critical extensions. */
#ifndef DSTACK_X509_CRL_H
#define DSTACK_X509_CRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "x509/cert.h"

#define X509_MAX_CRL_SIZE (4 * 1024 * 1024)

typedef struct x509_crl {
    dstack_bytes der;
    dstack_bytes tbs;
    dstack_bytes issuer; /* Name, DER with header */
    int64_t this_update; /* UNIX seconds */
    int64_t next_update;
    dstack_bytes revoked; /* entries, back to back */
    size_t revoked_count;
    bool has_number;
    dstack_bytes number; /* content octets of the CRL number, at most 20 */
    dstack_bytes aki;    /* key identifier or empty */
    bool has_issuing_point, only_user_certs, only_ca_certs;
    dstack_bytes issuing_point_uri; /* first URI of the issuing distribution point, or empty */
    x509_signature_algorithm signature_algorithm;
    dstack_bytes signature_oid;
    dstack_bytes signature;
} x509_crl;

/* Parses one list, checks every entry; nothing may follow it. Both dates must be present. */
int x509_crl_parse(x509_crl *out, dstack_bytes der, dstack_error *err);
/* The same, taking also a list without any extension, though RFC 5280 wants its number: for issuers
 * other than Intel. */
int x509_crl_parse_bare(x509_crl *out, dstack_bytes der, dstack_error *err);

int x509_crl_verify_signature(const x509_crl *crl, const ecdsa_key *issuer_key, dstack_error *err);

/* True where the list names that serial (content octets of the INTEGER, compared as they are).
 * revoked_at may be NULL. */
bool x509_crl_contains(const x509_crl *crl, dstack_bytes serial, int64_t *revoked_at);

#endif
