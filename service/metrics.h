/* Counters and gauges, printed in Prometheus text form. Thread-safe; series live until the registry
 * is freed. */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

#include "service/http.h"

typedef struct metrics metrics;
typedef struct metrics_series metrics_series;
typedef enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE } metrics_kind;

metrics *metrics_new(void);
void metrics_free(metrics *registry);
/* The series of that name and label text (`method="GetMeta"`, or "" for none), made at first use.
 * Label values must be of a bounded set. */
metrics_series *metrics_get(metrics *registry, metrics_kind kind, const char *name,
                            const char *labels, const char *help);
void metrics_add(metrics_series *series, int64_t delta);
void metrics_set(metrics_series *series, int64_t value);
int64_t metrics_value(const metrics_series *series);
void metrics_print(metrics *registry, dstack_buf *out);
/* http_handler; user is the registry. */
void metrics_handle(http_request *request, http_response *response, void *user);

#endif
