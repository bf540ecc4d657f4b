#include "crypto/x25519.h"

#include <sodium.h>

#include "base/error.h"
#include "base/buf.h"

int x25519_public(const uint8_t secret[X25519_SIZE], uint8_t public_key[X25519_SIZE],
                  dstack_error *err) {
    if (crypto_scalarmult_base(public_key, secret) != 0) {
        return error_set(err, DSTACK_E_CRYPTO, "X25519 base multiplication failed");
    }
    return 0;
}

int x25519_shared(const uint8_t secret[X25519_SIZE], const uint8_t peer[X25519_SIZE],
                  uint8_t shared[X25519_SIZE], dstack_error *err) {
    if (crypto_scalarmult(shared, secret, peer) != 0) {
        return error_set(err, DSTACK_E_CRYPTO, "X25519 peer key is of small order");
    }
    return 0;
}
