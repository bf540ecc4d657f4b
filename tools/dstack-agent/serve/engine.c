#include "serve/engine.h"

#include <stdio.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "client/http_client.h"

#define ANSWER_MAX ((size_t)4 << 20)
#define TIMEOUT_MS 5000

/* The answer to a GET, as JSON of whatever kind; NULL when it is none. */
static int engine_get(const char *socket, const char *path, json_t **out, dstack_error *err) {
    char url[160];
    snprintf(url, sizeof url, "unix:%s", socket);
    const http_client_config config = {
        .url = url, .total_timeout_ms = TIMEOUT_MS, .body_limit = ANSWER_MAX};
    dstack_error why = {0};
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &why);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    const http_client_request request = {.method = "GET", .path = path};
    if (client == NULL || http_client_send_ok(client, &request, &response, &why) != 0) {
        return error_set(err, why.status, "Failed to connect to Docker: %s", why.message);
    }
    *out = json_parse(bytes_of_buf(&response.body), ANSWER_MAX, "the engine's answer", NULL);
    return 0;
}

int engine_containers(const char *socket, json_t **out, dstack_error *err) {
    int rc = engine_get(socket, "/v1.41/containers/json?all=true", out, err);
    return rc != 0 || json_is_array(*out)
               ? rc
               : error_set(err, DSTACK_E_FORMAT, "Failed to list containers: no list came");
}

int engine_container(const char *socket, const char *id, json_t **out, dstack_error *err) {
    char path[128];
    snprintf(path, sizeof path, "/v1.41/containers/%.64s/json", id);
    int rc = engine_get(socket, path, out, err);
    return rc != 0 || json_is_object(*out)
               ? rc
               : error_set(err, DSTACK_E_FORMAT, "Failed to inspect a container: no object came");
}
