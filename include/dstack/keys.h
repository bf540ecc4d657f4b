/**
 * @file keys.h
 * @brief Key derivations and the signature chains that vouch for derived keys.
 *
 * Everything rests on HKDF-SHA-256 (RFC 5869). Derivations below the KMS and of the agent's v0 call
 * use the salt "RATLS" and an info string that is the plain concatenation of its context items; so
 * each item has a fixed length or is the last, and a wrong length is DSTACK_E_ARGUMENT. The agent's
 * v1 call uses another salt and length-prefixed items, and a v1 key never equals a v0 key.
 *
 * Signatures are ECDSA over secp256k1 of a Keccak-256 digest (original padding), 65 bytes r, s,
 * recovery id, with the deterministic nonce of RFC 6979 and in low-S form.
 */
#ifndef DSTACK_KEYS_H
#define DSTACK_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_APP_ID_SIZE 20      /**< Bytes of an app id. */
#define DSTACK_INSTANCE_ID_SIZE 20 /**< Bytes of an instance id. */
#define DSTACK_KEY_SIZE 32         /**< Bytes of every derived key. */
#define DSTACK_K256_PUBLIC_SIZE 33 /**< Bytes of a compressed secp256k1 point. */
#define DSTACK_SIGNATURE_SIZE 65   /**< Bytes of a recoverable signature. */
#define DSTACK_KEY_CONTEXT_MAX 16  /**< Most context items of one derivation. */

/* ---- primitives --------------------------------------------------------------------------- */

/**
 * HKDF-SHA-256 with salt "RATLS": `len` bytes (1 to 8160) from `ikm` and the concatenated context
 * items. The caller frees `*out`.
 */
DSTACK_API int dstack_key_derive(const dstack_secret *ikm, const dstack_bytes *context,
                                 size_t context_count, size_t len, dstack_secret **out,
                                 dstack_error *err);
/** Derives 32 bytes and takes them as a P-256 scalar; DSTACK_E_CRYPTO if they are none. */
DSTACK_API int dstack_key_derive_p256(const dstack_secret *parent, const dstack_bytes *context,
                                      size_t context_count, dstack_secret **scalar,
                                      dstack_error *err);
/**
 * 32 secret bytes by way of a derived P-256 key: SHA-256 of that key's PKCS#8 encoding, whose 138
 * bytes (version 0, named curve, scalar, public point, no attributes) are pinned here and do not
 * depend on any library's taste.
 */
DSTACK_API int dstack_key_derive_dh(const dstack_secret *parent, const dstack_bytes *context,
                                    size_t context_count, dstack_secret **secret,
                                    dstack_error *err);
/** X25519 public key of 32 secret bytes (clamped inside). */
DSTACK_API int dstack_key_x25519_public(const dstack_secret *secret, uint8_t public_key[32],
                                        dstack_error *err);
/** Compressed public key of a secp256k1 scalar. */
DSTACK_API int dstack_key_k256_public(const dstack_secret *secret, uint8_t public_key[33],
                                      dstack_error *err);
/** Public key of an Ed25519 seed (RFC 8032). */
DSTACK_API int dstack_key_ed25519_public(const dstack_secret *secret, uint8_t public_key[32],
                                         dstack_error *err);

/* ---- keys that the KMS derives ------------------------------------------------------------- */

/** P-256 scalar of the app's CA. `root` is the root CA's scalar; `app_id` has 20 bytes. */
DSTACK_API int dstack_key_app_ca(const dstack_secret *root, dstack_bytes app_id,
                                 dstack_secret **scalar, dstack_error *err);
/** Disk key. `instance_id` has 20 bytes, or none: then all instances of the app share the key. */
DSTACK_API int dstack_key_app_disk(const dstack_secret *root, dstack_bytes app_id,
                                   dstack_bytes instance_id, dstack_secret **key,
                                   dstack_error *err);
/** X25519 secret that the app's encrypted environment is for (not clamped). */
DSTACK_API int dstack_key_app_env(const dstack_secret *root, dstack_bytes app_id,
                                  dstack_secret **key, dstack_error *err);
/** The app's secp256k1 key. `root` is the root k256 scalar. */
DSTACK_API int dstack_key_app_k256(const dstack_secret *root, dstack_bytes app_id,
                                   dstack_secret **key, dstack_error *err);

/** The keys of an app that runs without a KMS, all from one seed (32 bytes or more). */
typedef struct dstack_seed_keys {
    dstack_secret *app_root; /**< P-256 scalar of the app's own root CA. */
    dstack_secret *disk;     /**< Disk key. */
    dstack_secret *k256;     /**< secp256k1 scalar. */
} dstack_seed_keys;

DSTACK_API int dstack_seed_keys_derive(const dstack_secret *seed, dstack_seed_keys *out,
                                       dstack_error *err);
/** Wipes and frees the three keys. */
DSTACK_API void dstack_seed_keys_clear(dstack_seed_keys *keys);

/* ---- what the KMS signs -------------------------------------------------------------------- */

/** "This is the k256 key of that app": `app_public` has 33 bytes. */
DSTACK_API int dstack_key_sign_app(const dstack_secret *root, dstack_bytes app_id,
                                   dstack_bytes app_public, uint8_t signature[65],
                                   dstack_error *err);
/** "This is the environment key of that app", at `timestamp` (UNIX seconds). */
DSTACK_API int dstack_key_sign_env(const dstack_secret *root, dstack_bytes app_id,
                                   uint64_t timestamp, dstack_bytes public_key,
                                   uint8_t signature[65], dstack_error *err);
