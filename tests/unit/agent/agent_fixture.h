/* An agent behind its routes, without sockets: requests go in as HTTP text. */
#ifndef TESTS_UNIT_AGENT_AGENT_FIXTURE_H
#define TESTS_UNIT_AGENT_AGENT_FIXTURE_H

#include "../check.h"

#include "client/http_client.h"
#include "serve/agent.h"

typedef struct agent_fixture {
    agent *a;
    http_server *server;
} agent_fixture;

static inline void fixture_listen(agent_fixture *f, const char *name, const http_route *routes,
                                  size_t count) {
    dstack_error err = {0};
    const http_listener_config config = {
        .name = name, .address = "none", .routes = routes, .route_count = count, .user = f->a};
    assert_ok(http_server_listen(f->server, &config, &err), err);
}

static inline void fixture_serve_agent(agent_fixture *f) {
    f->server = http_server_new(&(http_server_config){.name = "agent test", .workers = 1});
    assert_non_null(f->server);
    fixture_listen(f, "internal", agent_internal_routes, agent_internal_route_count);
    fixture_listen(f, "tappd", agent_tappd_routes, agent_tappd_route_count);
    fixture_listen(f, "external", agent_external_routes, agent_external_route_count);
}

static inline void fixture_end(agent_fixture *f) {
    http_server_free(f->server);
    agent_free(f->a);
}

/* One exchange. `body` NULL: a GET. Returns the status; the answer's JSON goes to *answer (NULL when
 * it is none), owned by the caller. */
static inline int fixture_call(agent_fixture *f, const char *listener, const char *path,
                               const char *body, json_t **answer) {
    DSTACK_AUTO(buf) dstack_buf request = {0};
    DSTACK_AUTO(buf) dstack_buf response = {0};
    DSTACK_AUTO(http_client_response) http_client_response parsed = {0};
    dstack_error err = {0};
    buf_put_fmt(&request, "%s %s HTTP/1.1\r\nHost: x\r\n", body != NULL ? "POST" : "GET", path);
    if (body != NULL) {
        buf_put_fmt(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                    strlen(body));
    }
    buf_put_str(&request, "\r\n");
    buf_put_str(&request, body != NULL ? body : "");
    const bool local = strcmp(listener, "external") != 0;
    const http_peer peer = {.kind = local ? HTTP_PEER_UNIX : HTTP_PEER_TCP, .address = "test"};
    assert_ok(
        http_server_exchange(f->server, listener, bytes_of_buf(&request), &peer, &response, &err),
        err);
    assert_ok(http_client_response_parse(bytes_of_buf(&response), (size_t)16 << 20, &parsed, &err),
              err);
    if (answer != NULL) {
        *answer = json_parse(bytes_of_buf(&parsed.body), (size_t)16 << 20, "answer", NULL);
    }
    return parsed.status;
}

static inline const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static inline char *dump(const json_t *value) {
    return json_dumps(value, JSON_COMPACT);
}

#endif
