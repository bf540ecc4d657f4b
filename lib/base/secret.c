#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/bytes.h>

#define SECRET_MAX ((size_t)1 << 20)

/* Guarded memory costs ten system calls to get and give back, most of which stop every thread of the
 * process for a moment. Keys come and go all the time in a few sizes, so some wiped blocks of these
 * sizes are kept for the next taker. A kept block is as guarded as a fresh one: its end lies at the
 * same inaccessible page, because it is only given out again for the very same size. */
#define KEPT_MAX 16
/* Scalars and seeds, Ed25519 secret keys, P-256 keys as PEM. */
static const size_t kept_sizes[] = {32, 64, 241};
#define KEPT_SIZES (sizeof kept_sizes / sizeof *kept_sizes)
static struct {
    pthread_mutex_t lock;
    size_t count[KEPT_SIZES];
    uint8_t *blocks[KEPT_SIZES][KEPT_MAX];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t kept_index(size_t len) {
    size_t i = 0;
    while (i < KEPT_SIZES && kept_sizes[i] != len) {
        i++;
    }
    return i;
}

static uint8_t *block_get(size_t len) {
    size_t i = kept_index(len);
    uint8_t *block = NULL;
    if (i < KEPT_SIZES) {
        pthread_mutex_lock(&kept.lock);
        if (kept.count[i] > 0) {
            block = kept.blocks[i][--kept.count[i]];
        }
        pthread_mutex_unlock(&kept.lock);
    }
    return block != NULL ? block : sodium_malloc(len);
}

static void block_give_back(uint8_t *block, size_t len) {
    size_t i = kept_index(len);
    if (i < KEPT_SIZES) {
        sodium_memzero(block, len);
        pthread_mutex_lock(&kept.lock);
        if (kept.count[i] < KEPT_MAX) {
            kept.blocks[i][kept.count[i]++] = block;
            block = NULL;
        }
        pthread_mutex_unlock(&kept.lock);
    }
    if (block != NULL) {
        sodium_free(block); /* wipes, and ends the process where the block was overrun */
    }
}

struct dstack_secret {
    uint8_t *data; /* sodium_malloc */
    size_t len;
};

dstack_secret *dstack_secret_new(size_t len) {
    if (len == 0 || len > SECRET_MAX || sodium_init() < 0) {
        return NULL;
    }
    dstack_secret *secret = malloc(sizeof *secret);
    if (secret == NULL) {
        return NULL;
    }
    secret->data = block_get(len);
    if (secret->data == NULL) {
        free(secret);
        return NULL;
    }
    secret->len = len;
    sodium_memzero(secret->data, len);
    return secret;
}

dstack_secret *dstack_secret_copy(const uint8_t *data, size_t len) {
    dstack_secret *secret = dstack_secret_new(len);
    if (secret != NULL) {
        memcpy(secret->data, data, len);
    }
    return secret;
}

void dstack_secret_free(dstack_secret *secret) {
    if (secret != NULL) {
        block_give_back(secret->data, secret->len);
        free(secret);
    }
}

uint8_t *dstack_secret_data(dstack_secret *secret) {
    return secret->data;
}

const uint8_t *dstack_secret_peek(const dstack_secret *secret) {
    return secret->data;
}

size_t dstack_secret_len(const dstack_secret *secret) {
    return secret == NULL ? 0 : secret->len;
}

bool dstack_secret_equal(const dstack_secret *a, const dstack_secret *b) {
    return a != NULL && b != NULL && a->len == b->len &&
           sodium_memcmp(a->data, b->data, a->len) == 0;
}
