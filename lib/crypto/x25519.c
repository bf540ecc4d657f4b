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

int sealed_box_seal(const uint8_t recipient[X25519_SIZE], dstack_bytes message, dstack_buf *out,
                    dstack_error *err) {
    buf_reserve(out, message.len + SEALED_BOX_OVERHEAD);
    int rc = buf_check(out, err);
    if (rc != 0) {
        return rc;
    }
    if (crypto_box_seal(out->data + out->len, message.data, message.len, recipient) != 0) {
        return error_set(err, DSTACK_E_CRYPTO, "sealed box: recipient key is of small order");
    }
    out->len += message.len + SEALED_BOX_OVERHEAD;
    return 0;
}

int sealed_box_open(const uint8_t secret[X25519_SIZE], dstack_bytes box, dstack_buf *out,
                    dstack_error *err) {
    uint8_t public_key[X25519_SIZE];
    if (box.len < SEALED_BOX_OVERHEAD) {
        return error_set(err, DSTACK_E_CRYPTO, "sealed box of %zu bytes: want at least %d", box.len,
                         SEALED_BOX_OVERHEAD);
    }
    buf_reserve(out, box.len);
    int rc = buf_check(out, err);
    if (rc == 0) {
        rc = x25519_public(secret, public_key, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (crypto_box_seal_open(out->data + out->len, box.data, box.len, public_key, secret) != 0) {
        return error_set(err, DSTACK_E_CRYPTO, "sealed box does not open with this key");
    }
    out->len += box.len - SEALED_BOX_OVERHEAD;
    return 0;
}
