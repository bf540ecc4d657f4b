#include "service.h"

#include <string.h>

#include "answer.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "request.h"
#include "service/log.h"

/* ---- error pages -------------------------------------------------------------------------------- */

static const char *reason_of(int status) {
    switch (status) {
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 413:
        return "Payload Too Large";
    case 422:
        return "Unprocessable Entity";
    case 502:
        return "Bad Gateway";
    case 429:
        return "Too Many Requests";
    default:
        return "Internal Server Error";
    }
}

/* The first of the two types in the header counts: nobody sends both with weights. */
static bool wants_json(const http_request *request) {
    const char *accept = http_request_header(request, "Accept");
    const char *json = accept == NULL ? NULL : strstr(accept, "application/json");
    const char *html = accept == NULL ? NULL : strstr(accept, "text/html");
    return json != NULL && (html == NULL || json < html);
}

static void json_page(http_response *response, int status, const char *description) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(json)
    json_t *page = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", status, "reason",
                             reason_of(status), "description", description);
    char *dump = json_dumps(page, JSON_INDENT(2));
    buf_put_str(&text, dump != NULL ? dump : "{}");
    free(dump);
    http_response_bytes(response, status, "application/json", bytes_of_buf(&text));
}

void service_error(http_request *request, http_response *response, int status,
                   const char *description) {
    if (wants_json(request)) {
        json_page(response, status, description);
        return;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%d %s"
                "</title></head><body><h1>%d: %s</h1><p>",
                status, reason_of(status), status, reason_of(status));
    for (const char *at = description; *at != '\0'; at++) {
        if (*at == '<' || *at == '&') {
            buf_put_str(&text, *at == '<' ? "&lt;" : "&amp;");
        } else {
            buf_put_u8(&text, (uint8_t)*at);
        }
    }
    buf_put_str(&text, "</p></body></html>\n");
    http_response_bytes(response, status, "text/html; charset=utf-8", bytes_of_buf(&text));
}

/* ---- handlers ------------------------------------------------------------------------------------ */

static void health(http_request *request, http_response *response, void *user) {
    const verifier_service *s = user;
    (void)request;
    DSTACK_AUTO(json)
    json_t *body = json_pack("{s:s, s:s}", "status", "ok", "service", "dstack-verifier");
    if (s->insecure) {
        json_object_set_new(body, "insecure_dev", json_true());
    }
    http_response_json(response, 200, body);
}

static void not_found(http_request *request, http_response *response, void *user) {
    (void)user;
    service_error(request, response, 404, "The requested resource could not be found.");
}

bool service_admit(verifier_service *s, http_request *request, http_response *response) {
    if (!rate_limit_take(s->rate, http_request_peer(request), clock_monotonic_ms())) {
        metrics_add(s->limited, 1);
        http_response_header(response, "Retry-After", "1");
        service_error(request, response, 429, "Too many requests from this address.");
        return false;
    }
    if (http_request_oversize(request)) {
        metrics_add(s->malformed, 1);
        service_error(request, response, 413, "The request is larger than the server takes.");
        return false;
    }
    return true;
}

static bool read_request(verifier_service *s, http_request *request, http_response *response,
                         verify_request *out) {
    dstack_error err = {0};
    int rc = request_parse(http_request_body(request), out, &err);
    if (rc != 0) {
        metrics_add(s->malformed, 1);
        service_error(request, response, rc == DSTACK_E_ARGUMENT ? 422 : 400, err.message);
    }
    return rc == 0;
}

bool service_judge(verifier_service *s, http_request *request, http_response *response,
                   verify_request *body, verdict *out) {
    if (!service_admit(s, request, response) || !read_request(s, request, response, body)) {
        return false;
    }
    engine_judge(s->engine, body, clock_unix(), out);
    metrics_add(out->valid ? s->valid : s->invalid, 1);
    LOG_INFO("judged", "valid", out->valid ? "yes" : "no", "reason", out->reason, "request",
             http_request_id(request));
    return true;
}

static void verify(http_request *request, http_response *response, void *user) {
    verifier_service *s = user;
    DSTACK_AUTO(request) verify_request body = {0};
    DSTACK_AUTO(verdict) verdict v = {0};
    if (service_judge(s, request, response, &body, &v)) {
        DSTACK_AUTO(json) json_t *answer = answer_json(&v, s->insecure);
        http_response_json(response, 200, answer);
    }
}

