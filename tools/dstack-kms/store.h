/* The key store: keys that are made once and never overwritten, and certificates that are issued
 * from them and may be issued again.
 *
 *     root-ca.key          0600  P-256, PEM
 *     root-k256.key        0600  32 raw bytes
 *     tmp-ca.key, rpc.key  0600  P-256, PEM
 *     key-set                    hash that ties the four together
 *     rpc-domain                 host name
 *     bootstrap-info.json        after the Bootstrap call
 *     insecure-dev         0600  present when the keys were made with --insecure-dev
 *     root-ca.crt, tmp-ca.crt, rpc.crt
 *
 * Keys arrive all at once: they are written to the folder "pending", which is renamed to
 * "committed" when it is complete; then its files move to their places. Whatever instant a crash
 * chooses, the next start finds no keys (and drops what is pending) or all of them (and ends the
 * move). A file that is missing, or belongs to another set, is an error: nothing is made anew. */
#ifndef KMS_STORE_H
#define KMS_STORE_H

#include "base/auto.h"

#include <dstack/bytes.h>

typedef struct kms_store {
    char *dir;
    char *domain;
    dstack_secret *root_pem;   /* root-ca.key */
    dstack_secret *root;       /* its scalar, 32 bytes: what apps' keys derive from */
    dstack_secret *k256;       /* root-k256.key */
    dstack_secret *temp_pem;   /* tmp-ca.key */
    dstack_secret *rpc_pem;    /* rpc.key */
    dstack_buf bootstrap_info; /* text of bootstrap-info.json, or empty */
} kms_store;

/* Holds the store for this process: *fd is kept open as long as it is used. DSTACK_E_STATE when
 * another process has it. */
int kms_store_lock(const char *dir, int *fd, dstack_error *err);
/* Drops what a crash left unfinished, or finishes it. To be called once, before all else. */
int kms_store_recover(const char *dir, dstack_error *err);
/* Whether the keys are there. DSTACK_E_STATE when only some are: then nothing may be made. */
int kms_store_exists(const char *dir, bool *exists, dstack_error *err);
/* Non-empty ASCII host name or IPv4 text of at most 253 bytes. */
int kms_store_check_domain(const char *domain, dstack_error *err);
/* Whether keys could be put there: the name is valid and nothing is in the way. `done` ends the
 * sentence "KMS has already been ...". */
int kms_store_check_new(const char *dir, const char *domain, const char *done, dstack_error *err);

/* Keys on their way into a store. */
typedef struct kms_keys {
    dstack_secret *root_pem;
    dstack_secret *k256;
    dstack_secret *temp_pem;
    dstack_secret *rpc_pem;
} kms_keys;

/* Makes those that are NULL. */
int kms_keys_make(kms_keys *keys, dstack_error *err);
void kms_keys_clear(kms_keys *keys);
DSTACK_AUTO_DEFINE_CLEAR(kms_keys, kms_keys, kms_keys_clear)

/* Puts keys into an empty store, all or none. bootstrap_info may be empty. DSTACK_E_EXISTS when
 * there are any: nothing is overwritten. */
int kms_store_create(const char *dir, const char *domain, bool insecure, const kms_keys *keys,
                     dstack_bytes bootstrap_info, dstack_error *err);
/* What serves the network: everything but the root keys, which stay NULL. `domain` overrides the
 * stored one when not empty. DSTACK_E_INSECURE when the store was made in the other mode. */
int kms_store_load(kms_store *store, const char *dir, const char *domain, bool insecure,
                   dstack_error *err);
/* What the signer holds: the root keys and what they are checked against. DSTACK_E_STATE when the
 * files do not belong together. */
int kms_store_load_roots(kms_store *store, const char *dir, bool insecure, dstack_error *err);
void kms_store_clear(kms_store *store);
DSTACK_AUTO_DEFINE_CLEAR(kms_store, kms_store, kms_store_clear)

/* Reads or writes a file of the store. */
int kms_store_read(const kms_store *store, const char *name, dstack_buf *out, dstack_error *err);
int kms_store_write(const kms_store *store, const char *name, dstack_bytes content, mode_t mode,
                    dstack_error *err);

#endif
