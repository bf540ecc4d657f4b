/* Ed25519 (RFC 8032). Backend: libsodium. */
#ifndef DSTACK_CRYPTO_ED25519_H
#define DSTACK_CRYPTO_ED25519_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#define ED25519_SEED_SIZE 32
#define ED25519_PUBLIC_SIZE 32
#define ED25519_SIGNATURE_SIZE 64

int ed25519_public(const uint8_t seed[ED25519_SEED_SIZE], uint8_t public_key[ED25519_PUBLIC_SIZE],
                   dstack_error *err);
int ed25519_sign(const uint8_t seed[ED25519_SEED_SIZE], dstack_bytes message,
                 uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err);

/* Strict verification: refuses S >= L, points of small order and encodings that are not canonical.
 * 0 where the signature is good, DSTACK_E_CRYPTO otherwise. */
int ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_SIZE], dstack_bytes message,
                   const uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err);

/* Whether 32 bytes decode to a point of the curve, of whatever order and also from an encoding that is
 * not canonical. */
bool ed25519_point_decodes(const uint8_t public_key[ED25519_PUBLIC_SIZE]);

/* The check without the strict one's refusals, for answers that must be those of systems that verify
 * so: R and S are compared as RFC 8032, section 5.1.7 says without cofactors, S >= L is refused, and
 * keys of small order or in other encodings are taken. With such a key signatures verify that nobody
 * made: never decide on trust by it. Backend: libcrypto. */
int ed25519_verify_lenient(const uint8_t public_key[ED25519_PUBLIC_SIZE], dstack_bytes message,
                           const uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err);

#endif
