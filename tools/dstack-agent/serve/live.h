/* What changes while the guest runs: the machine's vital signs and its containers. Read at most once a
 * second, however many ask; shared among threads. */
#ifndef AGENT_SERVE_LIVE_H
#define AGENT_SERVE_LIVE_H

#include <jansson.h>

#include "serve/system_info.h"

#define LIVE_AGE_MS 1000
#define LIVE_CONTAINERS_MAX 128

typedef struct live_container {
    char name[129];   /* the first, without its slash; whatever the engine says */
    char service[65]; /* of the compose file; "" for none */
    char image[257], state[17], status[97];
} live_container;

typedef struct live_state {
    system_info system;
    double cpu_busy;        /* share since the reading before, 0 to 1 */
    char engine_error[200]; /* "" when the engine answered */
    live_container *containers;
    size_t container_count; /* at most LIVE_CONTAINERS_MAX */
    size_t container_total; /* as the engine has them */
} live_state;

typedef struct live live;

/* `engine_socket` must outlive it. NULL when there is no memory. */
live *live_new(const char *engine_socket);
void live_free(live *l);
/* The state, at most LIVE_AGE_MS old where the engine answers in that time; to be given back at once.
 * One caller reads, the others get what there is; the first wait for it. */
const live_state *live_take(live *l);
void live_give(live *l);

/* Fills `containers` and the counts from the engine's list; pure. */
void live_containers_read(const json_t *list, live_state *out);
/* Share of time that the CPUs were busy between two readings; 0 where there was none. Pure. */
double live_cpu_busy(const system_info *before, const system_info *after);

#endif
