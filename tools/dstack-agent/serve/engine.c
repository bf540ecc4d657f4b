#include "serve/engine.h"

#include <stdio.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "client/http_client.h"

#define ANSWER_MAX ((size_t)4 << 20)
#define TIMEOUT_MS 5000

int engine_containers(const char *socket, json_t **out, dstack_error *err) {
    char url[160];
    snprintf(url, sizeof url, "unix:%s", socket);
    const http_client_config config = {
        .url = url, .total_timeout_ms = TIMEOUT_MS, .body_limit = ANSWER_MAX};
    dstack_error why = {0};
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &why);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    const http_client_request request = {.method = "GET",
                                         .path = "/v1.41/containers/json?all=true"};
    if (client == NULL || http_client_send_ok(client, &request, &response, &why) != 0) {
        return error_set(err, why.status, "Failed to connect to Docker: %s", why.message);
    }
    *out = json_parse(bytes_of_buf(&response.body), ANSWER_MAX, "the engine's answer", NULL);
    return json_is_array(*out)
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "Failed to list containers: no list came");
}
