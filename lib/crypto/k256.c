#include "crypto/k256.h"

#include <string.h>
#include <pthread.h>

#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <sodium.h>

#include "base/error.h"
#include "crypto/random.h"

/* One context per process, made at first use and constant from then on: making it costs as much as
 * a signature. It is blinded against side channels by fresh randomness at creation. */
static pthread_once_t context_once = PTHREAD_ONCE_INIT;
static secp256k1_context *context_shared;

static void context_make(void) {
    uint8_t seed[32];
    secp256k1_context *made =
        secp256k1_context_create(SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
    random_fill(seed, sizeof seed);
    if (made != NULL && secp256k1_context_randomize(made, seed) == 1) {
        context_shared = made;
    } else if (made != NULL) {
        secp256k1_context_destroy(made);
    }
    sodium_memzero(seed, sizeof seed);
}

static const secp256k1_context *context_get(dstack_error *err) {
    pthread_once(&context_once, context_make);
    if (context_shared == NULL) {
        error_set(err, DSTACK_E_MEMORY, "cannot make a secp256k1 context");
    }
    return context_shared;
}

bool k256_secret_valid(const uint8_t secret[K256_SECRET_SIZE]) {
    const secp256k1_context *ctx = context_get(NULL);
    return ctx != NULL && secp256k1_ec_seckey_verify(ctx, secret) == 1;
}

static int public_make(const uint8_t *secret, uint8_t *out, size_t size, unsigned flags,
                       dstack_error *err) {
    secp256k1_pubkey point;
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    if (secp256k1_ec_pubkey_create(ctx, &point, secret) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "secp256k1 secret is zero or not below n");
    }
    secp256k1_ec_pubkey_serialize(ctx, out, &size, &point, flags);
    return 0;
}

int k256_public(const uint8_t secret[K256_SECRET_SIZE], uint8_t compressed[K256_COMPRESSED_SIZE],
                dstack_error *err) {
    return public_make(secret, compressed, K256_COMPRESSED_SIZE, SECP256K1_EC_COMPRESSED, err);
}

int k256_public_uncompressed(const uint8_t secret[K256_SECRET_SIZE],
                             uint8_t uncompressed[K256_UNCOMPRESSED_SIZE], dstack_error *err) {
    return public_make(secret, uncompressed, K256_UNCOMPRESSED_SIZE, SECP256K1_EC_UNCOMPRESSED,
                       err);
}

static int point_load(const secp256k1_context *ctx, dstack_bytes public_key,
                      secp256k1_pubkey *point, dstack_error *err) {
    bool compressed = public_key.len == K256_COMPRESSED_SIZE &&
                      (public_key.data[0] == 2 || public_key.data[0] == 3);
    bool uncompressed = public_key.len == K256_UNCOMPRESSED_SIZE && public_key.data[0] == 4;
    if (!compressed && !uncompressed) {
        return error_set(
            err, DSTACK_E_FORMAT,
            "secp256k1 public key: want 33 bytes 02/03 or 65 bytes 04, found %zu bytes",
            public_key.len);
    }
    if (secp256k1_ec_pubkey_parse(ctx, point, public_key.data, public_key.len) != 1) {
        return error_set(err, DSTACK_E_FORMAT, "secp256k1 public key is not on the curve");
    }
    return 0;
}

static int point_convert(dstack_bytes public_key, uint8_t *out, size_t size, unsigned flags,
                         dstack_error *err) {
    secp256k1_pubkey point;
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    int rc = point_load(ctx, public_key, &point, err);
    if (rc == 0) {
        secp256k1_ec_pubkey_serialize(ctx, out, &size, &point, flags);
    }
    return rc;
}

int k256_compress(dstack_bytes public_key, uint8_t compressed[K256_COMPRESSED_SIZE],
                  dstack_error *err) {
    return point_convert(public_key, compressed, K256_COMPRESSED_SIZE, SECP256K1_EC_COMPRESSED,
                         err);
}

