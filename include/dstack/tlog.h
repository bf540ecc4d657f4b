/**
 * @file tlog.h
 * @brief Transparency logs: Merkle tree hashes and proofs, signed checkpoints, entries of a KMS.
 *
 * Tree hashing and proofs follow RFC 6962 and RFC 9162; checkpoints are C2SP signed notes
 * (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) with Ed25519 keys; entries are laid out in tiles
 * (c2sp.org/tlog-tiles). Signatures by keys that are not asked about, for example of witnesses, are
 * let be. Functions here take bytes and give answers; nothing reads files or sockets.
 */
#ifndef DSTACK_TLOG_H
#define DSTACK_TLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_TLOG_HASH_SIZE 32
#define DSTACK_TLOG_PROOF_MAX 64    /**< Most hashes of a proof. */
#define DSTACK_TLOG_NAME_SIZE 128   /**< Room for a log's name with its final zero. */
#define DSTACK_TLOG_ENTRY_MAX 65535 /**< Most bytes of an entry. */

/** A hash of the tree. */
typedef struct dstack_tlog_hash {
    uint8_t bytes[DSTACK_TLOG_HASH_SIZE];
} dstack_tlog_hash;

/** Hash of an entry as a leaf: SHA-256(00 ‖ entry). */
DSTACK_API void dstack_tlog_leaf(dstack_bytes entry, dstack_tlog_hash *out);
/** Hash of an inner node: SHA-256(01 ‖ left ‖ right). `out` may be one of the two. */
DSTACK_API void dstack_tlog_node(const dstack_tlog_hash *left, const dstack_tlog_hash *right,
                                 dstack_tlog_hash *out);
/** Root over `count` leaves; of none: SHA-256 of nothing. */
DSTACK_API void dstack_tlog_root(const dstack_tlog_hash *leaves, size_t count,
                                 dstack_tlog_hash *out);

/* ---- proofs ----------------------------------------------------------------------------------- */

/** A proof: the hashes in the order of RFC 9162. */
typedef struct dstack_tlog_proof {
    dstack_tlog_hash hashes[DSTACK_TLOG_PROOF_MAX];
    size_t count;
} dstack_tlog_proof;

/** That leaf `index` is in the tree over `count` leaves. DSTACK_E_ARGUMENT when it is not. */
DSTACK_API int dstack_tlog_prove_inclusion(const dstack_tlog_hash *leaves, size_t count,
                                           size_t index, dstack_tlog_proof *out, dstack_error *err);
/** That the tree over `count` leaves begins with the one over the first `old_count`. */
DSTACK_API int dstack_tlog_prove_consistency(const dstack_tlog_hash *leaves, size_t count,
                                             size_t old_count, dstack_tlog_proof *out,
                                             dstack_error *err);
/** 0 where the proof holds, DSTACK_E_CRYPTO otherwise. */
DSTACK_API int dstack_tlog_check_inclusion(const dstack_tlog_hash *leaf, uint64_t index,
                                           uint64_t size, const dstack_tlog_hash *root,
                                           const dstack_tlog_proof *proof, dstack_error *err);
/** 0 where the newer tree begins with the older one, DSTACK_E_CRYPTO otherwise. Every tree begins
 * with the empty one. */
DSTACK_API int dstack_tlog_check_consistency(uint64_t old_size, const dstack_tlog_hash *old_root,
                                             uint64_t size, const dstack_tlog_hash *root,
                                             const dstack_tlog_proof *proof, dstack_error *err);

/* ---- checkpoints ------------------------------------------------------------------------------ */

/** A log's public key: name, and Ed25519 key. */
typedef struct dstack_tlog_key {
    char name[DSTACK_TLOG_NAME_SIZE];
    uint8_t public_key[32];
} dstack_tlog_key;

/** The state of a log that its key vouches for. */
typedef struct dstack_tlog_checkpoint {
    char origin[DSTACK_TLOG_NAME_SIZE];
    uint64_t size;
    dstack_tlog_hash root;
} dstack_tlog_checkpoint;

/** Appends the verifier key text "name+keyid+base64". The name holds neither blanks nor '+'. */
DSTACK_API int dstack_tlog_key_text(const dstack_tlog_key *key, dstack_buf *out, dstack_error *err);
/** Reads that text; the key id must be the key's. */
DSTACK_API int dstack_tlog_key_parse(dstack_bytes text, dstack_tlog_key *out, dstack_error *err);
/** Appends a signed checkpoint. `seed`: 32 bytes, the Ed25519 seed of the log called `origin`. */
DSTACK_API int dstack_tlog_checkpoint_sign(const dstack_tlog_checkpoint *checkpoint,
                                           const dstack_secret *seed, dstack_buf *out,
                                           dstack_error *err);
/** Reads a signed checkpoint and verifies the key's signature over it. DSTACK_E_FORMAT;
 * DSTACK_E_CRYPTO for a wrong signature; DSTACK_E_REFUSED when the key did not sign it, or its origin
 * is another log's. */
DSTACK_API int dstack_tlog_checkpoint_open(dstack_bytes note, const dstack_tlog_key *key,
                                           dstack_tlog_checkpoint *out, dstack_error *err);

/* ---- entries of a KMS ------------------------------------------------------------------------- */

/** What an entry tells about. */
typedef enum dstack_tlog_type {
    DSTACK_TLOG_KEY_RELEASE = 1,
    DSTACK_TLOG_CERTIFICATE = 2,
    DSTACK_TLOG_HANDOVER = 3,
    DSTACK_TLOG_SHARE = 4,
    DSTACK_TLOG_DENIAL = 5,
    DSTACK_TLOG_POLICY_CHANGE = 6,
    DSTACK_TLOG_EPOCH_CHANGE = 7,
    DSTACK_TLOG_ADMIN = 8,
    DSTACK_TLOG_WIPE = 9,
} dstack_tlog_type;

#define DSTACK_TLOG_TEXTS_MAX 16 /**< Most purposes or advisories of an entry. */

/** An entry. All is borrowed; empty where it is not known. Holds no secrets. */
typedef struct dstack_tlog_entry {
    dstack_tlog_type type;
    uint64_t time;        /**< UNIX seconds. */
    dstack_bytes node_id; /**< 32 bytes: SHA-256 of the log's public key. */
    dstack_bytes app_id, compose_hash, instance_id, device_id, os_image_hash, mr_aggregated;
    const char *tee_variant; /**< NULL: "". */
    const char *tcb_status;  /**< NULL: "". */
    dstack_bytes requester;  /**< SHA-256 of the requester's SubjectPublicKeyInfo. */
    dstack_bytes evidence;   /**< SHA-256 of its attestation. */
    bool allowed;
    const char *reason; /**< NULL: "". */
    bool has_policy_view;
    uint64_t chain_id, block_number; /**< Of the policy, where it is a contract's. */
    dstack_bytes block_hash, contract;
    uint64_t epoch;
    const char *purposes[DSTACK_TLOG_TEXTS_MAX];
    size_t purpose_count;
    const char *advisories[DSTACK_TLOG_TEXTS_MAX];
    size_t advisory_count;
} dstack_tlog_entry;

/** Appends the deterministic CBOR form. DSTACK_E_LIMIT when it is longer than an entry may be. */
DSTACK_API int dstack_tlog_entry_encode(const dstack_tlog_entry *entry, dstack_buf *out,
                                        dstack_error *err);
/** Appends a JSON object of an encoded entry; members that a later version adds are left out. */
DSTACK_API int dstack_tlog_entry_to_json(dstack_bytes encoded, dstack_buf *out, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
