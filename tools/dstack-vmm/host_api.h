/* The host's side of what a guest may tell: Notify and Info, served over the VM's port. */
#ifndef VMM_HOST_API_H
#define VMM_HOST_API_H

#include <pthread.h>

#include "service/http.h"
#include "vm.h"

/* State behind the routes; `runtime` is written to the VM's folder after each event. */
struct host_api {
    const char *dir;
    const char *version; /* of the VMM, for Info */
    pthread_mutex_t mutex;
    struct vm_runtime runtime;
};

extern const http_route host_api_routes[];
extern const size_t host_api_route_count;

/* What of a guest's instance info goes to disk, appended: instance_id_seed, instance_id and app_id,
 * hex of 0 or 20 bytes each. Anything else in it is left out, anything else in them refused. */
int instance_info_clean(dstack_bytes payload, dstack_buf *out, dstack_error *err);

/* Takes one notification: known events set the VM's progress and errors, instance.info replaces the
 * VM's instance info file when it is what it should be, others are only recorded. A payload over
 * HOST_NOTIFY_PAYLOAD_MAX bytes is dropped. */
int host_api_notify(struct host_api *api, const char *event, const char *payload, int64_t now_ms,
                    dstack_error *err);

#endif
