/* RSA signature verification (RFC 8017), for the chains of vendors that use it: AMD's certificates
 * and the attestation keys of TPMs. Backend: libcrypto. Nothing here signs. */
#ifndef DSTACK_CRYPTO_RSA_H
#define DSTACK_CRYPTO_RSA_H

#include <dstack/bytes.h>
#include <dstack/error.h>

typedef enum rsa_scheme {
    RSA_PKCS1_SHA256, /* RSASSA-PKCS1-v1_5 */
    RSA_PKCS1_SHA384,
    RSA_PSS_SHA384, /* RSASSA-PSS: MGF1 with SHA-384, 48 bytes of salt */
} rsa_scheme;

/* Smallest and largest modulus taken, in bits; the exponent is odd and below 2^33. */
#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 4096

/* Verifies a signature over data (hashed inside) with a DER SubjectPublicKeyInfo. DSTACK_E_CRYPTO
 * where it does not hold, DSTACK_E_UNSUPPORTED where the key is not an RSA key of those sizes. */
int rsa_verify(dstack_bytes spki, rsa_scheme scheme, dstack_bytes data, dstack_bytes signature,
               dstack_error *err);

#endif
