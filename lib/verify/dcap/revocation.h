/* Certificate revocation lists as DCAP uses them. */
#ifndef VERIFY_DCAP_REVOCATION_H
#define VERIFY_DCAP_REVOCATION_H

#include "verify/dcap/compat.h"
#include "crypto/ecdsa.h"
#include "x509/cert.h"
#include "x509/crl.h"

/* A revocation list: signature (not where the key is NULL), dates at now. */
int dcap_crl_check(const x509_crl *crl, const ecdsa_key *issuer_key, int64_t now, const char *what,
                   dcap_compat *compat, dstack_error *err);
int dcap_crl_parse(x509_crl *out, dstack_bytes der, const char *what, dstack_error *err);
/* CRL number as a report shows it; DSTACK_E_DCAP_CRL_FORMAT beyond 32 bits. */
int dcap_crl_number(const x509_crl *crl, uint32_t *number, dstack_error *err);

/* The first http URI of the certificate's CRL distribution points, or an empty view. */
dstack_bytes dcap_cert_crl_uri(const x509_cert *cert);

/* The list is of the certificate's issuer, and its scope takes in this certificate. */
bool dcap_crl_covers(const x509_crl *crl, const x509_cert *cert, bool is_leaf);

#endif
