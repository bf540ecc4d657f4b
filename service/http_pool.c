/* The threads that run handlers. */
#include <stdlib.h>
#include <time.h>

#include "service/http_internal.h"

#define WORKERS_MAX 64
#define STACK_SIZE ((size_t)1 << 20)

struct http_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle;
    http_request *first;
    http_request **last;
    unsigned busy;
    bool stop;
    void (*run)(http_request *request);
    unsigned count;
    pthread_t threads[WORKERS_MAX];
};

static void *work(void *user) {
    http_pool *pool = user;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->first == NULL && !pool->stop) {
            pthread_cond_wait(&pool->work, &pool->lock);
        }
        if (pool->first == NULL) {
            break;
        }
        http_request *request = pool->first;
        pool->first = request->next;
        if (pool->first == NULL) {
            pool->last = &pool->first;
        }
        pool->busy++;
        pthread_mutex_unlock(&pool->lock);
        pool->run(request);
        pthread_mutex_lock(&pool->lock);
        pool->busy--;
        if (pool->busy == 0 && pool->first == NULL) {
            pthread_cond_broadcast(&pool->idle);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

http_pool *http_pool_new(unsigned workers, void (*run)(http_request *request)) {
    http_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->run = run;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    unsigned wanted = workers == 0 ? 4 : workers < WORKERS_MAX ? workers : WORKERS_MAX;
    while (pool->count < wanted &&
           pthread_create(&pool->threads[pool->count], &attr, work, pool) == 0) {
        pool->count++;
    }
    pthread_attr_destroy(&attr);
    if (pool->count == 0) {
        http_pool_free(pool);
        return NULL;
    }
    return pool;
}

void http_pool_add(http_pool *pool, http_request *request) {
    request->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->last = request;
    pool->last = &request->next;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

bool http_pool_wait_idle(http_pool *pool, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&pool->lock);
    int rc = 0;
    while (rc == 0 && (pool->busy > 0 || pool->first != NULL)) {
        rc = pthread_cond_timedwait(&pool->idle, &pool->lock, &until);
    }
    bool idle = pool->busy == 0 && pool->first == NULL;
    pthread_mutex_unlock(&pool->lock);
    return idle;
}

void http_pool_free(http_pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    free(pool);
}
