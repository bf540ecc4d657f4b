#include "kds_server.h"

#include "check.h"

#include "base/auto.h"

#define OVERSIZE ((size_t)2 << 20)

static void answer(kds_server *s, http_response *response, dstack_bytes body) {
    kds_fault fault = atomic_load(&s->fault);
    atomic_fetch_add(&s->requests, 1);
    if (fault == KDS_SLOW) {
        usleep((useconds_t)s->delay_ms * 1000);
    }
    if (fault == KDS_BUSY || fault == KDS_LIMITED || atomic_fetch_sub(&s->busy_left, 1) > 0) {
        http_response_text(response, fault == KDS_LIMITED ? 429 : 503, "Come back later.");
        return;
    }
    if (fault == KDS_GARBAGE) {
        http_response_text(response, 200, "<html>Please sign in to this network.</html>");
        return;
    }
    if (body.len == 0) {
        http_response_text(response, 404, "There is none.");
        return;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_bytes(&text, body);
    while (fault == KDS_OVERSIZE && text.len < OVERSIZE) {
        buf_put_u8(&text, '\n');
    }
    dstack_bytes sent = bytes_of_buf(&text);
    sent.len = fault == KDS_TRUNCATED ? sent.len / 2 : fault == KDS_EMPTY ? 0 : sent.len;
    http_response_bytes(response, 200, "application/octet-stream", sent);
}

static void serve_leaf(http_request *request, http_response *response, void *user) {
    kds_server *s = user;
    const char *query = http_request_query(request);
    atomic_fetch_add(&s->leaves, 1);
    snprintf(s->last, sizeof s->last, "%s?%s", http_request_path(request),
             query == NULL ? "" : query);
    answer(s, response, atomic_load(&s->fault) == KDS_UNKNOWN ? (dstack_bytes){0} : s->vcek);
}

static void serve_chain(http_request *request, http_response *response, void *user) {
    kds_server *s = user;
    atomic_fetch_add(&s->chains, 1);
    answer(s, response, s->chain);
}

static void serve_crl(http_request *request, http_response *response, void *user) {
    kds_server *s = user;
    atomic_fetch_add(&s->lists, 1);
    answer(s, response, atomic_load(&s->fault) == KDS_NO_LIST ? (dstack_bytes){0} : s->crl);
}

static const http_route routes[] = {
    {"GET", "/*/v1/*/cert_chain", serve_chain, NULL, 0, 0},
    {"GET", "/*/v1/*/crl", serve_crl, NULL, 0, 0},
    {"GET", "/vcek/v1/*/*", serve_leaf, NULL, 0, 0},
};

void kds_server_start(kds_server *s) {
    dstack_error err = {0};
    s->server = http_server_new(&(http_server_config){.name = "kds", .workers = 2});
    assert_non_null(s->server);
    const http_listener_config listener = {.name = "kds",
                                           .address = "127.0.0.1:0",
                                           .routes = routes,
                                           .route_count = sizeof routes / sizeof *routes,
                                           .user = s};
    assert_ok(http_server_listen(s->server, &listener, &err), err);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/vcek/v1",
             http_server_port(s->server, "kds"));
}

void kds_server_stop(kds_server *s) {
    http_server_free(s->server);
    s->server = NULL;
}