int k256_uncompress(dstack_bytes public_key, uint8_t uncompressed[K256_UNCOMPRESSED_SIZE],
                    dstack_error *err) {
    return point_convert(public_key, uncompressed, K256_UNCOMPRESSED_SIZE,
                         SECP256K1_EC_UNCOMPRESSED, err);
}

int k256_sign(const uint8_t secret[K256_SECRET_SIZE], const uint8_t digest[32],
              uint8_t signature[K256_COMPACT_SIZE], dstack_error *err) {
    secp256k1_ecdsa_signature made;
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    if (secp256k1_ecdsa_sign(ctx, &made, digest, secret, NULL, NULL) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "secp256k1 secret is zero or not below n");
    }
    secp256k1_ecdsa_signature_serialize_compact(ctx, signature, &made);
    return 0;
}

int k256_sign_recoverable(const uint8_t secret[K256_SECRET_SIZE], const uint8_t digest[32],
                          uint8_t signature[K256_RECOVERABLE_SIZE], dstack_error *err) {
    secp256k1_ecdsa_recoverable_signature made;
    int recovery_id = 0;
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    if (secp256k1_ecdsa_sign_recoverable(ctx, &made, digest, secret, NULL, NULL) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "secp256k1 secret is zero or not below n");
    }
    secp256k1_ecdsa_recoverable_signature_serialize_compact(ctx, signature, &recovery_id, &made);
    signature[64] = (uint8_t)recovery_id;
    return 0;
}

int k256_verify(dstack_bytes public_key, const uint8_t digest[32], dstack_bytes signature,
                dstack_error *err) {
    secp256k1_pubkey point;
    secp256k1_ecdsa_signature parsed;
    static const uint8_t zero[32];
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    int rc = point_load(ctx, public_key, &point, err);
    if (rc != 0) {
        return rc;
    }
    if (signature.len != K256_COMPACT_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "secp256k1 signature: want 64 bytes, found %zu",
                         signature.len);
    }
    /* The library accepts zero here and refuses it only when verifying. */
    if (secp256k1_ecdsa_signature_parse_compact(ctx, &parsed, signature.data) != 1 ||
        memcmp(signature.data, zero, 32) == 0 || memcmp(signature.data + 32, zero, 32) == 0) {
        return error_set(err, DSTACK_E_FORMAT, "secp256k1 signature: r or s is outside [1, n-1]");
    }
    if (secp256k1_ecdsa_verify(ctx, &parsed, digest, &point) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "secp256k1 signature does not verify");
    }
    return 0;
}

int k256_recover(const uint8_t digest[32], dstack_bytes signature,
                 uint8_t compressed[K256_COMPRESSED_SIZE], dstack_error *err) {
    secp256k1_ecdsa_recoverable_signature parsed;
    secp256k1_ecdsa_signature plain;
    secp256k1_pubkey point;
    size_t size = K256_COMPRESSED_SIZE;
    const secp256k1_context *ctx = context_get(err);
    if (ctx == NULL) {
        return DSTACK_E_MEMORY;
    }
    if (signature.len != K256_RECOVERABLE_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "recoverable signature: want 65 bytes, found %zu",
                         signature.len);
    }
    if (signature.data[64] > 3) {
        return error_set(err, DSTACK_E_FORMAT, "recovery id %u is outside 0..3",
                         signature.data[64]);
    }
    if (secp256k1_ecdsa_recoverable_signature_parse_compact(ctx, &parsed, signature.data,
                                                            signature.data[64]) != 1) {
        return error_set(err, DSTACK_E_FORMAT, "recoverable signature: r or s is not below n");
    }
    secp256k1_ecdsa_recoverable_signature_convert(ctx, &plain, &parsed);
    if (secp256k1_ecdsa_signature_normalize(ctx, NULL, &plain) == 1) {
        return error_set(err, DSTACK_E_CRYPTO, "recoverable signature is high-S");
    }
    if (secp256k1_ecdsa_recover(ctx, &point, &parsed, digest) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "no key can have made this signature");
    }
    secp256k1_ec_pubkey_serialize(ctx, compressed, &size, &point, SECP256K1_EC_COMPRESSED);
    return 0;
}
