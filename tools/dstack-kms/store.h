/* The key store: root keys that are made once and never overwritten, and what is derived from them
 * and may be made again.
 *
 *     root-ca.key    0600  P-256, PEM          root-ca.crt  self-signed
 *     tmp-ca.key     0600  P-256, PEM          tmp-ca.crt   self-signed
 *     rpc.key        0600  P-256, PEM          rpc.crt      server certificate, issued at each
 * start root-k256.key  0600  32 raw bytes rpc-domain           host name bootstrap-info.json  after
 * the Bootstrap call insecure-dev         present when the keys were made with --insecure-dev
 */
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

/* Whether both root keys are there. DSTACK_E_STATE when only one is: then nothing may be made. */
int kms_store_exists(const char *dir, bool *exists, dstack_error *err);
/* Non-empty ASCII host name or IPv4 text of at most 253 bytes. */
int kms_store_check_domain(const char *domain, dstack_error *err);
/* Whether keys could be made there: the name is valid and nothing is in the way. */
int kms_store_check_new(const char *dir, const char *domain, dstack_error *err);
/* Makes root keys and writes them. DSTACK_E_EXISTS "KMS has already been bootstrapped" when there
 * is any: nothing is overwritten. */
int kms_store_create(const char *dir, const char *domain, bool insecure, dstack_error *err);
/* Loads; temporary CA key and RPC key are made anew where missing. `domain` overrides the stored
 * one when not empty. DSTACK_E_INSECURE when the store was made in the other mode. */
int kms_store_load(kms_store *store, const char *dir, const char *domain, bool insecure,
                   dstack_error *err);
void kms_store_clear(kms_store *store);
DSTACK_AUTO_DEFINE_CLEAR(kms_store, kms_store, kms_store_clear)

/* Reads or writes a file of the store. */
int kms_store_read(const kms_store *store, const char *name, dstack_buf *out, dstack_error *err);
int kms_store_write(const kms_store *store, const char *name, dstack_bytes content, mode_t mode,
                    dstack_error *err);

#endif
