#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <dstack/tls.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "service/http_internal.h"

#define DEFAULT_BODY_LIMIT ((size_t)10 << 20)

http_request *http_request_new(const char *target, dstack_error *err) {
    http_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    /* An absolute-form target (RFC 9112, section 3.2.2) is served by its path. */
    const char *path = target;
    const char *scheme = strstr(target, "://");
    if (target[0] != '/' && scheme != NULL) {
        path = strchr(scheme + 3, '/');
        path = path != NULL ? path : "/";
    }
    request->path = strdup(path);
    if (request->path == NULL) {
        free(request);
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    char *mark = strchr(request->path, '?');
    if (mark != NULL) {
        *mark = 0;
        request->query = mark + 1;
    } else {
        request->query = request->path + strlen(request->path);
    }
    request->response.status = 404;
    return request;
}

static bool id_is_usable(const char *text, size_t len) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return len >= 1 && len <= 64 && strspn(text, allowed) >= len;
}

#define ID_SIZE 8
#define IDS_AT_ONCE 64

/* Ids tell requests apart and are no secret: the system is asked for many at once. */
static const uint8_t *fresh_id(void) {
    static _Thread_local uint8_t ids[IDS_AT_ONCE][ID_SIZE];
    static _Thread_local unsigned left;
    if (left == 0) {
        randombytes_buf(ids, sizeof ids);
        left = IDS_AT_ONCE;
    }
    return ids[--left];
}

static void settle_id(http_request *request) {
    size_t len = 0;
    const char *given = http_headers_find(request->message.headers, "X-Request-Id", &len);
    if (given != NULL && id_is_usable(given, len)) {
        memcpy(request->id, given, len);
        request->id[len] = 0;
    } else {
        hex_encode(bytes_of(fresh_id(), ID_SIZE), request->id);
    }
}

bool http_method_is_head(const http_request *request) {
    return strcmp(request->message.method, "HEAD") == 0;
}

void http_request_prepare(http_request *request) {
    const http_listener_config *config = &request->connection->listener->config;
    settle_id(request);
    request->route =
        http_route_find(config->routes, config->route_count, http_request_method(request),
                        request->path, request->captures, &request->capture_count);
    size_t general = config->limits.body != 0 ? config->limits.body : DEFAULT_BODY_LIMIT;
    request->body_limit = request->route != NULL && request->route->body_limit != 0
                              ? request->route->body_limit
                              : general;
    request->started = true;
}

bool http_request_oversize(const http_request *request) {
    return request->message.oversize;
}

void *http_request_user(const http_request *request) {
    void *own = request->route != NULL ? request->route->user : NULL;
    return own != NULL ? own : request->connection->listener->config.user;
}

void http_request_run(http_request *request) {
    const http_route *route = request->route;
    if (route == NULL) {
        http_response_page(&request->response, 404);
        return;
    }
    if (request->message.oversize && (route->flags & HTTP_ROUTE_TAKES_OVERSIZE) == 0) {
        http_response_error(&request->response, 413, "failed to read data: payload too large");
        return;
    }
    route->handler(request, &request->response, http_request_user(request));
    if (request->response.content_type == NULL) {
        http_response_page(&request->response, request->response.status);
    }
}

void http_request_free(http_request *request) {
    if (request == NULL) {
        return;
    }
    for (size_t i = 0; i < request->capture_count; i++) {
        free(request->captures[i]);
    }
    while (request->args != NULL) {
        http_arg *next = request->args->next;
        free(request->args->name);
        free(request->args->value);
        free(request->args);
        request->args = next;
    }
    http_request_message_clear(&request->message);
    http_response_clear(&request->response);
    free(request->path);
    free(request);
}

/* ---- accessors --------------------------------------------------------------------------------
 */

const char *http_request_method(const http_request *request) {
    return http_method_is_head(request) ? "GET" : request->message.method;
}

const char *http_request_path(const http_request *request) {
    return request->path;
}

const char *http_request_query(const http_request *request) {
    return request->query;
}

static const char *remember(http_request *request, char *name, char *value) {
    http_arg *arg = name != NULL && value != NULL ? calloc(1, sizeof *arg) : NULL;
    if (arg == NULL) {
        free(name);
        free(value);
        return NULL;
    }
    *arg = (http_arg){.next = request->args, .name = name, .value = value};
    request->args = arg;
    return value;
}

static const char *recall(const http_request *request, const char *name) {
    for (const http_arg *arg = request->args; arg != NULL; arg = arg->next) {
        if (strcmp(arg->name, name) == 0) {
            return arg->value;
        }
    }
    return NULL;
}

