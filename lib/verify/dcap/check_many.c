/* Many quotes at once: a pool of threads as long as the call, each taking the next few quotes. */
#include <dstack/verifier.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/error.h"

/* Quotes taken at a time: some 0.3 ms of work, so that threads seldom meet. */
#define STRIDE 4
/* Fewer for one thread are not worth starting it. */
#define MIN_PER_THREAD 8

typedef struct batch {
    dstack_verifier *verifier;
    dstack_quote_check *checks;
    size_t count;
    int64_t now;
    atomic_size_t next;
} batch;

static void check_one(const batch *b, dstack_quote_check *c) {
    c->result = c->collateral == NULL
                    ? dstack_verifier_check(b->verifier, c->quote, c->expectations, b->now,
                                            c->report, &c->error)
                    : dstack_verifier_check_with(b->verifier, c->quote, c->collateral,
                                                 c->expectations, b->now, c->report, &c->error);
    if (c->result == 0) {
        c->error = (dstack_error){0}; /* paths that were tried and left have said something */
    }
}

static void *work(void *arg) {
    batch *b = arg;
    for (;;) {
        size_t from = atomic_fetch_add_explicit(&b->next, STRIDE, memory_order_relaxed);
        if (from >= b->count) {
            return NULL;
        }
        size_t to = b->count - from < STRIDE ? b->count : from + STRIDE;
        for (size_t i = from; i < to; i++) {
            check_one(b, &b->checks[i]);
        }
    }
}

static unsigned cores(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count;
}

static unsigned thread_count(unsigned asked, size_t quotes) {
    unsigned count = asked == 0 ? cores() : asked;
    size_t useful = (quotes + MIN_PER_THREAD - 1) / MIN_PER_THREAD;
    if (count > DSTACK_CHECK_MANY_MAX_THREADS) {
        count = DSTACK_CHECK_MANY_MAX_THREADS;
    }
    return useful < count ? (unsigned)useful : count;
}

int dstack_verifier_check_many(dstack_verifier *verifier, dstack_quote_check *checks, size_t count,
                               int64_t now, unsigned threads, dstack_error *err) {
    batch b = {.verifier = verifier, .checks = checks, .count = count, .now = now};
    pthread_t helpers[DSTACK_CHECK_MANY_MAX_THREADS];
    unsigned wanted = thread_count(threads, count), started = 0;
    /* this thread is one of them; where the system gives no more, fewer do the work */
    while (started + 1 < wanted && pthread_create(&helpers[started], NULL, work, &b) == 0) {
        started++;
    }
    (void)work(&b);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(helpers[i], NULL);
    }
    for (size_t i = 0; i < count; i++) {
        if (checks[i].result != 0) {
            return error_set(err, (dstack_status)checks[i].result, "quote %zu: %s", i,
                             checks[i].error.message);
        }
    }
    return 0;
}
