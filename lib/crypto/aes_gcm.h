/* AES-GCM with 96-bit nonces and 128-bit tags (NIST SP 800-38D), 128- and 256-bit keys.
 * Backend: nettle. */
#ifndef DSTACK_CRYPTO_AES_GCM_H
#define DSTACK_CRYPTO_AES_GCM_H

#include <dstack/bytes.h>
#include <dstack/error.h>

#define AES_GCM_NONCE_SIZE 12
#define AES_GCM_TAG_SIZE 16

/* Appends ciphertext ‖ tag to out. key: 16 or 32 bytes, nonce: 12 bytes, used once per key.
 * DSTACK_E_ARGUMENT for other lengths. */
int aes_gcm_seal(dstack_bytes key, dstack_bytes nonce, dstack_bytes aad, dstack_bytes plaintext,
                 dstack_buf *out, dstack_error *err);

/* Opens ciphertext ‖ tag and appends the plaintext to out. Nothing is appended unless the tag is
 * right: DSTACK_E_CRYPTO where it is not. */
int aes_gcm_open(dstack_bytes key, dstack_bytes nonce, dstack_bytes aad, dstack_bytes sealed,
                 dstack_buf *out, dstack_error *err);

#endif
