/**
 * @file envelope.h
 * @brief The encrypted environment of an app, and the signature over the key it is encrypted to.
 *
 * Blob: ephemeral X25519 public key (32) ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16), the key
 * being the raw shared secret. The plaintext is JSON: {"env":[{"key":..., "value":...}, ...]}.
 */
#ifndef DSTACK_ENVELOPE_H
#define DSTACK_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_ENV_BLOB_MAX ((size_t)256 << 10)  /**< Largest encrypted blob. */
#define DSTACK_ENV_ENTRIES_MAX 1024              /**< Most entries before filtering. */
#define DSTACK_ENV_KEY_MAX 255                   /**< Longest key. */
#define DSTACK_ENV_VALUE_MAX ((size_t)128 << 10) /**< Longest value. */
#define DSTACK_ENV_TOTAL_MAX ((size_t)1 << 20)   /**< Keys and values together. */
/** Seconds that a signed key stays acceptable, and may lie in the future. */
#define DSTACK_ENV_KEY_MAX_AGE 300
#define DSTACK_ENV_KEY_MAX_SKEW 60

/** Environment variables, sorted by key, each once. Values are secrets and are wiped on free. */
typedef struct dstack_env dstack_env;

/** NULL when memory cannot be had. */
DSTACK_API dstack_env *dstack_env_new(void);
/** Wipes and frees. Accepts NULL. */
DSTACK_API void dstack_env_free(dstack_env *env);
DSTACK_API size_t dstack_env_count(const dstack_env *env);
/** Borrowed; NULL when `index` is out of range. */
DSTACK_API const char *dstack_env_key(const dstack_env *env, size_t index);
DSTACK_API const char *dstack_env_value(const dstack_env *env, size_t index);
/** Sets a variable; the last setting wins. Keys: [A-Za-z_][A-Za-z0-9_]*, at most 255 bytes; values
 * at most 128 KiB of UTF-8 without zero bytes. */
DSTACK_API int dstack_env_set(dstack_env *env, const char *key, const char *value,
                              dstack_error *err);
/** Reads KEY=VALUE lines (the format of --env-file): blank lines and lines that begin with '#' are
 * skipped, values are taken byte for byte up to the line's end. */
DSTACK_API int dstack_env_parse_file(dstack_bytes text, dstack_env **out, dstack_error *err);

/** Encrypts to a 32-byte X25519 public key with a fresh ephemeral key and nonce. Appends the
 * blob. */
DSTACK_API int dstack_env_encrypt(const dstack_env *env, dstack_bytes recipient, dstack_buf *blob,
                                  dstack_error *err);
/** Encrypts the plaintext as it stands: for callers that bring their own JSON. */
DSTACK_API int dstack_env_encrypt_raw(dstack_bytes plaintext, dstack_bytes recipient,
                                      dstack_buf *blob, dstack_error *err);
/**
 * Decrypts with the 32-byte X25519 secret and keeps the variables whose key is in `allowed`. An
 * empty blob gives an empty environment; a blob that does not open is DSTACK_E_CRYPTO, malformed
 * content DSTACK_E_FORMAT, an exceeded limit DSTACK_E_LIMIT. `*skipped` (may be NULL) counts the
 * variables that were left out.
 */
DSTACK_API int dstack_env_decrypt(dstack_bytes blob, const dstack_secret *key,
                                  const char *const *allowed, size_t allowed_count,
                                  dstack_env **out, size_t *skipped, dstack_error *err);

/** The file `.decrypted-env` for scripts: KEY=value lines, values quoted where a shell needs it.
 * A NULL secret stands for the empty text of an empty environment. */
DSTACK_API int dstack_env_to_script(const dstack_env *env, dstack_secret **out, dstack_error *err);
/** The file `.decrypted-env.json`, byte-exact values: what programs read. */
DSTACK_API int dstack_env_to_json(const dstack_env *env, dstack_secret **out, dstack_error *err);

/**
 * Verifies that a KMS vouches for an encryption key and gives the signer (33-byte compressed
 * secp256k1 point), which the caller compares with the key it trusts. The signature is 65 bytes;
 * recovery ids 0 to 3 and 27 to 30 are accepted. Refuses a timestamp older than 300 s or more than
 * 60 s in the future. DSTACK_E_FORMAT, DSTACK_E_CRYPTO, DSTACK_E_REFUSED (stale).
 */
DSTACK_API int dstack_env_key_signer(dstack_bytes public_key, dstack_bytes signature,
                                     dstack_bytes app_id, uint64_t timestamp, int64_t now,
                                     uint8_t signer[33], dstack_error *err);
/** The older form without a timestamp: it proves no freshness. */
DSTACK_API int dstack_env_key_signer_legacy(dstack_bytes public_key, dstack_bytes signature,
                                            dstack_bytes app_id, uint8_t signer[33],
                                            dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
