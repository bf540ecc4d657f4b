#include "boot/runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"

/* Shared between the waiting and the working thread; the last one out frees it. */
typedef struct run {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    const boot_stage *stage;
    void *context;
    bool done, abandoned;
    int rc;
    dstack_error err;
} run;

static void run_free(run *r) {
    pthread_cond_destroy(&r->ended);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void *run_main(void *user) {
    run *r = user;
    dstack_error err = {0};
    int rc = r->stage->run(r->context, &err);
    pthread_mutex_lock(&r->lock);
    r->rc = rc;
    r->err = err;
    r->done = true;
    bool abandoned = r->abandoned;
    pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->lock);
    if (abandoned) {
        run_free(r);
    }
    return NULL;
}

static run *run_new(const boot_stage *stage, void *context) {
    run *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return NULL;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&r->lock, NULL);
    r->stage = stage;
    r->context = context;
    return r;
}

static int stage_run(const boot_stage *stage, void *context, dstack_error *err) {
    run *r = run_new(stage, context);
    pthread_t thread;
    if (r == NULL || pthread_create(&thread, NULL, run_main, r) != 0) {
        if (r != NULL) {
            run_free(r);
        }
        return error_set(err, DSTACK_E_MEMORY, "%s: out of memory", stage->name);
    }
    pthread_detach(thread);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += stage->deadline_ms / 1000;
    until.tv_nsec += (stage->deadline_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&r->lock);
    while (!r->done && pthread_cond_timedwait(&r->ended, &r->lock, &until) != ETIMEDOUT) {
    }
    bool done = r->done;
    r->abandoned = !done;
    int rc = r->rc;
    dstack_error stage_err = r->err;
    pthread_mutex_unlock(&r->lock);
    if (!done) {
        return error_set(err, DSTACK_E_TIMEOUT, "%s: not done within %d s", stage->name,
                         (stage->deadline_ms + 999) / 1000);
    }
    run_free(r);
    return rc == 0 ? 0 : error_set(err, rc, "%s: %s", stage->name, stage_err.message);
}

int boot_run_stages(const boot_stage *stages, size_t count, const boot_observer *observer,
                    void *context, dstack_error *err) {
    for (size_t i = 0; i < count; i++) {
        const boot_stage *stage = &stages[i];
        int64_t began = clock_monotonic_ms();
        observer->begin(context, stage);
        dstack_error stage_err = {0};
        int rc = stage_run(stage, context, &stage_err);
        if (rc != 0 && (stage->tolerate == NULL || rc == DSTACK_E_TIMEOUT)) {
            return error_set(err, rc, "%s", stage_err.message);
        }
        if (rc != 0) {
            stage->tolerate(context, &stage_err);
        }
        observer->end(context, stage, clock_monotonic_ms() - began);
    }
    return 0;
}
