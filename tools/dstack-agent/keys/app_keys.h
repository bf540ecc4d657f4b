/* The app's keys as the boot got them: kept in `.appkeys.json` (0600) for the agent. */
#ifndef AGENT_KEYS_APP_KEYS_H
#define AGENT_KEYS_APP_KEYS_H

#include <dstack/attestation.h>
#include <dstack/bytes.h>

#include "base/auto.h"
#include "base/buf.h"

#define APP_KEYS_MAX ((size_t)256 << 10)

typedef struct app_keys {
    dstack_secret *disk_crypt_key; /* 32 bytes */
    dstack_secret *env_crypt_key;  /* 32 bytes, or NULL */
    dstack_secret *k256_key;       /* 32 bytes */
    dstack_buf k256_signature;     /* 65 bytes, or empty without a KMS */
    char *gateway_app_id;          /* hex, "any" or "" */
    char *ca_cert;                 /* PEM: root CA of the KMS, or the app's own CA */
    dstack_key_provider provider;
    dstack_secret *provider_key; /* PEM: the CA's key; NULL with a KMS */
    char *provider_url;          /* KMS: URL ending in /prpc */
    char *temp_ca_cert;          /* KMS: PEM */
    dstack_buf provider_id;      /* KMS: SPKI of its root CA; local: mr */
} app_keys;

void app_keys_clear(app_keys *keys);
int app_keys_parse(dstack_bytes json, app_keys *out, dstack_error *err);
/* Appends the JSON; the caller wipes it. */
int app_keys_write(const app_keys *keys, dstack_buf *out, dstack_error *err);
int app_keys_load(const char *path, app_keys *out, dstack_error *err);
int app_keys_save(const app_keys *keys, const char *path, dstack_error *err);
/* Name in the key-provider event: "none", "local-sgx", "kms", "tpm". */
const char *app_keys_provider_name(dstack_key_provider provider);

DSTACK_AUTO_DEFINE_CLEAR(app_keys, app_keys, app_keys_clear)

/* A buffer that held secrets: wiped at scope exit. */
DSTACK_AUTO_DEFINE_CLEAR(wiped, dstack_buf, buf_wipe)

#endif
