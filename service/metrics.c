#include "service/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

struct metrics_series {
    metrics_series *next;
    metrics_kind kind;
    char *name;
    char *labels;
    char *help;
    atomic_llong value;
};

struct metrics {
    pthread_mutex_t lock;
    metrics_series *first;
    metrics_series **last;
};

metrics *metrics_new(void) {
    metrics *registry = calloc(1, sizeof *registry);
    if (registry != NULL) {
        pthread_mutex_init(&registry->lock, NULL);
        registry->last = &registry->first;
    }
    return registry;
}

static void free_series(metrics_series *series) {
    free(series->name);
    free(series->labels);
    free(series->help);
    free(series);
}

void metrics_free(metrics *registry) {
    if (registry == NULL) {
        return;
    }
    while (registry->first != NULL) {
        metrics_series *next = registry->first->next;
        free_series(registry->first);
        registry->first = next;
    }
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

static metrics_series *new_series(metrics_kind kind, const char *name, const char *labels,
                                  const char *help) {
    metrics_series *series = calloc(1, sizeof *series);
    if (series == NULL) {
        return NULL;
    }
    series->kind = kind;
    series->name = strdup(name);
    series->labels = strdup(labels);
    series->help = strdup(help);
    if (series->name == NULL || series->labels == NULL || series->help == NULL) {
        free_series(series);
        return NULL;
    }
    return series;
}

metrics_series *metrics_get(metrics *registry, metrics_kind kind, const char *name,
                            const char *labels, const char *help) {
    pthread_mutex_lock(&registry->lock);
    metrics_series *series = registry->first;
    while (series != NULL &&
           (strcmp(series->name, name) != 0 || strcmp(series->labels, labels) != 0)) {
        series = series->next;
    }
    if (series == NULL && (series = new_series(kind, name, labels, help)) != NULL) {
        *registry->last = series;
        registry->last = &series->next;
    }
    pthread_mutex_unlock(&registry->lock);
    return series;
}

void metrics_add(metrics_series *series, int64_t delta) {
    if (series != NULL) {
        atomic_fetch_add(&series->value, delta);
    }
}

void metrics_set(metrics_series *series, int64_t value) {
    if (series != NULL) {
        atomic_store(&series->value, value);
    }
}

int64_t metrics_value(const metrics_series *series) {
    return series != NULL ? atomic_load(&series->value) : 0;
}

/* All series of a name stand together below one head (Prometheus text format 0.0.4). */
static void print_family(const metrics *registry, const metrics_series *head, dstack_buf *out) {
    buf_put_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", head->name, head->help, head->name,
                head->kind == METRICS_COUNTER ? "counter" : "gauge");
    for (const metrics_series *s = registry->first; s != NULL; s = s->next) {
        if (strcmp(s->name, head->name) == 0) {
            bool labelled = s->labels[0] != 0;
            buf_put_fmt(out, "%s%s%s%s %lld\n", s->name, labelled ? "{" : "", s->labels,
                        labelled ? "}" : "", (long long)atomic_load(&s->value));
        }
    }
}

void metrics_print(metrics *registry, dstack_buf *out) {
    pthread_mutex_lock(&registry->lock);
    for (const metrics_series *s = registry->first; s != NULL; s = s->next) {
        const metrics_series *earlier = registry->first;
        while (strcmp(earlier->name, s->name) != 0) {
            earlier = earlier->next;
        }
        if (earlier == s) {
            print_family(registry, s, out);
        }
    }
    pthread_mutex_unlock(&registry->lock);
}

void metrics_handle(http_request *request, http_response *response, void *user) {
    (void)request;
    dstack_buf text = {0};
    metrics_print(user, &text);
    http_response_buf(response, 200, "text/plain; version=0.0.4", &text, false);
}