/* Header values are kept beside the query arguments under "\x01<name>", which no argument name that
 * came through percent-decoding of a real query is looked up by. */
const char *http_request_header(const http_request *request, const char *name) {
    char *key = NULL;
    if (asprintf(&key, "\x01%s", name) < 0) {
        return NULL;
    }
    const char *known = recall(request, key);
    size_t len = 0;
    const char *value =
        known == NULL ? http_headers_find(request->message.headers, name, &len) : NULL;
    if (known != NULL || value == NULL) {
        free(key);
        return known;
    }
    return remember((http_request *)request, key, strndup(value, len));
}

const char *http_request_arg(http_request *request, const char *name) {
    const char *known = recall(request, name);
    if (known != NULL) {
        return known;
    }
    for (const char *part = request->query; *part != 0;) {
        size_t len = strcspn(part, "&");
        const char *equals = memchr(part, '=', len);
        size_t name_len = equals != NULL ? (size_t)(equals - part) : len;
        char *key = http_decode(part, name_len, true);
        if (key != NULL && strcmp(key, name) == 0) {
            size_t skip = equals != NULL ? name_len + 1 : len;
            return remember(request, key, http_decode(part + skip, len - skip, true));
        }
        free(key);
        part += len + (part[len] == '&');
    }
    return NULL;
}

dstack_bytes http_request_body(const http_request *request) {
    return bytes_of_buf(&request->message.body);
}

const http_peer *http_request_peer(const http_request *request) {
    return &request->connection->peer;
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* asm-generic/socket.h, which older C libraries do not have */
#endif

int http_request_peer_pidfd(const http_request *request) {
    const http_connection *connection = request->connection;
    int pidfd = -1;
    socklen_t size = sizeof pidfd;
    return connection->fd >= 0 && connection->peer.kind == HTTP_PEER_UNIX &&
                   getsockopt(connection->fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0
               ? pidfd
               : -1;
}

/* Copies the peer's chain once per connection: DER certificates one after another. */
static void remember_client_certs(http_connection *connection, struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned count = 0;
    const gnutls_datum_t *list =
        info != NULL && info->tls_session != NULL
            ? gnutls_certificate_get_peers((gnutls_session_t)info->tls_session, &count)
            : NULL;
    size_t total = 0;
    count = count > HTTP_CLIENT_CERTS_MAX ? HTTP_CLIENT_CERTS_MAX : count;
    for (unsigned i = 0; i < count; i++) {
        total += list[i].size;
    }
    connection->client_certs = total > 0 ? malloc(total) : NULL;
    for (unsigned i = 0; connection->client_certs != NULL && i < count; i++) {
        size_t at = i == 0 ? 0 : connection->client_cert_end[i - 1];
        memcpy(connection->client_certs + at, list[i].data, list[i].size);
        connection->client_cert_end[i] = at + list[i].size;
        connection->client_cert_count = i + 1;
    }
    connection->bound = count > 0 && dstack_tls_channel_binding((gnutls_session_t)info->tls_session,
                                                                connection->binding, NULL) == 0;
}

bool http_request_channel_binding(const http_request *request, uint8_t out[32]) {
    (void)http_request_client_cert(request);
    memcpy(out, request->connection->binding, 32);
    return request->connection->bound;
}

dstack_bytes http_request_client_cert_at(const http_request *request, size_t i) {
    http_connection *connection = request->connection;
    if (!connection->client_cert_known && request->mhd != NULL) {
        remember_client_certs(connection, request->mhd);
        connection->client_cert_known = true;
    }
    if (i >= connection->client_cert_count) {
        return bytes_of(NULL, 0);
    }
    size_t start = i == 0 ? 0 : connection->client_cert_end[i - 1];
    return bytes_of(connection->client_certs + start, connection->client_cert_end[i] - start);
}

dstack_bytes http_request_client_cert(const http_request *request) {
    return http_request_client_cert_at(request, 0);
}

const char *http_request_capture(const http_request *request, size_t i) {
    return i < request->capture_count ? request->captures[i] : NULL;
}

const char *http_request_id(const http_request *request) {
    return request->id;
}

void *http_request_connection_data(const http_request *request) {
    return request->connection->data;
}

void http_request_set_connection_data(http_request *request, void *data, void (*free_fn)(void *)) {
    if (request->connection->data != NULL) {
        if (free_fn != NULL) {
            free_fn(data);
        }
        return;
    }
    request->connection->data = data;
    request->connection->free_data = free_fn;
}
