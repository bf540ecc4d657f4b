#include "host/host_api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/json.h"
#include "service/link.h"
#include "service/log.h"

#define NOTIFY_TIMEOUT_MS 5000
/* The host drops longer ones. */
#define PAYLOAD_MAX 4096

struct host_api {
    service_link *link;
};

/* A port can be open once at a time. */
static int port_open(const char *port, int wait_ms) {
    int64_t until = clock_monotonic_ms() + wait_ms;
    for (;;) {
        int fd = open(port, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0 || (errno != EBUSY && errno != ENOENT) || clock_monotonic_ms() >= until) {
            return fd;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000L}, NULL);
    }
}

host_api *host_api_open(const char *port, int wait_ms) {
    int fd = port_open(port, wait_ms);
    if (fd < 0) {
        LOG_WARN("no channel to the host: notifications are dropped", "port", port);
        return NULL;
    }
    host_api *api = calloc(1, sizeof *api);
    dstack_error err = {0};
    if (api != NULL) {
        const service_link_config config = {.side = SERVICE_LINK_GUEST, .name = "host"};
        api->link = service_link_new(fd, &config, &err);
    }
    if (api == NULL || api->link == NULL) {
        LOG_WARN("no channel to the host", "error", err.message);
        free(api);
        return NULL;
    }
    return api;
}

void host_api_free(host_api *api) {
    if (api != NULL) {
        service_link_free(api->link);
        free(api);
    }
}

void host_api_notify(host_api *api, const char *event, const char *payload) {
    if (api == NULL) {
        return;
    }
    DSTACK_AUTO(json) json_t *body = json_object();
    json_object_set_new(body, "event", json_string(event));
    size_t len = strnlen(payload, PAYLOAD_MAX - 1);
    json_t *text = json_stringn(payload, len);
    json_object_set_new(body, "payload", text != NULL ? text : json_string(""));
    DSTACK_AUTO(buf) dstack_buf json = {0};
    dstack_error err = {0};
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int rc = json_write(body, false, &json, &err);
    const http_client_request request = {
        .method = "POST",
        .path = "/api/Notify?json",
        .content_type = "application/json",
        .body = bytes_of_buf(&json),
    };
    if (rc == 0) {
        rc = service_link_send(api->link, &request, NOTIFY_TIMEOUT_MS, &answer, &err);
    }
    if (rc != 0) {
        LOG_WARN("the host was not told", "event", event, "error", err.message);
    }
}
