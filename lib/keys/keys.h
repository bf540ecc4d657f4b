/* What the files of this folder share. */
#ifndef DSTACK_KEYS_KEYS_H
#define DSTACK_KEYS_KEYS_H

#include <dstack/keys.h>

dstack_bytes keys_view(const dstack_secret *secret);

/* HKDF-SHA-256 into guarded memory. The input key has at least 32 bytes. */
int keys_hkdf(const dstack_secret *ikm, const char *salt, const dstack_bytes *info,
              size_t info_count, size_t len, dstack_secret **out, dstack_error *err);

/* DSTACK_E_ARGUMENT unless item has exactly len bytes. The concatenations that are derived from and
 * signed have no length prefixes: fixed lengths are what keeps them unambiguous. */
int keys_length_check(dstack_bytes item, size_t len, const char *what, dstack_error *err);

/* Signs the Keccak-256 digest of the concatenated parts. */
int keys_sign(const dstack_secret *key, const dstack_bytes *parts, size_t count,
              uint8_t signature[65], dstack_error *err);
/* The signer of such a signature. */
int keys_signer(const dstack_bytes *parts, size_t count, dstack_bytes signature, uint8_t signer[33],
                dstack_error *err);

#endif
