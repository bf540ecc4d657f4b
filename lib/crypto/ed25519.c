#include "crypto/ed25519.h"

#include <openssl/evp.h>
#include <sodium.h>

#include "base/auto.h"
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

bool ed25519_point_decodes(const uint8_t public_key[ED25519_PUBLIC_SIZE]) {
    static const uint8_t identity[ED25519_PUBLIC_SIZE] = {1};
    uint8_t sum[ED25519_PUBLIC_SIZE];
    return crypto_core_ed25519_add(sum, public_key, identity) == 0;
}

static inline void auto_evp_pkey(EVP_PKEY **key) {
    EVP_PKEY_free(*key);
}

static inline void auto_evp_md_ctx(EVP_MD_CTX **context) {
    EVP_MD_CTX_free(*context);
}

int ed25519_verify_lenient(const uint8_t public_key[ED25519_PUBLIC_SIZE], dstack_bytes message,
                           const uint8_t signature[ED25519_SIGNATURE_SIZE], dstack_error *err) {
    static const uint8_t nothing;
    DSTACK_AUTO(evp_pkey)
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, ED25519_PUBLIC_SIZE);
    DSTACK_AUTO(evp_md_ctx) EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (key == NULL || context == NULL ||
        EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "Ed25519 key cannot be used");
    }
    return EVP_DigestVerify(context, signature, ED25519_SIGNATURE_SIZE,
                            message.len > 0 ? message.data : &nothing, message.len) == 1
               ? 0
               : error_set(err, DSTACK_E_CRYPTO, "Ed25519 signature does not verify");
}
