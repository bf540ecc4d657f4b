/* Certificate paths of Intel's PKI: a chain in PEM, one pinned anchor, two revocation lists.
 *
 * Stricter or other than x509/path.h where DCAP is: revocation is part of the path, CRL lifetimes
 * end exclusively, and every refusal has a status of its own. */
#ifndef VERIFY_DCAP_CHAIN_H
#define VERIFY_DCAP_CHAIN_H

#include <dstack/verifier.h>

#include "base/auto.h"
#include "crypto/ecdsa.h"
#include "verify/dcap/anchor.h"
#include "verify/dcap/revocation.h"
#include "verify/dcap/validity.h"
#include "x509/cert.h"

#define DCAP_MAX_CHAIN 16
#define DCAP_MAX_INTERMEDIATES 6
#define DCAP_MAX_SIGNATURE_CHECKS 100

/* Certificates of one PEM text; the first is the leaf. */
typedef struct dcap_cert {
    dstack_buf der;
    x509_cert x509;
    ecdsa_key *key; /* loaded at first use */
} dcap_cert;

typedef struct dcap_chain {
    dcap_cert *certs;
    size_t count, cap;
    size_t ca; /* after dcap_chain_verify: index of the one CA between leaf and anchor, or 0 */
} dcap_chain;

/* leaf_status is returned for PEM that cannot be read, no certificate at all or a bad first one;
 * DSTACK_E_DCAP_CERT_FORMAT for a bad further one. Copies of the anchor (may be NULL) behind the
 * leaf are passed over unread: paths end at the anchor itself. The chain is cleared by the caller
 * also after a failure. */
int dcap_chain_load(dcap_chain *out, dstack_bytes pem, const dcap_anchor *anchor,
                    dstack_status leaf_status, const char *what, dstack_error *err);
void dcap_chain_clear(dcap_chain *chain);
DSTACK_AUTO_DEFINE_CLEAR(dcap_chain, dcap_chain, dcap_chain_clear)

typedef enum dcap_role { DCAP_ROLE_PCK, DCAP_ROLE_SIGNER } dcap_role;

/* A CA under the anchor whose signature, and whose revocation list's, were verified before.
 * Everything that depends on time or on the list's content is checked again. */
typedef struct dcap_known_ca {
    dstack_buf der;
    ecdsa_key *key;
} dcap_known_ca;

void dcap_known_ca_free(dcap_known_ca *ca);

/* What a path is judged by. */
typedef struct dcap_trust {
    const dcap_anchor *anchor;
    const x509_crl *root_crl; /* already verified under the anchor */
    const x509_crl *pck_crl;  /* parsed; verified when it covers a certificate of the path */
    int64_t now;
    const dcap_known_ca *known_ca; /* may be NULL */
    dcap_compat *compat;           /* may be NULL */
} dcap_trust;

/* Finds and verifies the path from the leaf to the anchor; adds the validity of all it rests on. */
int dcap_chain_verify(dcap_chain *chain, dcap_role role, const dcap_trust *trust,
                      dcap_validity *validity, dstack_error *err);
/* The first certificate of the chain as a CA that the anchor issued; its key is loaded. */
int dcap_chain_verify_ca(dcap_chain *chain, const dcap_anchor *anchor, const x509_crl *root_crl,
                         int64_t now, dcap_compat *compat, dstack_error *err);
/* After a PCK path was verified: its one CA, moved out of the chain; NULL when there is none, or no
 * memory. */
dcap_known_ca *dcap_chain_take_ca(dcap_chain *chain);

#endif
