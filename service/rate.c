#include "service/rate.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 1024

typedef struct bucket {
    int64_t thousandths; /* tokens */
    int64_t last_ms;
    bool used;
} bucket;

struct rate_limit {
    pthread_mutex_t lock;
    unsigned per_second;
    unsigned burst;
    uint8_t key[crypto_shorthash_KEYBYTES]; /* so that nobody can aim at a slot */
    bucket buckets[SLOTS];
};

rate_limit *rate_limit_new(unsigned per_second, unsigned burst) {
    rate_limit *limit = calloc(1, sizeof *limit);
    if (limit != NULL) {
        pthread_mutex_init(&limit->lock, NULL);
        limit->per_second = per_second;
        limit->burst = burst > 0 ? burst : 1;
        randombytes_buf(limit->key, sizeof limit->key);
    }
    return limit;
}

void rate_limit_free(rate_limit *limit) {
    if (limit != NULL) {
        pthread_mutex_destroy(&limit->lock);
        free(limit);
    }
}

/* The address without its port; of IPv6 the 64 bits that name a network. */
static size_t address_key(const http_peer *peer, uint8_t out[16]) {
    char text[64];
    snprintf(text, sizeof text, "%s", peer->address);
    char *colon = strrchr(text, ':');
    if (colon != NULL) {
        *colon = 0;
    }
    size_t len = strlen(text);
    if (text[0] == '[' && len > 2) {
        text[len - 1] = 0;
        return inet_pton(AF_INET6, text + 1, out) == 1 ? 8 : 0;
    }
    return inet_pton(AF_INET, text, out) == 1 ? 4 : 0;
}

bool rate_limit_take(rate_limit *limit, const http_peer *peer, int64_t now_ms) {
    uint8_t address[16] = {0};
    uint8_t hash[crypto_shorthash_BYTES];
    uint64_t slot;
    if (limit->per_second == 0 || peer->kind != HTTP_PEER_TCP) {
        return true;
    }
    size_t len = address_key(peer, address);
    crypto_shorthash(hash, address, len, limit->key);
    memcpy(&slot, hash, sizeof slot);
    int64_t full = (int64_t)limit->burst * 1000;
    pthread_mutex_lock(&limit->lock);
    bucket *b = &limit->buckets[slot % SLOTS];
    int64_t gained = b->used ? (now_ms - b->last_ms) * limit->per_second : full;
    b->thousandths = b->thousandths + gained < full ? b->thousandths + gained : full;
    b->last_ms = now_ms;
    b->used = true;
    bool granted = b->thousandths >= 1000;
    if (granted) {
        b->thousandths -= 1000;
    }
    pthread_mutex_unlock(&limit->lock);
    return granted;
}
