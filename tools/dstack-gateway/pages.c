/* Listeners of the gateway: registrations (TLS), and the pages of gateway.<base> on a unix socket
 * that the data plane connects to. */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "gateway.h"

static void health(http_request *request, http_response *response, void *user) {
    (void)request;
    (void)user;
    http_response_text(response, 200, "OK");
}

static void index_page(http_request *request, http_response *response, void *user) {
    (void)request;
    (void)user;
    DSTACK_AUTO(json)
    json_t *doc = json_pack("{s:s,s:[s,s,s]}", "type", "dstack gateway", "paths", "/index",
                            "/app-info", "/acme-info");
    http_response_json(response, 200, doc);
}

static void acme_info_page(http_request *request, http_response *response, void *user) {
    (void)request;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    gateway_acme_info_json(user, &text);
    http_response_bytes(response, 200, "application/json", bytes_of_buf(&text));
}

static void app_info_page(http_request *request, http_response *response, void *user) {
    (void)request;
    const gateway *g = user;
    DSTACK_AUTO(json)
    json_t *doc = json_pack("{s:o,s:s,s:s,s:b}", "app_id", json_hex(workload_app_id(g->workload)),
                            "vm_config", workload_vm_config(g->workload), "app_name",
                            "dstack-gateway", "insecure_dev", daemon_insecure());
    http_response_json(response, 200, doc);
}

static void status_metrics(http_request *request, http_response *response, void *user) {
    (void)request;
    gateway *g = user;
    const proxy_stats *s = proxy_statistics(g->proxy);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "# TYPE dstack_gateway_connections_total counter\n"
                "dstack_gateway_connections_total{result=\"terminated\"} %llu\n"
                "dstack_gateway_connections_total{result=\"passed\"} %llu\n"
                "dstack_gateway_connections_total{result=\"refused\"} %llu\n"
                "dstack_gateway_connections_total{result=\"failed\"} %llu\n"
                "# TYPE dstack_gateway_bytes_total counter\n"
                "dstack_gateway_bytes_total %llu\n"
                "# TYPE dstack_gateway_connections_open gauge\n"
                "dstack_gateway_connections_open %u\n"
                "# TYPE dstack_gateway_instances gauge\n"
                "dstack_gateway_instances %zu\n",
                atomic_load(&s->terminated), atomic_load(&s->passed), atomic_load(&s->refused),
                atomic_load(&s->failed), atomic_load(&s->bytes), atomic_load(&s->open),
                registry_count(g->instances));
    http_response_bytes(response, 200, "text/plain; version=0.0.4", bytes_of_buf(&text));
}

int gateway_start_listeners(gateway *g, dstack_error *err) {
    static rpc_binding binding; /* one gateway per process; listeners keep what they are given */
    binding = (rpc_binding){.service = &gateway_service, .app = g};
    static const http_route rpc_routes[] = {
        {"*", "/prpc/*", rpc_handle, &binding, 0, 0},
        {"GET", "/health", health, NULL, 0, HTTP_ROUTE_INLINE},
    };
    static const http_route inner_routes[] = {
        {"GET", "/health", health, NULL, 0, HTTP_ROUTE_INLINE},
        {"GET", "/index", index_page, NULL, 0, 0},
        {"GET", "/acme-info", acme_info_page, NULL, 0, 0},
        {"GET", "/app-info", app_info_page, NULL, 0, 0},
        {"GET", "/.dstack/index", index_page, NULL, 0, 0},
        {"GET", "/.dstack/acme-info", acme_info_page, NULL, 0, 0},
        {"GET", "/.dstack/app-info", app_info_page, NULL, 0, 0},
        {"GET", "/metrics", status_metrics, NULL, 0, 0},
    };
    http_listener_config rpc = {
        .name = "rpc",
        .address = config_str(g->config, "rpc.address"),
        .tls = g->rpc_tls,
        .routes = rpc_routes,
        .route_count = sizeof rpc_routes / sizeof *rpc_routes,
        .user = g,
    };
    config_http_limits(g->config, "rpc.limits", &rpc.limits);
    DSTACK_AUTO(str) char *address = NULL;
    if (asprintf(&address, "unix:%s", g->inner_socket) < 0) {
        address = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const http_listener_config inner = {
        .name = "inner",
        .address = address,
        .routes = inner_routes,
        .route_count = sizeof inner_routes / sizeof *inner_routes,
        .user = g,
    };
    g->http = http_server_new(&(http_server_config){.name = "dstack-gateway", .workers = 2});
    if (g->http == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = http_server_listen(g->http, &inner, err);
    return rc != 0 ? rc : http_server_listen(g->http, &rpc, err);
}
