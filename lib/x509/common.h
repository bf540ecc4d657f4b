/* What certificates, CRLs and requests have in common. */
#ifndef DSTACK_X509_COMMON_H
#define DSTACK_X509_COMMON_H

#include "x509/cert.h"
#include "x509/der.h"

/* AlgorithmIdentifier of a signature: gives its OID and, when known, what it means. A known ECDSA
 * algorithm must have no parameters (RFC 5758, section 3.2). The whole element is returned. */
dstack_bytes x509_read_algorithm(cursor *c, dstack_bytes *oid, x509_signature_algorithm *known);
/* Appends the AlgorithmIdentifier that belongs to a key's curve. */
void x509_put_algorithm(dstack_buf *out, ecdsa_curve curve);

/* A Name with its header, each RDN checked for form. */
dstack_bytes x509_read_name(cursor *c);

/* One Extension; fails the cursor where it is malformed. */
x509_extension x509_read_extension(cursor *c);

/* GeneralNames inside value: walks as x509_cert_san_next does. */
bool x509_general_name_next(dstack_bytes names, size_t *position, x509_san *out);
/* True where value is one well-formed, non-empty GeneralNames. */
bool x509_general_names_valid(dstack_bytes value);
/* Appends GeneralNames made of texts: IP addresses become iPAddress, others dNSName. */
int x509_put_general_names(dstack_buf *out, const char *const *names, size_t count,
                           dstack_error *err);

/* Signs content (a SEQUENCE with its header) and appends SEQUENCE { content, algorithm, signature }
 * to out. */
int x509_put_signed(dstack_buf *out, dstack_bytes content, const ecdsa_private *signer,
                    bool deterministic, dstack_error *err);

/* Appends one Extension. */
void x509_put_extension(dstack_buf *out, dstack_bytes oid, bool critical, dstack_bytes value);

/* True where one URI of the certificate's CRL distribution points is uri. *has_points tells whether
 * there are any. A malformed extension has none in common. */
bool x509_cert_has_crl_point(const x509_cert *cert, dstack_bytes uri, bool *has_points);

#endif
