/* The derivations below one secret: plain bytes, P-256 scalars, and the secret that goes by way of
 * a P-256 key's encoding. */
#include <dstack/keys.h>

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/hmac.h"
#include "crypto/k256.h"
#include "crypto/x25519.h"
#include "keys/keys.h"

dstack_bytes keys_view(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

int keys_hkdf(const dstack_secret *ikm, const char *salt, const dstack_bytes *info,
              size_t info_count, size_t len, dstack_secret **out, dstack_error *err) {
    if (dstack_secret_len(ikm) < DSTACK_KEY_SIZE || info_count > DSTACK_KEY_CONTEXT_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "derivation wants a key of at least %d bytes and at most %d context "
                         "items, found %zu and %zu",
                         DSTACK_KEY_SIZE, DSTACK_KEY_CONTEXT_MAX, dstack_secret_len(ikm),
                         info_count);
    }
    if (len == 0 || len > HKDF_SHA256_MAX_OUTPUT) {
        return error_set(err, DSTACK_E_ARGUMENT, "derivation of %zu bytes: want 1 to %d", len,
                         HKDF_SHA256_MAX_OUTPUT);
    }
    DSTACK_AUTO(secret) dstack_secret *made = dstack_secret_new(len);
    if (made == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no guarded memory for a derived key");
    }
    int rc = hkdf_sha256(keys_view(ikm), bytes_of_str(salt), info, info_count,
                         dstack_secret_data(made), len, err);
    if (rc == 0) {
        *out = made;
        made = NULL;
    }
    return rc;
}

int dstack_key_derive(const dstack_secret *ikm, const dstack_bytes *context, size_t context_count,
                      size_t len, dstack_secret **out, dstack_error *err) {
    return keys_hkdf(ikm, "RATLS", context, context_count, len, out, err);
}

/* A derived P-256 key. Unlike elsewhere, bytes that are no scalar are an error and not retried: the
 * reference system has no retry either, and the case has odds of 2^-32. */
static int derive_private(const dstack_secret *parent, const dstack_bytes *context,
                          size_t context_count, ecdsa_private **out, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *scalar = NULL;
    int rc = dstack_key_derive(parent, context, context_count, DSTACK_KEY_SIZE, &scalar, err);
    return rc != 0 ? rc : ecdsa_private_from_scalar(out, ECDSA_P256, keys_view(scalar), err);
}

int dstack_key_derive_p256(const dstack_secret *parent, const dstack_bytes *context,
                           size_t context_count, dstack_secret **scalar, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    int rc = derive_private(parent, context, context_count, &key, err);
    if (rc != 0) {
        return rc;
    }
    *scalar = dstack_secret_copy(ecdsa_private_scalar(key).data, ecdsa_private_scalar(key).len);
    return *scalar != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no guarded memory for a key");
}

/* SHA-256 of the PKCS#8 encoding, whose layout ecdsa_private_pkcs8 writes by itself, byte for
 * byte; a size other than 138 would mean that it changed. */
int dstack_key_derive_dh(const dstack_secret *parent, const dstack_bytes *context,
                         size_t context_count, dstack_secret **secret, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *encoded = NULL;
    DSTACK_AUTO(secret) dstack_secret *made = dstack_secret_new(HASH_SHA256_SIZE);
    if (made == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no guarded memory for a derived key");
    }
    int rc = derive_private(parent, context, context_count, &key, err);
    if (rc == 0) {
        rc = ecdsa_private_pkcs8(key, &encoded, err);
    }
    if (rc == 0 && dstack_secret_len(encoded) != 138) {
        rc = error_set(err, DSTACK_E_INTERNAL, "PKCS#8 encoding has %zu bytes, not 138",
                       dstack_secret_len(encoded));
    }
    if (rc == 0) {
        hash_sha256(keys_view(encoded), dstack_secret_data(made));
        *secret = made;
        made = NULL;
    }
    return rc;
}

static int size_check(const dstack_secret *secret, const char *what, dstack_error *err) {
    if (dstack_secret_len(secret) != DSTACK_KEY_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s has %zu bytes, not %d", what,
                         dstack_secret_len(secret), DSTACK_KEY_SIZE);
    }
    return 0;
}

int dstack_key_x25519_public(const dstack_secret *secret, uint8_t public_key[32],
                             dstack_error *err) {
    int rc = size_check(secret, "X25519 secret", err);
    return rc != 0 ? rc : x25519_public(dstack_secret_peek(secret), public_key, err);
}

int dstack_key_k256_public(const dstack_secret *secret, uint8_t public_key[33], dstack_error *err) {
    int rc = size_check(secret, "secp256k1 secret", err);
    return rc != 0 ? rc : k256_public(dstack_secret_peek(secret), public_key, err);
}

int dstack_key_ed25519_public(const dstack_secret *secret, uint8_t public_key[32],
                              dstack_error *err) {
    int rc = size_check(secret, "Ed25519 seed", err);
    return rc != 0 ? rc : ed25519_public(dstack_secret_peek(secret), public_key, err);
}
