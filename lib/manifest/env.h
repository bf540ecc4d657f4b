/* What the files about the encrypted environment share. */
#ifndef MANIFEST_ENV_H
#define MANIFEST_ENV_H

#include <dstack/envelope.h>

#include "base/auto.h"
#include "base/cursor.h"

typedef struct env_entry {
    char *key;
    char *value; /* wiped before it is freed */
} env_entry;

/* Sorted by key, each key once. */
struct dstack_env {
    env_entry *entries;
    size_t count;
    size_t cap;
    size_t total; /* bytes of keys and values */
};

DSTACK_AUTO_DEFINE(env, dstack_env, dstack_env_free)

#define ENV_NONCE_SIZE 12
#define ENV_OVERHEAD (32 + ENV_NONCE_SIZE + 16)

/* The blob for a given ephemeral secret and nonce, each used once. */
int env_seal(dstack_bytes plaintext, dstack_bytes recipient, const uint8_t ephemeral[32],
             const uint8_t nonce[ENV_NONCE_SIZE], dstack_buf *blob, dstack_error *err);
/* Opens a blob into a guarded buffer. *out is NULL for an empty plaintext. */
int env_open(dstack_bytes blob, const dstack_secret *key, dstack_secret **out, dstack_error *err);
/* Variables of a plaintext document, filtered. */
int env_parse_document(dstack_bytes json, const char *const *allowed, size_t allowed_count,
                       dstack_env **out, size_t *skipped, dstack_error *err);

#endif
