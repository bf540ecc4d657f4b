#include "serve/key_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"

DSTACK_AUTO_DEFINE_CLEAR(app_key, dstack_app_key, dstack_app_key_clear)

typedef struct kept_key {
    uint8_t id[32];     /* digest of the question */
    dstack_app_key key; /* no secret: the slot is free */
    uint64_t used;      /* the cache's clock at the last use */
} kept_key;

struct key_cache {
    pthread_mutex_t lock;
    uint64_t clock;
    kept_key kept[KEY_CACHE_SIZE];
};

key_cache *key_cache_new(void) {
    key_cache *cache = calloc(1, sizeof *cache);
    if (cache != NULL) {
        pthread_mutex_init(&cache->lock, NULL);
    }
    return cache;
}

void key_cache_free(key_cache *cache) {
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < KEY_CACHE_SIZE; i++) {
        dstack_app_key_clear(&cache->kept[i].key);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* With their lengths, so that no two questions have one digest. */
static int question_digest(const key_question *question, uint8_t id[32], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_u8(&text, (uint8_t)question->version);
    buf_put_u8(&text, (uint8_t)question->algorithm);
    buf_put_u64le(&text, question->name.len);
    buf_put_bytes(&text, question->name);
    buf_put_bytes(&text, question->purpose);
    int rc = buf_check(&text, err);
    if (rc == 0) {
        hash_sha256(bytes_of_buf(&text), id);
    }
    return rc;
}

static int key_copy(const dstack_app_key *key, dstack_app_key *out, dstack_error *err) {
    *out = *key;
    out->secret = dstack_secret_copy(dstack_secret_peek(key->secret), DSTACK_KEY_SIZE);
    return out->secret != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no guarded memory for a key");
}

/* Under the lock: the slot of a question, or NULL. */
static kept_key *slot_find(key_cache *cache, const uint8_t id[32]) {
    for (size_t i = 0; i < KEY_CACHE_SIZE; i++) {
        kept_key *slot = &cache->kept[i];
        if (slot->key.secret != NULL && memcmp(slot->id, id, sizeof slot->id) == 0) {
            slot->used = ++cache->clock;
            return slot;
        }
    }
    return NULL;
}

/* Takes the key over, in the place of the one that was not asked for longest. */
static void key_keep(key_cache *cache, const uint8_t id[32], dstack_app_key *key) {
    pthread_mutex_lock(&cache->lock);
    if (slot_find(cache, id) == NULL) {
        kept_key *oldest = &cache->kept[0];
        for (size_t i = 1; i < KEY_CACHE_SIZE; i++) {
            oldest = cache->kept[i].used < oldest->used ? &cache->kept[i] : oldest;
        }
        dstack_app_key_clear(&oldest->key);
        memcpy(oldest->id, id, sizeof oldest->id);
        oldest->key = *key;
        oldest->used = ++cache->clock;
        *key = (dstack_app_key){0};
    }
    pthread_mutex_unlock(&cache->lock);
}

int key_cache_get(key_cache *cache, const dstack_secret *root, const key_question *question,
                  dstack_app_key *out, dstack_error *err) {
    uint8_t id[32];
    DSTACK_AUTO(app_key) dstack_app_key made = {0};
    int rc = question_digest(question, id, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&cache->lock);
    const kept_key *kept = slot_find(cache, id);
    rc = kept != NULL ? key_copy(&kept->key, out, err) : 0;
    pthread_mutex_unlock(&cache->lock);
    if (kept != NULL) {
        return rc;
    }
    rc = question->version == 0
             ? dstack_app_key_derive(root, question->name, question->purpose, question->algorithm,
                                     &made, err)
             : dstack_app_key_derive_v1(root, question->name, question->algorithm, &made, err);
    if (rc == 0) {
        rc = key_copy(&made, out, err);
    }
    if (rc == 0) {
        key_keep(cache, id, &made);
    }
    return rc;
}
