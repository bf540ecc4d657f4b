#include "crypto/ed25519.h"

#include <sodium.h>

#include "base/error.h"

int ed25519_public(const uint8_t seed[ED25519_SEED_SIZE], uint8_t public_key[ED25519_PUBLIC_SIZE],
                   dstack_error *err) {
    uint8_t expanded[crypto_sign_SECRETKEYBYTES];
    int failed = crypto_sign_seed_keypair(public_key, expanded, seed);
    sodium_memzero(expanded, sizeof expanded);
    return failed == 0 ? 0 : error_set(err, DSTACK_E_CRYPTO, "Ed25519 key derivation failed");
}

int ed25519_sign(const uint8_t seed[ED25519_SEED_SIZE], dstack_bytes message,
                 uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err) {
    uint8_t public_key[ED25519_PUBLIC_SIZE];
    uint8_t expanded[crypto_sign_SECRETKEYBYTES];
    int failed = crypto_sign_seed_keypair(public_key, expanded, seed);
    if (failed == 0) {
        failed = crypto_sign_detached(signature, NULL, message.data, message.len, expanded);
    }
    sodium_memzero(expanded, sizeof expanded);
    return failed == 0 ? 0 : error_set(err, DSTACK_E_CRYPTO, "Ed25519 signing failed");
}

int ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_SIZE], dstack_bytes message,
                   const uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err) {
    if (crypto_sign_verify_detached(signature, message.data, message.len, public_key) != 0) {
        return error_set(err, DSTACK_E_CRYPTO, "Ed25519 signature does not verify");
    }
    return 0;
}
