/* The encrypted environment: X25519 with a fresh key, AES-256-GCM under the raw shared secret. */
#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include <dstack/keys.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/aes_gcm.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "manifest/env.h"

int env_seal(dstack_bytes plaintext, dstack_bytes recipient, const uint8_t ephemeral[32],
             const uint8_t nonce[ENV_NONCE_SIZE], dstack_buf *blob, dstack_error *err) {
    if (recipient.len != X25519_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "invalid public key length: %zu, 32 are due",
                         recipient.len);
    }
    if (plaintext.len + ENV_OVERHEAD > DSTACK_ENV_BLOB_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the encrypted environment exceeds %zu bytes",
                         DSTACK_ENV_BLOB_MAX);
    }
    uint8_t public_key[X25519_SIZE], shared[X25519_SIZE];
    int rc = x25519_public(ephemeral, public_key, err);
    if (rc == 0) {
        rc = x25519_shared(ephemeral, recipient.data, shared, err);
    }
    if (rc == 0) {
        buf_put(blob, public_key, sizeof public_key);
        buf_put(blob, nonce, ENV_NONCE_SIZE);
        rc = aes_gcm_seal(bytes_of(shared, sizeof shared), bytes_of(nonce, ENV_NONCE_SIZE),
                          (dstack_bytes){0}, plaintext, blob, err);
    }
    sodium_memzero(shared, sizeof shared);
    return rc;
}

int dstack_env_encrypt_raw(dstack_bytes plaintext, dstack_bytes recipient, dstack_buf *blob,
                           dstack_error *err) {
    uint8_t ephemeral[X25519_SIZE], nonce[ENV_NONCE_SIZE];
    random_fill(ephemeral, sizeof ephemeral);
    random_fill(nonce, sizeof nonce);
    int rc = env_seal(plaintext, recipient, ephemeral, nonce, blob, err);
    sodium_memzero(ephemeral, sizeof ephemeral);
    return rc;
}

int env_open(dstack_bytes blob, const dstack_secret *key, dstack_secret **out, dstack_error *err) {
    *out = NULL;
    if (blob.len > DSTACK_ENV_BLOB_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the encrypted environment exceeds %zu bytes",
                         DSTACK_ENV_BLOB_MAX);
    }
    if (dstack_secret_len(key) != X25519_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "the environment key must be 32 bytes");
    }
    cursor c = cursor_init(blob);
    dstack_bytes peer = cursor_take(&c, X25519_SIZE), nonce = cursor_take(&c, ENV_NONCE_SIZE);
    dstack_bytes sealed = cursor_rest(&c);
    if (!cursor_ok(&c) || sealed.len < AES_GCM_TAG_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "the encrypted environment is cut short");
    }
    uint8_t shared[X25519_SIZE];
    dstack_buf plaintext = {0};
    buf_reserve(&plaintext, sealed.len);
    int rc = x25519_shared(dstack_secret_peek(key), peer.data, shared, err);
    if (rc == 0) {
        rc = aes_gcm_open(bytes_of(shared, sizeof shared), nonce, (dstack_bytes){0}, sealed,
                          &plaintext, err);
    }
    if (rc == 0 && plaintext.len > 0) {
        *out = dstack_secret_copy(plaintext.data, plaintext.len);
        rc = *out == NULL ? error_set(err, DSTACK_E_MEMORY, "no memory for the environment") : 0;
    }
    sodium_memzero(shared, sizeof shared);
    buf_wipe(&plaintext);
    return error_prefix(err, rc, "cannot open the encrypted environment");
}

static bool is_allowed(const char *key, const char *const *allowed, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key, allowed[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The parsed document held values in ordinary memory. */
static void wipe_values(json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *value = json_object_get(json_array_get(list, i), "value");
        if (json_is_string(value)) {
            sodium_memzero((char *)json_string_value(value), json_string_length(value));
        }
    }
}

static int add_variables(const json_t *list, const char *const *allowed, size_t allowed_count,
                         dstack_env *env, size_t *skipped, dstack_error *err) {
    if (json_array_size(list) > DSTACK_ENV_ENTRIES_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d environment variables",
                         DSTACK_ENV_ENTRIES_MAX);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *key = NULL, *value = NULL;
        rc = json_is_object(item) ? json_need_str(item, "key", &key, err)
                                  : error_set(err, DSTACK_E_FORMAT, "must be an object");
        if (rc == 0) {
            rc = json_need_str(item, "value", &value, err);
        }
        if (rc == 0 && !is_allowed(key, allowed, allowed_count)) {
            ++*skipped;
        } else if (rc == 0) {
            rc = dstack_env_set(env, key, value, err);
        }
        rc = error_prefix(err, rc, "environment variable %zu", i);
    }
    return rc;
}

