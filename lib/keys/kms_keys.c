/* Keys that a KMS derives for an app, those of an app without a KMS, and the signatures by which a
 * KMS vouches for them. */
#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/k256.h"
#include "keys/keys.h"

int keys_length_check(dstack_bytes item, size_t len, const char *what, dstack_error *err) {
    if (item.len != len) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s has %zu bytes, not %zu", what, item.len, len);
    }
    return 0;
}

static int app_id_check(dstack_bytes app_id, dstack_error *err) {
    return keys_length_check(app_id, DSTACK_APP_ID_SIZE, "app id", err);
}

int dstack_key_app_ca(const dstack_secret *root, dstack_bytes app_id, dstack_secret **scalar,
                      dstack_error *err) {
    const dstack_bytes context[] = {app_id, bytes_of_str("app-ca")};
    int rc = app_id_check(app_id, err);
    return rc != 0 ? rc : dstack_key_derive_p256(root, context, 2, scalar, err);
}

int dstack_key_app_disk(const dstack_secret *root, dstack_bytes app_id, dstack_bytes instance_id,
                        dstack_secret **key, dstack_error *err) {
    const dstack_bytes context[] = {app_id, instance_id, bytes_of_str("app-disk-crypt-key")};
    int rc = app_id_check(app_id, err);
    if (rc == 0 && instance_id.len > 0) {
        rc = keys_length_check(instance_id, DSTACK_INSTANCE_ID_SIZE, "instance id", err);
    }
    return rc != 0 ? rc : dstack_key_derive_dh(root, context, 3, key, err);
}

int dstack_key_app_env(const dstack_secret *root, dstack_bytes app_id, dstack_secret **key,
                       dstack_error *err) {
    const dstack_bytes context[] = {app_id, bytes_of_str("env-encrypt-key")};
    int rc = app_id_check(app_id, err);
    return rc != 0 ? rc : dstack_key_derive_dh(root, context, 2, key, err);
}

/* 32 derived bytes that must be a secp256k1 scalar. */
static int derive_k256(const dstack_secret *parent, const dstack_bytes *context, size_t count,
                       dstack_secret **key, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *made = NULL;
    int rc = dstack_key_derive(parent, context, count, DSTACK_KEY_SIZE, &made, err);
    if (rc == 0 && !k256_secret_valid(dstack_secret_peek(made))) {
        rc = error_set(err, DSTACK_E_CRYPTO, "derived secp256k1 key is not a valid scalar");
    }
    if (rc == 0) {
        *key = made;
        made = NULL;
    }
    return rc;
}

int dstack_key_app_k256(const dstack_secret *root, dstack_bytes app_id, dstack_secret **key,
                        dstack_error *err) {
    const dstack_bytes context[] = {app_id, bytes_of_str("app-key")};
    int rc = app_id_check(app_id, err);
    return rc != 0 ? rc : derive_k256(root, context, 2, key, err);
}

int dstack_seed_keys_derive(const dstack_secret *seed, dstack_seed_keys *out, dstack_error *err) {
    dstack_seed_keys made = {0};
    dstack_bytes label = bytes_of_str("app-key");
    int rc = dstack_key_derive_p256(seed, &label, 1, &made.app_root, err);
    if (rc == 0) {
        label = bytes_of_str("app-disk-key");
        rc = dstack_key_derive_dh(seed, &label, 1, &made.disk, err);
    }
    if (rc == 0) {
        label = bytes_of_str("app-k256-key");
        rc = derive_k256(seed, &label, 1, &made.k256, err);
    }
    if (rc == 0) {
        *out = made;
    } else {
        dstack_seed_keys_clear(&made);
    }
    return rc;
}

void dstack_seed_keys_clear(dstack_seed_keys *keys) {
    dstack_secret_free(keys->app_root);
    dstack_secret_free(keys->disk);
    dstack_secret_free(keys->k256);
    *keys = (dstack_seed_keys){0};
}

/* ---- signatures ----------------------------------------------------------------------------- */

int keys_sign(const dstack_secret *key, const dstack_bytes *parts, size_t count,
              uint8_t signature[65], dstack_error *err) {
    uint8_t digest[HASH_KECCAK256_SIZE];
    int rc = keys_length_check(keys_view(key), K256_SECRET_SIZE, "signing key", err);
    if (rc == 0) {
        hash_parts(HASH_KECCAK256, parts, count, digest);
        rc = k256_sign_recoverable(dstack_secret_peek(key), digest, signature, err);
    }
    return rc;
}

