/* Collateral over libcurl. */
#include "verify/dcap/fetch.h"

#include <string.h>

#include <curl/curl.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"

#define MAX_HEADERS ((size_t)64 << 10)
#define MAX_REDIRECTS 5
#define CONNECT_TIMEOUT_MS 10000

DSTACK_AUTO_DEFINE(curl, CURL, curl_easy_cleanup)

typedef struct exchange {
    fetch_answer *answer;
    size_t body_limit;
    bool too_much;
} exchange;

static size_t take(exchange *x, dstack_buf *to, size_t limit, const char *data, size_t len) {
    if (len > limit - to->len) {
        x->too_much = true;
        return 0; /* ends the transfer */
    }
    buf_put(to, data, len);
    return to->failed ? 0 : len;
}

static size_t take_body(char *data, size_t size, size_t count, void *user) {
    exchange *x = user;
    return take(x, &x->answer->body, x->body_limit, data, size * count);
}

/* Each answer on the way, redirects too, begins with a status line: the last one's lines stay. */
static size_t take_header(char *data, size_t size, size_t count, void *user) {
    exchange *x = user;
    size_t len = size * count;
    if (len > 5 && memcmp(data, "HTTP/", 5) == 0) {
        buf_reset(&x->answer->headers);
        return len;
    }
    if (memchr(data, 0, len) != NULL) {
        return 0;
    }
    return take(x, &x->answer->headers, MAX_HEADERS, data, len);
}

static int transport_error(const exchange *x, CURLcode code, const char *url, dstack_error *err) {
    dstack_status status = x->too_much                          ? DSTACK_E_LIMIT
                           : code == CURLE_OPERATION_TIMEDOUT   ? DSTACK_E_TIMEOUT
                           : code == CURLE_URL_MALFORMAT        ? DSTACK_E_ARGUMENT
                           : code == CURLE_UNSUPPORTED_PROTOCOL ? DSTACK_E_ARGUMENT
                                                                : DSTACK_E_NETWORK;
    return error_set(err, status, "%.200s: %s", url,
                     x->too_much ? "the answer is too large" : curl_easy_strerror(code));
}

static int curl_open(const dstack_collateral_servers *servers, void **state, dstack_error *err) {
    DSTACK_AUTO(curl) CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a network client");
    }
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, servers->proxy == NULL ? "" : servers->proxy);
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    *state = curl;
    curl = NULL;
    return 0;
}

static int curl_get(void *state, const fetch_request *request, fetch_answer *answer,
                    dstack_error *err) {
    CURL *curl = state;
    exchange x = {.answer = answer, .body_limit = request->body_limit};
    long timeout_ms = (long)request->timeout_ms;
    long status = 0;
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &x);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &x);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        return transport_error(&x, code, request->url, err);
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    return 0;
}

static void curl_close(void *state) {
    curl_easy_cleanup(state);
}

const fetch_transport fetch_transport_curl = {curl_open, curl_get, curl_close};