int env_parse_document(dstack_bytes text, const char *const *allowed, size_t allowed_count,
                       dstack_env **out, size_t *skipped, dstack_error *err) {
    DSTACK_AUTO(env) dstack_env *env = dstack_env_new();
    if (env == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an environment");
    }
    DSTACK_AUTO(json)
    json_t *document = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *list = json_object_get(document, "env");
    int rc = 0;
    if (!json_is_array(list)) {
        /* no word of the parser's: it could quote a secret */
        rc = error_set(err, DSTACK_E_FORMAT,
                       "the environment must be JSON of the form {\"env\":[...]}");
    } else {
        rc = add_variables(list, allowed, allowed_count, env, skipped, err);
    }
    wipe_values(list);
    if (rc == 0) {
        *out = env;
        env = NULL;
    }
    return rc;
}

int dstack_env_decrypt(dstack_bytes blob, const dstack_secret *key, const char *const *allowed,
                       size_t allowed_count, dstack_env **out, size_t *skipped, dstack_error *err) {
    size_t left_out = 0;
    *out = NULL;
    if (skipped != NULL) {
        *skipped = 0;
    }
    if (blob.len == 0) {
        *out = dstack_env_new();
        return *out == NULL ? error_set(err, DSTACK_E_MEMORY, "no memory for an environment") : 0;
    }
    DSTACK_AUTO(secret) dstack_secret *plaintext = NULL;
    int rc = env_open(blob, key, &plaintext, err);
    if (rc == 0) {
        dstack_bytes text = {0};
        if (plaintext != NULL) {
            text = bytes_of(dstack_secret_peek(plaintext), dstack_secret_len(plaintext));
        } else {
            text = bytes_of_str("");
        }
        rc = env_parse_document(text, allowed, allowed_count, out, &left_out, err);
    }
    if (skipped != NULL) {
        *skipped = left_out;
    }
    return rc;
}

/* Recovery ids 27 to 30 are Ethereum's spelling of 0 to 3. */
static int normalize(dstack_bytes signature, uint8_t out[65], dstack_error *err) {
    if (signature.len != 65) {
        return error_set(err, DSTACK_E_FORMAT, "the signature must be 65 bytes, not %zu",
                         signature.len);
    }
    memcpy(out, signature.data, 65);
    if (out[64] >= 27 && out[64] <= 30) {
        out[64] = (uint8_t)(out[64] - 27);
    }
    return 0;
}

static int check_inputs(dstack_bytes public_key, dstack_bytes app_id, dstack_error *err) {
    if (public_key.len != X25519_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "the public key must be 32 bytes, not %zu",
                         public_key.len);
    }
    if (app_id.len != 20) {
        return error_set(err, DSTACK_E_FORMAT, "app_id must be 20 bytes, not %zu", app_id.len);
    }
    return 0;
}

int dstack_env_key_signer(dstack_bytes public_key, dstack_bytes signature, dstack_bytes app_id,
                          uint64_t timestamp, int64_t now, uint8_t signer[33], dstack_error *err) {
    uint8_t normal[65];
    int rc = check_inputs(public_key, app_id, err);
    if (rc == 0) {
        rc = normalize(signature, normal, err);
    }
    if (rc == 0 && (now < 0 || timestamp > (uint64_t)now + DSTACK_ENV_KEY_MAX_SKEW)) {
        rc = error_set(err, DSTACK_E_REFUSED, "the key's signature is from the future");
    }
    if (rc == 0 && (uint64_t)now > timestamp &&
        (uint64_t)now - timestamp > DSTACK_ENV_KEY_MAX_AGE) {
        rc = error_set(err, DSTACK_E_REFUSED, "the key's signature is older than %d s",
                       DSTACK_ENV_KEY_MAX_AGE);
    }
    return rc == 0 ? dstack_key_env_signer(app_id, timestamp, public_key,
                                           bytes_of(normal, sizeof normal), signer, err)
                   : rc;
}

int dstack_env_key_signer_legacy(dstack_bytes public_key, dstack_bytes signature,
                                 dstack_bytes app_id, uint8_t signer[33], dstack_error *err) {
    uint8_t normal[65];
    int rc = check_inputs(public_key, app_id, err);
    if (rc == 0) {
        rc = normalize(signature, normal, err);
    }
    return rc == 0 ? dstack_key_env_signer_legacy(app_id, public_key,
                                                  bytes_of(normal, sizeof normal), signer, err)
                   : rc;
}
