#include "service/image_answers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/measure.h>

#include "base/cursor.h"
#include "crypto/hash.h"

#define ANSWERS 256

typedef struct answer {
    uint8_t name[32];
    uint8_t hash[32];
    dstack_anchor anchor;
    bool used;
} answer;

struct image_answers {
    pthread_mutex_t lock;
    size_t next;
    answer all[ANSWERS];
};

image_answers *image_answers_new(void) {
    image_answers *a = calloc(1, sizeof *a);
    if (a != NULL) {
        pthread_mutex_init(&a->lock, NULL);
    }
    return a;
}

void image_answers_free(image_answers *a) {
    if (a != NULL) {
        pthread_mutex_destroy(&a->lock);
        free(a);
    }
}

/* ---- names ---- */

static void put(hash_ctx *ctx, dstack_bytes part) {
    uint64_t len = part.len;
    hash_update(ctx, bytes_of((const uint8_t *)&len, sizeof len));
    hash_update(ctx, part);
}

/* The events of the firmware's register are all that an image check reads of a log. */
static void put_log(hash_ctx *ctx, const dstack_event_log *log) {
    dstack_event event;
    for (size_t i = 0; log != NULL && dstack_event_log_get(log, i, &event); i++) {
        if (event.imr == 0) {
            put(ctx, bytes_of((const uint8_t *)&event.type, sizeof event.type));
            put(ctx, event.digest);
            put(ctx, event.payload);
        }
    }
}

bool image_answers_name(const dstack_image_question *question, uint8_t name[32]) {
    if (question->variant != DSTACK_TEE_TDX || question->vm_config == NULL ||
        question->mrtd == NULL) {
        return false;
    }
    hash_ctx ctx;
    hash_init(&ctx, HASH_SHA256);
    put(&ctx, bytes_of(question->mrtd, DSTACK_MEASURE_SIZE));
    for (size_t i = 0; i < 3; i++) {
        put(&ctx, bytes_of(question->rtmr[i], DSTACK_MEASURE_SIZE));
    }
    put(&ctx, bytes_of_str(question->vm_config));
    put_log(&ctx, question->event_log);
    hash_final(&ctx, name);
    return true;
}

/* ---- answers ---- */

bool image_answers_find(image_answers *a, const uint8_t name[32], dstack_anchor *anchor,
                        uint8_t hash[32]) {
    bool found = false;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; !found && i < ANSWERS; i++) {
        const answer *at = &a->all[i];
        found = at->used && memcmp(at->name, name, sizeof at->name) == 0;
        if (found) {
            *anchor = at->anchor;
            memcpy(hash, at->hash, sizeof at->hash);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}

void image_answers_keep(image_answers *a, const uint8_t name[32], dstack_anchor anchor,
                        const uint8_t hash[32]) {
    pthread_mutex_lock(&a->lock);
    answer *at = &a->all[a->next++ % ANSWERS];
    *at = (answer){.anchor = anchor, .used = true};
    memcpy(at->name, name, sizeof at->name);
    memcpy(at->hash, hash, sizeof at->hash);
    pthread_mutex_unlock(&a->lock);
}
