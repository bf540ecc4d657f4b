/* P-256 public keys as JSON Web Keys (RFC 7517) and their thumbprints (RFC 7638). */
#ifndef DSTACK_CRYPTO_JWK_H
#define DSTACK_CRYPTO_JWK_H

#include <dstack/bytes.h>

#include "crypto/ecdsa.h"

/* Appends {"crv","kty","x","y"}: the members, in the order and form, that the thumbprint hashes.
 * DSTACK_E_ARGUMENT for another curve. */
int jwk_write(const ecdsa_key *key, dstack_buf *out, dstack_error *err);
/* Appends base64url(SHA-256 of that). */
int jwk_thumbprint(const ecdsa_key *key, dstack_buf *out, dstack_error *err);

#endif
