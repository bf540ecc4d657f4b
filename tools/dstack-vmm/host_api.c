#include "host_api.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "service/host_share.h"
#include "service/log.h"

#define BODY_LIMIT (64U << 10)
#define EVENT_NAME_MAX 63

int instance_info_clean(dstack_bytes payload, dstack_buf *out, dstack_error *err) {
    static const char *const keys[] = {"instance_id_seed", "instance_id", "app_id"};
    dstack_error local = {0};
    DSTACK_AUTO(json)
    json_t *given = json_parse(payload, HOST_NOTIFY_PAYLOAD_MAX, "instance.info", &local);
    DSTACK_AUTO(json) json_t *clean = json_object();
    if (given == NULL) {
        return error_set(err, local.status, "%s", local.message);
    }
    if (!json_is_object(given)) {
        return error_set(err, DSTACK_E_FORMAT, "instance.info: expected an object");
    }
    for (size_t i = 0; i < 3; i++) {
        const char *value = "";
        DSTACK_AUTO(buf) dstack_buf bytes = {0};
        int rc = json_str_or(given, keys[i], "", &value, err);
        rc = rc != 0 ? rc : hex_decode(bytes_of_str(value), &bytes, err);
        if (rc != 0) {
            return rc;
        }
        if (bytes.len != 0 && bytes.len != 20) {
            return error_set(err, DSTACK_E_FORMAT, "instance.info: %s has %zu bytes", keys[i],
                             bytes.len);
        }
        json_object_set_new(clean, keys[i], json_hex(bytes_of_buf(&bytes)));
    }
    return json_write(clean, false, out, err);
}

static int store_instance_info(struct host_api *api, const char *payload, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(str) char *path = vm_path(api->dir, VM_SHARED_DIR "/" HOST_SHARE_INSTANCE_INFO);
    int rc = path != NULL ? instance_info_clean(bytes_of_str(payload), &text, err)
                          : error_set(err, DSTACK_E_MEMORY, "no memory");
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}

int host_api_notify(struct host_api *api, const char *event, const char *payload, int64_t now_ms,
                    dstack_error *err) {
    if (strlen(payload) > HOST_NOTIFY_PAYLOAD_MAX || strlen(event) > EVENT_NAME_MAX) {
        LOG_WARN("notification dropped: too large", "event", event);
        return 0;
    }
    LOG_INFO("guest", "event", event, "payload", payload);
    pthread_mutex_lock(&api->mutex);
    int rc = strcmp(event, "instance.info") == 0 ? store_instance_info(api, payload, err) : 0;
    if (rc == 0) {
        vm_runtime_event(&api->runtime, event, payload, now_ms);
        rc = vm_runtime_write(api->dir, &api->runtime, err);
    }
    pthread_mutex_unlock(&api->mutex);
    return rc;
}

static int notify(http_request *request, struct host_api *api, dstack_error *err) {
    dstack_error local = {0};
    DSTACK_AUTO(json)
    json_t *body = json_parse(http_request_body(request), BODY_LIMIT, "notification", &local);
    const char *event = "", *payload = "";
    if (!json_is_object(body)) {
        return error_set(err, DSTACK_E_FORMAT, "%s",
                         body == NULL ? local.message : "notification: expected an object");
    }
    int rc = json_str_or(body, "event", "", &event, err);
    rc = rc != 0 ? rc : json_str_or(body, "payload", "", &payload, err);
    if (rc == 0 && strncmp(event, "vmm.", 4) == 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "events named vmm.* are the host's own");
    }
    return rc != 0 ? rc : host_api_notify(api, event, payload, clock_unix() * 1000, err);
}

static void handle_notify(http_request *request, http_response *response, void *user) {
    dstack_error err = {0};
    if (notify(request, user, &err) != 0) {
        http_response_error(response, 400, err.message);
        return;
    }
    http_response_bytes(response, 200, "application/json", bytes_of_str("null"));
}

static void handle_info(http_request *request, http_response *response, void *user) {
    struct host_api *api = user;
    DSTACK_AUTO(json)
    json_t *info = json_pack("{s:s, s:s}", "name", "dstack VMM", "version", api->version);
    http_response_json(response, 200, info);
}

static void handle_sealing_key(http_request *request, http_response *response, void *user) {
    http_response_error(response, 400, "Key provider is not enabled");
}

const http_route host_api_routes[] = {
    {"POST", "/api/Notify", handle_notify, NULL, BODY_LIMIT, 0},
    {"*", "/api/Info", handle_info, NULL, BODY_LIMIT, 0},
    {"*", "/api/GetSealingKey", handle_sealing_key, NULL, BODY_LIMIT, 0},
};
const size_t host_api_route_count = sizeof host_api_routes / sizeof host_api_routes[0];
