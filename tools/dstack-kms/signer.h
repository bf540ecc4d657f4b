/* The process that holds the root keys, and the way to it. It reads one fixed-size message at a time
 * from a socket pair and parses nothing else; the process that parses the network has no root keys.
 * Shared among threads. */
#ifndef KMS_SIGNER_H
#define KMS_SIGNER_H

#include <dstack/keys.h>

#include "base/auto.h"

typedef struct kms_signer kms_signer;

/* Starts the process and has it load and check the keys of a store. */
int kms_signer_start(kms_signer **out, const char *dir, bool insecure, dstack_error *err);
/* Ends the process. Accepts NULL. */
void kms_signer_stop(kms_signer *signer);

/* SubjectPublicKeyInfo of the root CA, and the root k256 key. Borrowed. */
dstack_bytes kms_signer_root(const kms_signer *signer);
const uint8_t *kms_signer_k256(const kms_signer *signer);

/* An app's keys, 32 bytes each, and the signature over the last. */
typedef struct kms_app_secrets {
    dstack_secret *disk, *env, *k256;
    uint8_t signature[DSTACK_SIGNATURE_SIZE];
} kms_app_secrets;
void kms_app_secrets_clear(kms_app_secrets *secrets);
DSTACK_AUTO_DEFINE_CLEAR(kms_app_secrets, kms_app_secrets, kms_app_secrets_clear)
int kms_signer_app_keys(kms_signer *signer, dstack_bytes app_id, dstack_bytes instance_id,
                        kms_app_secrets *out, dstack_error *err);

/* The key for an app's environment, and both signatures over it. */
typedef struct kms_env_key {
    uint8_t public_key[32];
    uint8_t signature[DSTACK_SIGNATURE_SIZE];
    uint8_t signature_v1[DSTACK_SIGNATURE_SIZE];
} kms_env_key;
int kms_signer_env_key(kms_signer *signer, dstack_bytes app_id, uint64_t timestamp,
                       kms_env_key *out, dstack_error *err);

/* Signs a digest of 32 bytes with the root CA's key, or, with an app id, with the app CA's. */
int kms_signer_sign(kms_signer *signer, dstack_bytes app_id, dstack_bytes digest, dstack_buf *der,
                    dstack_error *err);
/* SubjectPublicKeyInfo of the app CA. */
int kms_signer_app_ca(kms_signer *signer, dstack_bytes app_id, dstack_buf *spki, dstack_error *err);

/* The root keys themselves, for another KMS. */
int kms_signer_handover(kms_signer *signer, dstack_secret **root_pem, dstack_secret **k256,
                        dstack_error *err);

/* What the process runs: `dstack-kms --signer`, which is for kms_signer_start() alone. */
#define KMS_SIGNER_FLAG "--signer"
int kms_signer_main(void);

#endif
