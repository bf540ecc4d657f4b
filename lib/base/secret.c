#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/bytes.h>

#define SECRET_MAX ((size_t)1 << 20)

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
    secret->data = sodium_malloc(len);
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
        sodium_free(secret->data);
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
