/* X25519 (RFC 7748) and the anonymous sealed box made of it. Backend: libsodium. */
#ifndef DSTACK_CRYPTO_X25519_H
#define DSTACK_CRYPTO_X25519_H

#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#define X25519_SIZE 32
/* What sealed_box_seal adds to its input: the ephemeral public key and the tag. */
#define SEALED_BOX_OVERHEAD 48

/* Public key of a secret. The secret is clamped inside; it need not be clamped before. */
int x25519_public(const uint8_t secret[X25519_SIZE], uint8_t public_key[X25519_SIZE],
                  dstack_error *err);

/* Shared secret with a peer. DSTACK_E_CRYPTO where the peer's key is of small order (the result
 * would be all zero). */
int x25519_shared(const uint8_t secret[X25519_SIZE], const uint8_t peer[X25519_SIZE],
                  uint8_t shared[X25519_SIZE], dstack_error *err);

/* libsodium's crypto_box_seal: ephemeral public key ‖ XSalsa20-Poly1305 box. Appends to out. */
int sealed_box_seal(const uint8_t recipient[X25519_SIZE], dstack_bytes message, dstack_buf *out,
                    dstack_error *err);
/* Appends the message to out; DSTACK_E_CRYPTO where the box is not genuine. */
int sealed_box_open(const uint8_t secret[X25519_SIZE], dstack_bytes box, dstack_buf *out,
                    dstack_error *err);

#endif
