/* Signatures of certificates and lists made with any key that vendors of TEEs use: ECDSA on P-256 or
 * P-384 and RSA. The paths of x509/path.h are ECDSA alone; x509/chain.h builds on this. */
#ifndef DSTACK_X509_SIGNED_H
#define DSTACK_X509_SIGNED_H

#include "x509/cert.h"
#include "x509/crl.h"

/* Verifies that the holder of issuer_spki signed the certificate. The algorithm is what the
 * certificate says, and it must fit the key. RSASSA-PSS is taken with exactly SHA-384, MGF1 with
 * SHA-384 and 48 bytes of salt. DSTACK_E_CRYPTO, DSTACK_E_UNSUPPORTED. */
int x509_signed_cert(const x509_cert *cert, dstack_bytes issuer_spki, dstack_error *err);
int x509_signed_crl(const x509_crl *crl, dstack_bytes issuer_spki, dstack_error *err);

#endif