/* ---- start and end ------------------------------------------------------------------------------- */

static int open_counters(verifier_service *s, const service_config *config, dstack_error *err) {
    static const char *const name = "dstack_verifier_requests_total";
    static const char *const help = "Verification requests by their outcome.";
    s->metrics = metrics_new();
    s->rate =
        rate_limit_new((unsigned)config_int(config, "rate"), (unsigned)config_int(config, "burst"));
    if (s->metrics == NULL || s->rate == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    s->valid = metrics_get(s->metrics, METRICS_COUNTER, name, "outcome=\"valid\"", help);
    s->invalid = metrics_get(s->metrics, METRICS_COUNTER, name, "outcome=\"refused\"", help);
    s->malformed = metrics_get(s->metrics, METRICS_COUNTER, name, "outcome=\"malformed\"", help);
    s->limited = metrics_get(s->metrics, METRICS_COUNTER, name, "outcome=\"limited\"", help);
    return 0;
}

static size_t fill_routes(verifier_service *s, bool with_metrics) {
    size_t n = 0;
    s->routes[n++] = (http_route){"GET", "/health", health, NULL, 0, HTTP_ROUTE_INLINE};
    s->routes[n++] =
        (http_route){"POST", "/verify", verify, NULL, REQUEST_MAX, HTTP_ROUTE_TAKES_OVERSIZE};
    s->routes[n++] =
        (http_route){"POST", "/ear", service_ear, NULL, REQUEST_MAX, HTTP_ROUTE_TAKES_OVERSIZE};
    s->routes[n++] =
        (http_route){"GET", "/.well-known/jwks.json", service_jwks, NULL, 0, HTTP_ROUTE_INLINE};
    s->routes[n++] = (http_route){"GET", "/", service_page, NULL, 0, HTTP_ROUTE_INLINE};
    s->routes[n++] = (http_route){"GET", "/page/*", service_page_file, NULL, 0, HTTP_ROUTE_INLINE};
    s->routes[n++] = (http_route){"POST", "/inspect",      service_inspect,
                                  NULL,   2 * REQUEST_MAX, HTTP_ROUTE_TAKES_OVERSIZE};
    if (with_metrics) {
        s->routes[n++] =
            (http_route){"GET", "/metrics", metrics_handle, s->metrics, 0, HTTP_ROUTE_INLINE};
    }
    s->routes[n++] =
        (http_route){"*", "/**", not_found, NULL, 0, HTTP_ROUTE_INLINE | HTTP_ROUTE_TAKES_OVERSIZE};
    return n;
}

int service_open(verifier_service *s, const service_config *config, engine *e, bool insecure,
                 dstack_error *err) {
    *s = (verifier_service){.engine = e, .insecure = insecure};
    int rc = open_counters(s, config, err);
    rc = rc != 0 ? rc : service_ear_open(s, config, err);
    rc = rc != 0 ? rc : service_page_open(s, config, err);
    if (rc != 0) {
        return rc;
    }
    const char *address = config_str(config, "address");
    char where[200];
    if (strncmp(address, "unix:", 5) == 0) {
        snprintf(where, sizeof where, "%s", address);
    } else {
        snprintf(where, sizeof where, strchr(address, ':') != NULL ? "[%s]:%d" : "%s:%d", address,
                 (int)config_int(config, "port"));
    }
    http_listener_config listener = {.name = "http",
                                     .address = where,
                                     .routes = s->routes,
                                     .route_count = fill_routes(s, config_bool(config, "metrics")),
                                     .user = s};
    config_http_limits(config, "limits", &listener.limits);
    http_server_config server = {.name = "dstack-verifier",
                                 .metrics = s->metrics,
                                 .workers = (unsigned)config_int(config, "workers")};
    s->server = http_server_new(&server);
    rc = s->server != NULL ? http_server_listen(s->server, &listener, err)
                           : error_set(err, DSTACK_E_MEMORY, "out of memory");
    return error_prefix(err, rc, "listening on %s", where);
}

void service_close(verifier_service *s) {
    if (s->server != NULL) {
        http_server_drain(s->server, 5000);
        http_server_free(s->server);
    }
    dstack_ear_signer_free(s->signer);
    rate_limit_free(s->rate);
    metrics_free(s->metrics);
    *s = (verifier_service){0};
}
