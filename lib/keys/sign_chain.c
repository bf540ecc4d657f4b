/* What the agent's Sign call answers: a signature, and the chain that vouches for its key. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/k256.h"
#include "keys/keys.h"

/* The purpose under which the agent derives the one key that it signs with. */
#define SIGN_PURPOSE "signing"

int dstack_sign_algorithm_parse(const char *name, dstack_sign_algorithm *out, dstack_error *err) {
    static const struct {
        const char *name;
        dstack_sign_algorithm algorithm;
    } names[] = {
        {"secp256k1", DSTACK_SIGN_SECP256K1},
        {"k256", DSTACK_SIGN_SECP256K1},
        {"secp256k1_prehashed", DSTACK_SIGN_SECP256K1_PREHASHED},
        {"ed25519", DSTACK_SIGN_ED25519},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].algorithm;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_ARGUMENT, "unknown signature algorithm %.64s", name);
}

static int ed25519_check(dstack_bytes public_key, dstack_bytes data, dstack_bytes signature,
                         dstack_error *err) {
    int rc = keys_length_check(public_key, ED25519_PUBLIC_SIZE, "public key", err);
    if (rc == 0) {
        rc = keys_length_check(signature, ED25519_SIGNATURE_SIZE, "signature", err);
    }
    return rc != 0 ? rc : ed25519_verify(public_key.data, data, signature.data, err);
}

static int k256_check(dstack_bytes public_key, bool prehashed, dstack_bytes data,
                      dstack_bytes signature, dstack_error *err) {
    uint8_t digest[32];
    /* The chain names the compressed form alone. */
    int rc = keys_length_check(public_key, K256_COMPRESSED_SIZE, "public key", err);
    if (rc == 0 && prehashed) {
        rc = keys_length_check(data, sizeof digest, "digest", err);
    }
    if (rc != 0) {
        return rc;
    }
    if (prehashed) {
        memcpy(digest, data.data, sizeof digest);
    } else {
        hash_sha256(data, digest);
    }
    return k256_verify(public_key, digest, signature, err);
}

int dstack_sign_chain_verify(dstack_bytes public_key, dstack_sign_algorithm algorithm,
                             dstack_bytes data, const dstack_bytes chain[3], dstack_bytes app_id,
                             dstack_bytes kms_root, uint8_t app_public[33], dstack_error *err) {
    int rc = algorithm == DSTACK_SIGN_ED25519
                 ? ed25519_check(public_key, data, chain[0], err)
                 : k256_check(public_key, algorithm == DSTACK_SIGN_SECP256K1_PREHASHED, data,
                              chain[0], err);
    if (rc != 0) {
        return error_prefix(err, rc, "signature over the data");
    }
    return dstack_key_chain_verify(public_key, bytes_of_str(SIGN_PURPOSE), chain[1], chain[2],
                                   app_id, kms_root, app_public, err);
}