/** The older form without a timestamp. */
DSTACK_API int dstack_key_sign_env_legacy(const dstack_secret *root, dstack_bytes app_id,
                                          dstack_bytes public_key, uint8_t signature[65],
                                          dstack_error *err);
/** The signer (33 bytes) of a `dstack_key_sign_app` signature. The caller compares it. */
DSTACK_API int dstack_key_app_signer(dstack_bytes app_id, dstack_bytes app_public,
                                     dstack_bytes signature, uint8_t signer[33], dstack_error *err);
/** The signers of the two environment key signatures. Freshness is the caller's business. */
DSTACK_API int dstack_key_env_signer(dstack_bytes app_id, uint64_t timestamp,
                                     dstack_bytes public_key, dstack_bytes signature,
                                     uint8_t signer[33], dstack_error *err);
DSTACK_API int dstack_key_env_signer_legacy(dstack_bytes app_id, dstack_bytes public_key,
                                            dstack_bytes signature, uint8_t signer[33],
                                            dstack_error *err);

/* ---- keys that an app derives in its guest -------------------------------------------------- */

typedef enum dstack_key_algorithm {
    DSTACK_KEY_SECP256K1 = 0,
    DSTACK_KEY_ED25519 = 1,
} dstack_key_algorithm;

/** "secp256k1" or "ed25519". */
DSTACK_API const char *dstack_key_algorithm_name(dstack_key_algorithm algorithm);

/** A derived key, its public half, and the app key's signature over it. */
typedef struct dstack_app_key {
    dstack_secret *secret; /**< 32 bytes: scalar or Ed25519 seed. */
    uint8_t public_key[33];
    size_t public_key_len; /**< 33 for secp256k1, 32 for Ed25519. */
    uint8_t link[65];      /**< Signature of the app's k256 key. */
} dstack_app_key;

DSTACK_API void dstack_app_key_clear(dstack_app_key *key);

/**
 * v0: key = HKDF(k256_key, path); link over "purpose:hex(public key)". Path and purpose are any
 * bytes. The algorithm does not change the secret bytes (kept for compatibility): use v1 where a
 * path serves both.
 */
DSTACK_API int dstack_app_key_derive(const dstack_secret *k256_key, dstack_bytes path,
                                     dstack_bytes purpose, dstack_key_algorithm algorithm,
                                     dstack_app_key *out, dstack_error *err);
/** v1: algorithm and domain are bound into key and link with their lengths. */
DSTACK_API int dstack_app_key_derive_v1(const dstack_secret *k256_key, dstack_bytes domain,
                                        dstack_key_algorithm algorithm, dstack_app_key *out,
                                        dstack_error *err);

/* ---- verifying chains ----------------------------------------------------------------------- */

/**
 * Verifies a v0 chain from a derived public key up to the KMS: `link` (65 bytes) by the app's key
 * over purpose and public key, `issued` (65 bytes) by the KMS over app id and app key. The signer of
 * `issued` must equal `kms_root` (33 bytes, from a source that is not under test).
 * `app_public` (may be NULL) receives the app's key. DSTACK_E_ARGUMENT for a wrong length,
 * DSTACK_E_FORMAT for a malformed signature, DSTACK_E_CRYPTO where the chain does not hold.
 */
DSTACK_API int dstack_key_chain_verify(dstack_bytes public_key, dstack_bytes purpose,
                                       dstack_bytes link, dstack_bytes issued, dstack_bytes app_id,
                                       dstack_bytes kms_root, uint8_t app_public[33],
                                       dstack_error *err);
/** The same for v1: the link is over algorithm, domain and public key. */
DSTACK_API int dstack_key_chain_verify_v1(dstack_bytes public_key, dstack_bytes domain,
                                          dstack_key_algorithm algorithm, dstack_bytes link,
                                          dstack_bytes issued, dstack_bytes app_id,
                                          dstack_bytes kms_root, uint8_t app_public[33],
                                          dstack_error *err);

/** How the agent's Sign call signs. */
typedef enum dstack_sign_algorithm {
    DSTACK_SIGN_SECP256K1 = 0,           /**< ECDSA over SHA-256 of the data. */
    DSTACK_SIGN_SECP256K1_PREHASHED = 1, /**< ECDSA over the data, which is a digest of 32 bytes. */
    DSTACK_SIGN_ED25519 = 2,
} dstack_sign_algorithm;

/** "secp256k1" (or "k256"), "secp256k1_prehashed", "ed25519"; DSTACK_E_ARGUMENT for others. */
DSTACK_API int dstack_sign_algorithm_parse(const char *name, dstack_sign_algorithm *out,
                                           dstack_error *err);

/**
 * Verifies an answer of Sign whole: `chain[0]` is the signature (64 bytes) of `public_key` over
 * `data`, and `chain[1]`, `chain[2]` are the links of a v0 chain with the purpose "signing", which
 * lead to `kms_root`. Ed25519 is verified strictly (no points of small order). Statuses as
 * dstack_key_chain_verify(); DSTACK_E_CRYPTO also where the signature itself does not hold.
 */
DSTACK_API int dstack_sign_chain_verify(dstack_bytes public_key, dstack_sign_algorithm algorithm,
                                        dstack_bytes data, const dstack_bytes chain[3],
                                        dstack_bytes app_id, dstack_bytes kms_root,
                                        uint8_t app_public[33], dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
