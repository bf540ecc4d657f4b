/* ECDSA over secp256k1. Backend: libsecp256k1.
 *
 * Signatures use the RFC 6979 nonce (HMAC-SHA-256, no extra data) and are in low-S form. The
 * digest is always 32 bytes. Secret scalars are 32 bytes, big-endian. */
#ifndef DSTACK_CRYPTO_K256_H
#define DSTACK_CRYPTO_K256_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#define K256_SECRET_SIZE 32
#define K256_COMPRESSED_SIZE 33
#define K256_UNCOMPRESSED_SIZE 65
#define K256_COMPACT_SIZE 64
/* r ‖ s ‖ recovery id (0..3). */
#define K256_RECOVERABLE_SIZE 65

/* True for a scalar in [1, n-1]. */
bool k256_secret_valid(const uint8_t secret[K256_SECRET_SIZE]);

/* DSTACK_E_CRYPTO for a scalar that is zero or >= n. */
int k256_public(const uint8_t secret[K256_SECRET_SIZE], uint8_t compressed[K256_COMPRESSED_SIZE],
                dstack_error *err);
int k256_public_uncompressed(const uint8_t secret[K256_SECRET_SIZE],
                             uint8_t uncompressed[K256_UNCOMPRESSED_SIZE], dstack_error *err);

/* Point forms. public_key: 33 bytes compressed or 65 bytes 04 ‖ x ‖ y (hybrid forms are refused).
 */
int k256_compress(dstack_bytes public_key, uint8_t compressed[K256_COMPRESSED_SIZE],
                  dstack_error *err);
int k256_uncompress(dstack_bytes public_key, uint8_t uncompressed[K256_UNCOMPRESSED_SIZE],
                    dstack_error *err);

int k256_sign(const uint8_t secret[K256_SECRET_SIZE], const uint8_t digest[32],
              uint8_t signature[K256_COMPACT_SIZE], dstack_error *err);
int k256_sign_recoverable(const uint8_t secret[K256_SECRET_SIZE], const uint8_t digest[32],
                          uint8_t signature[K256_RECOVERABLE_SIZE], dstack_error *err);

/* 0 where the signature is good. DSTACK_E_FORMAT for a malformed key, a length other than 64, r
 * or s outside [1, n-1]; DSTACK_E_CRYPTO for a signature that does not hold or is high-S. */
int k256_verify(dstack_bytes public_key, const uint8_t digest[32], dstack_bytes signature,
                dstack_error *err);

/* The signer of a 65-byte recoverable signature, compressed. Accepts recovery ids 0..3 only, and
 * refuses high-S. */
int k256_recover(const uint8_t digest[32], dstack_bytes signature,
                 uint8_t compressed[K256_COMPRESSED_SIZE], dstack_error *err);

#endif
