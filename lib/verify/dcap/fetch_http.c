/* Collateral over the library's own HTTP client. */
#include "verify/dcap/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_client.h"
#include "client/http_message.h"

#define MAX_REDIRECTS 5
#define CONNECT_TIMEOUT_MS 10000

/* A client speaks to one origin; the next request mostly goes to the same. */
typedef struct http_state {
    http_client *client;
    char *origin;
    int64_t timeout_ms;
    size_t body_limit;
} http_state;

static void http_close(void *user) {
    http_state *state = user;
    if (state != NULL) {
        http_client_free(state->client);
        free(state->origin);
        free(state);
    }
}

static int http_open(const dstack_collateral_servers *servers, void **state, dstack_error *err) {
    if (servers->proxy != NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "this program's HTTP client knows no proxies");
    }
    *state = calloc(1, sizeof(http_state));
    return *state != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no memory for a network client");
}

/* "scheme://authority" of a URL ends here. */
static const char *path_of(const char *url) {
    const char *authority = strstr(url, "://");
    return authority == NULL ? url : authority + 3 + strcspn(authority + 3, "/?#");
}

static int connect_to(http_state *state, const char *url, int64_t timeout_ms, size_t body_limit,
                      dstack_error *err) {
    size_t len = (size_t)(path_of(url) - url);
    if (state->client != NULL && strlen(state->origin) == len &&
        strncmp(state->origin, url, len) == 0 && state->timeout_ms == timeout_ms &&
        state->body_limit == body_limit) {
        return 0;
    }
    http_client_free(state->client);
    free(state->origin);
    state->client = NULL;
    state->origin = strndup(url, len);
    if (state->origin == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const http_client_config config = {
        .url = state->origin,
        .connect_timeout_ms =
            (int)(timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS),
        .total_timeout_ms = (int)timeout_ms,
        .body_limit = body_limit,
    };
    state->client = http_client_new(&config, err);
    state->timeout_ms = timeout_ms;
    state->body_limit = body_limit;
    return state->client != NULL ? 0 : err->status;
}

static int get_once(http_state *state, const char *url, const fetch_request *request,
                    int64_t timeout_ms, http_client_response *response, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    dstack_error own = {0};
    const char *from = path_of(url);
    int rc = connect_to(state, url, timeout_ms, request->body_limit, err != NULL ? err : &own);
    if (rc != 0) {
        return rc;
    }
    buf_put_str(&path, *from == '/' ? "" : "/");
    buf_put(&path, from, strcspn(from, "#"));
    const char *text = buf_text(&path);
    if (text == NULL) {
        return buf_check(&path, err);
    }
    const http_client_request get = {.method = "GET", .path = text};
    return http_client_send(state->client, &get, response, err);
}

/* The address an answer sends us to; false when it sends us nowhere (RFC 9110, section 15.4). */
static bool redirected(const http_client_response *response, const char *url, dstack_buf *to) {
    size_t len;
    const char *location;
    if ((response->status != 301 && response->status != 302 && response->status != 303 &&
         response->status != 307 && response->status != 308) ||
        (location = http_headers_find(response->headers, "Location", &len)) == NULL || len == 0) {
        return false;
    }
    buf_reset(to);
    if (location[0] == '/' && len > 1 && location[1] == '/') {
        buf_put(to, url, (size_t)(strstr(url, "//") - url));
    } else if (location[0] == '/') {
        buf_put(to, url, (size_t)(path_of(url) - url));
    }
    buf_put(to, location, len);
    return true;
}

static int take_answer(http_client_response *response, fetch_answer *answer, dstack_error *err) {
    answer->status = response->status;
    buf_put_str(&answer->headers, response->headers);
    buf_put_bytes(&answer->body, bytes_of_buf(&response->body));
    int rc = buf_check(&answer->headers, err);
    return rc != 0 ? rc : buf_check(&answer->body, err);
}

static int http_get(void *user, const fetch_request *request, fetch_answer *answer,
                    dstack_error *err) {
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    DSTACK_AUTO(buf) dstack_buf url = {0}, next = {0};
    int64_t deadline = clock_monotonic_ms() + request->timeout_ms;
    buf_put_str(&url, request->url);
    for (unsigned hops = 0;; hops++) {
        int64_t left = hops == 0 ? request->timeout_ms : deadline - clock_monotonic_ms();
        const char *text = buf_text(&url);
        if (text == NULL) {
            return buf_check(&url, err);
        }
        if (left <= 0) {
            return error_set(err, DSTACK_E_TIMEOUT, "%.200s: time is up", request->url);
        }
        int rc = get_once(user, text, request, left, &response, err);
        if (rc != 0) {
            return error_prefix(err, rc, "%.200s", text);
        }
        if (!redirected(&response, text, &next)) {
            return take_answer(&response, answer, err);
        }
        if (hops == MAX_REDIRECTS) {
            return error_set(err, DSTACK_E_NETWORK, "%.200s: too many redirects", request->url);
        }
        dstack_buf swap = url;
        url = next;
        next = swap;
    }
}

const fetch_transport fetch_transport_http = {http_open, http_get, http_close};
