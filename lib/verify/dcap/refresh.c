#include <dstack/refresh.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "crypto/random.h"

#define DEFAULT_AHEAD 86400
#define DEFAULT_INTERVAL 3600
#define DEFAULT_RETRY 300
/* Keeps sums of times within their type. */
#define MAX_SECONDS ((int64_t)1 << 32)

struct dstack_refresher {
    dstack_verifier *verifier;
    dstack_refresher_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool stop;
};

/* False when something that ends could not be renewed. */
static bool look(const dstack_refresher *r) {
    const dstack_refresher_options *o = &r->options;
    dstack_error err = {0};
    size_t renewed = 0;
    int64_t now = o->now != NULL ? o->now(o->user) : clock_unix();
    int rc = dstack_verifier_refresh(r->verifier, now, o->ahead_seconds, o->refetch, o->user,
                                     &renewed, &err);
    if (rc != 0 && o->failed != NULL) {
        o->failed(o->user, &err);
    }
    if (o->looked != NULL) {
        o->looked(o->user, renewed);
    }
    return rc == 0;
}

/* A random tenth less, so that machines started together do not ask together. */
static struct timespec next_look(int64_t seconds) {
    uint32_t noise;
    random_fill(&noise, sizeof noise);
    int64_t ms = seconds * 1000;
    ms -= ms / 10 * (noise % 1000) / 1000;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* True when it is time for the next look, false when the thread shall end. */
static bool wait_for_next(dstack_refresher *r, int64_t seconds) {
    struct timespec at = next_look(seconds);
    pthread_mutex_lock(&r->lock);
    int rc = 0;
    while (!r->stop && rc == 0) {
        rc = pthread_cond_timedwait(&r->ended, &r->lock, &at);
    }
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return !stop;
}

static void *refresher_main(void *arg) {
    dstack_refresher *r = arg;
    int64_t pause = 0;
    do {
        pause = look(r) ? r->options.interval_seconds : r->options.retry_seconds;
    } while (wait_for_next(r, pause));
    return NULL;
}

static void refresher_free(dstack_refresher *r) {
    pthread_cond_destroy(&r->ended);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void defaults(dstack_refresher_options *o) {
    o->ahead_seconds = o->ahead_seconds == 0 ? DEFAULT_AHEAD : o->ahead_seconds;
    o->interval_seconds = o->interval_seconds == 0 ? DEFAULT_INTERVAL : o->interval_seconds;
    if (o->retry_seconds == 0) {
        o->retry_seconds =
            o->interval_seconds < DEFAULT_RETRY ? o->interval_seconds : DEFAULT_RETRY;
    }
}

static bool out_of_range(int64_t seconds) {
    return seconds < 0 || seconds > MAX_SECONDS;
}

int dstack_refresher_start(dstack_refresher **out, dstack_verifier *verifier,
                           const dstack_refresher_options *options, dstack_error *err) {
    if (options->refetch == NULL || out_of_range(options->ahead_seconds) ||
        out_of_range(options->interval_seconds) || out_of_range(options->retry_seconds)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a refresher needs a way to fetch, and times that are not negative");
    }
    dstack_refresher *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a refresher");
    }
    r->verifier = verifier;
    r->options = *options;
    defaults(&r->options);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&r->lock, NULL);
    if (pthread_create(&r->thread, NULL, refresher_main, r) != 0) {
        refresher_free(r);
        return error_set(err, DSTACK_E_MEMORY, "the system gives no thread for a refresher");
    }
    *out = r;
    return 0;
}

void dstack_refresher_stop(dstack_refresher *r) {
    if (r != NULL) {
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_signal(&r->ended);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
        refresher_free(r);
    }
}
