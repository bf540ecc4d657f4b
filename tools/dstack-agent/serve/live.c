#include "serve/live.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/json.h"
#include "serve/engine.h"
#include "serve/guest_api.h"

struct live {
    const char *engine_socket;
    pthread_mutex_t lock;
    pthread_cond_t read;
    bool reading;
    int64_t read_ms; /* 0: never */
    live_state state;
};

live *live_new(const char *engine_socket) {
    live *l = calloc(1, sizeof *l);
    if (l != NULL) {
        l->engine_socket = engine_socket;
        pthread_mutex_init(&l->lock, NULL);
        pthread_cond_init(&l->read, NULL);
    }
    return l;
}

void live_free(live *l) {
    if (l != NULL) {
        free(l->state.containers);
        pthread_cond_destroy(&l->read);
        pthread_mutex_destroy(&l->lock);
        free(l);
    }
}

static void text_take(const json_t *value, char *out, size_t size) {
    const char *text = json_string_value(value);
    snprintf(out, size, "%s", text != NULL ? text : "");
}

void live_containers_read(const json_t *list, live_state *out) {
    out->container_total = json_array_size(list);
    size_t count =
        out->container_total < LIVE_CONTAINERS_MAX ? out->container_total : LIVE_CONTAINERS_MAX;
    out->containers = count > 0 ? calloc(count, sizeof *out->containers) : NULL;
    out->container_count = out->containers != NULL ? count : 0;
    for (size_t i = 0; i < out->container_count; i++) {
        const json_t *from = json_array_get(list, i);
        live_container *c = &out->containers[i];
        const char *name = json_string_value(json_array_get(json_object_get(from, "Names"), 0));
        name = name == NULL ? "" : *name == '/' ? name + 1 : name;
        snprintf(c->name, sizeof c->name, "%s", name);
        text_take(json_object_get(json_object_get(from, "Labels"), "com.docker.compose.service"),
                  c->service, sizeof c->service);
        text_take(json_object_get(from, "Image"), c->image, sizeof c->image);
        text_take(json_object_get(from, "State"), c->state, sizeof c->state);
        text_take(json_object_get(from, "Status"), c->status, sizeof c->status);
    }
}

double live_cpu_busy(const system_info *before, const system_info *after) {
    uint64_t total = 0, idle = 0;
    for (size_t i = 0; i < SYSTEM_CPU_MODES; i++) {
        /* The kernel lets single counters go back a little. */
        uint64_t passed = after->cpu_ticks[i] > before->cpu_ticks[i]
                              ? after->cpu_ticks[i] - before->cpu_ticks[i]
                              : 0;
        total += passed;
        idle += i == SYSTEM_CPU_IDLE || i == SYSTEM_CPU_IOWAIT ? passed : 0;
    }
    return total == 0 ? 0 : (double)(total - idle) / (double)total;
}

static void state_read(live *l, live_state *out) {
    DSTACK_AUTO(json) json_t *list = NULL;
    dstack_error err = {0};
    memset(out, 0, sizeof *out);
    system_info_read(&out->system, agent_mount_points, agent_mount_point_count);
    if (engine_containers(l->engine_socket, &list, &err) == 0) {
        live_containers_read(list, out);
    } else {
        snprintf(out->engine_error, sizeof out->engine_error, "%.199s", err.message);
    }
}

const live_state *live_take(live *l) {
    pthread_mutex_lock(&l->lock);
    while (l->read_ms == 0 && l->reading) {
        pthread_cond_wait(&l->read, &l->lock);
    }
    bool old = l->read_ms == 0 || clock_monotonic_ms() - l->read_ms >= LIVE_AGE_MS;
    if (old && !l->reading) {
        live_state fresh;
        l->reading = true;
        pthread_mutex_unlock(&l->lock);
        state_read(l, &fresh);
        pthread_mutex_lock(&l->lock);
        fresh.cpu_busy = live_cpu_busy(&l->state.system, &fresh.system);
        free(l->state.containers);
        l->state = fresh;
        l->reading = false;
        l->read_ms = clock_monotonic_ms();
        pthread_cond_broadcast(&l->read);
    }
    return &l->state;
}

void live_give(live *l) {
    pthread_mutex_unlock(&l->lock);
}