int keys_signer(const dstack_bytes *parts, size_t count, dstack_bytes signature, uint8_t signer[33],
                dstack_error *err) {
    uint8_t digest[HASH_KECCAK256_SIZE];
    hash_parts(HASH_KECCAK256, parts, count, digest);
    return k256_recover(digest, signature, signer, err);
}

#define ISSUED_PREFIX "dstack-kms-issued:"
#define ENV_PREFIX "dstack-env-encrypt-pubkey:"

static int issued_check(dstack_bytes app_id, dstack_bytes app_public, dstack_error *err) {
    int rc = app_id_check(app_id, err);
    return rc != 0 ? rc
                   : keys_length_check(app_public, DSTACK_K256_PUBLIC_SIZE, "app public key", err);
}

int dstack_key_sign_app(const dstack_secret *root, dstack_bytes app_id, dstack_bytes app_public,
                        uint8_t signature[65], dstack_error *err) {
    const dstack_bytes parts[] = {bytes_of_str(ISSUED_PREFIX), app_id, app_public};
    int rc = issued_check(app_id, app_public, err);
    return rc != 0 ? rc : keys_sign(root, parts, 3, signature, err);
}

int dstack_key_app_signer(dstack_bytes app_id, dstack_bytes app_public, dstack_bytes signature,
                          uint8_t signer[33], dstack_error *err) {
    const dstack_bytes parts[] = {bytes_of_str(ISSUED_PREFIX), app_id, app_public};
    int rc = issued_check(app_id, app_public, err);
    return rc != 0 ? rc : keys_signer(parts, 3, signature, signer, err);
}

static int env_check(dstack_bytes app_id, dstack_bytes public_key, dstack_error *err) {
    int rc = app_id_check(app_id, err);
    return rc != 0 ? rc : keys_length_check(public_key, 32, "environment public key", err);
}

/* The message with a timestamp; time must outlive parts. */
static void env_parts(dstack_bytes app_id, uint64_t timestamp, dstack_bytes public_key,
                      uint8_t time[8], dstack_bytes parts[4]) {
    for (size_t i = 0; i < 8; i++) {
        time[i] = (uint8_t)(timestamp >> (56 - 8 * i));
    }
    parts[0] = bytes_of_str(ENV_PREFIX);
    parts[1] = app_id;
    parts[2] = bytes_of(time, 8);
    parts[3] = public_key;
}

int dstack_key_sign_env(const dstack_secret *root, dstack_bytes app_id, uint64_t timestamp,
                        dstack_bytes public_key, uint8_t signature[65], dstack_error *err) {
    uint8_t time[8];
    dstack_bytes parts[4];
    env_parts(app_id, timestamp, public_key, time, parts);
    int rc = env_check(app_id, public_key, err);
    return rc != 0 ? rc : keys_sign(root, parts, 4, signature, err);
}

int dstack_key_env_signer(dstack_bytes app_id, uint64_t timestamp, dstack_bytes public_key,
                          dstack_bytes signature, uint8_t signer[33], dstack_error *err) {
    uint8_t time[8];
    dstack_bytes parts[4];
    env_parts(app_id, timestamp, public_key, time, parts);
    int rc = env_check(app_id, public_key, err);
    return rc != 0 ? rc : keys_signer(parts, 4, signature, signer, err);
}

int dstack_key_sign_env_legacy(const dstack_secret *root, dstack_bytes app_id,
                               dstack_bytes public_key, uint8_t signature[65], dstack_error *err) {
    const dstack_bytes parts[] = {bytes_of_str(ENV_PREFIX), app_id, public_key};
    int rc = env_check(app_id, public_key, err);
    return rc != 0 ? rc : keys_sign(root, parts, 3, signature, err);
}

int dstack_key_env_signer_legacy(dstack_bytes app_id, dstack_bytes public_key,
                                 dstack_bytes signature, uint8_t signer[33], dstack_error *err) {
    const dstack_bytes parts[] = {bytes_of_str(ENV_PREFIX), app_id, public_key};
    int rc = env_check(app_id, public_key, err);
    return rc != 0 ? rc : keys_signer(parts, 3, signature, signer, err);
}
