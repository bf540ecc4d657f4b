/* HMAC (RFC 2104) and HKDF (RFC 5869) over SHA-256. Backend: nettle. */
#ifndef DSTACK_CRYPTO_HMAC_H
#define DSTACK_CRYPTO_HMAC_H

#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#define HKDF_SHA256_MAX_OUTPUT (255 * 32)

void hmac_sha256(dstack_bytes key, dstack_bytes data, uint8_t out[32]);
void hmac_sha384(dstack_bytes key, dstack_bytes data, uint8_t out[48]);

/* HKDF-SHA-256 extract and expand. The info string is the plain concatenation of the info_count
 * items (no separators). Writes len bytes (1 .. HKDF_SHA256_MAX_OUTPUT) to out.
 * DSTACK_E_ARGUMENT for another length. */
int hkdf_sha256(dstack_bytes ikm, dstack_bytes salt, const dstack_bytes *info, size_t info_count,
                uint8_t *out, size_t len, dstack_error *err);

#endif
