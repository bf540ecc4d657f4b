/* Keys that were asked for lately: the same question gets the same answer, and two thirds of its cost
 * are the curve. Secrets stay in guarded memory, beside the app's root key that they come from. */
#ifndef AGENT_SERVE_KEY_CACHE_H
#define AGENT_SERVE_KEY_CACHE_H

#include <dstack/keys.h>

#define KEY_CACHE_SIZE 32

typedef struct key_cache key_cache;

/* What a key is asked for by. Version 0: path and purpose; version 1: the domain alone. */
typedef struct key_question {
    unsigned version;
    dstack_key_algorithm algorithm;
    dstack_bytes name, purpose;
} key_question;

key_cache *key_cache_new(void);
/* Wipes the keys. Accepts NULL. */
void key_cache_free(key_cache *cache);

/* The key for a question, kept or derived from `root`. The caller clears `out`, which is a copy. May
 * be called by several threads; `root` must be the same in every call. */
int key_cache_get(key_cache *cache, const dstack_secret *root, const key_question *question,
                  dstack_app_key *out, dstack_error *err);

#endif
