#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/http_internal.h"
#include "service/http_listen.h"
#include "service/log.h"
#include "service/metrics.h"

/* ---- connections ------------------------------------------------------------------------------
 */

static void read_peer(http_peer *peer, int fd) {
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    *peer = (http_peer){.kind = HTTP_PEER_TCP, .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    getpeername(fd, (struct sockaddr *)&address, &len);
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(peer->address, sizeof peer->address, "%s:%u", text, ntohs(v4->sin_port));
        peer->loopback = (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(peer->address, sizeof peer->address, "[%s]:%u", text, ntohs(v6->sin6_port));
        peer->loopback =
            IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) || (mapped && v6->sin6_addr.s6_addr[12] == 127);
    } else {
        struct ucred credentials = {.pid = -1};
        socklen_t size = sizeof credentials;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
        peer->kind = HTTP_PEER_UNIX;
        peer->pid = credentials.pid;
        peer->uid = credentials.uid;
        peer->gid = credentials.gid;
        snprintf(peer->address, sizeof peer->address, "unix:%d", (int)credentials.pid);
    }
}

static void connection_free(http_connection *connection) {
    if (connection != NULL) {
        if (connection->data != NULL && connection->free_data != NULL) {
            connection->free_data(connection->data);
        }
        http_credential_release(connection->credential);
        free(connection->client_certs);
        free(connection);
    }
}

static void on_connection(void *user, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    http_listener *listener = user;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*context != NULL) {
            http_reaper_remove(*context);
        }
        connection_free(*context);
        *context = NULL;
        return;
    }
    http_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return; /* on_uri refuses requests of a connection without context */
    }
    connection->listener = listener;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    read_peer(&connection->peer, connection->fd);
    *context = connection;
    http_reaper_add(connection);
    if (listener->config.tls != NULL) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        http_tls_setup_session(listener->config.tls, (gnutls_session_t)info->tls_session,
                               connection);
    }
}

/* ---- requests through libmicrohttpd -----------------------------------------------------------
 */

static void *on_uri(void *user, const char *uri, struct MHD_Connection *mhd) {
    (void)user;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info == NULL || info->socket_context == NULL) {
        return NULL;
    }
    http_request *request = http_request_new(uri, NULL);
    if (request != NULL) {
        request->connection = info->socket_context;
        request->mhd = mhd;
    }
    return request;
}

/* The library would decode names and values in place; ours decode themselves, strictly. */
static size_t keep_escapes(void *user, struct MHD_Connection *mhd, char *text) {
    (void)user;
    (void)mhd;
    return strlen(text);
}

static enum MHD_Result copy_header(void *user, enum MHD_ValueKind kind, const char *key,
                                   const char *value) {
    (void)kind;
    buf_put_str(user, key);
    buf_put_str(user, ": ");
    buf_put_str(user, value != NULL ? value : "");
    buf_put_str(user, "\r\n");
    return MHD_YES;
}

static void begin_request(http_request *request, const char *method) {
    snprintf(request->message.method, sizeof request->message.method, "%s", method);
    DSTACK_AUTO(buf) dstack_buf headers = {0};
    MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, copy_header, &headers);
    request->message.headers = buf_detach_text(&headers);
    http_request_prepare(request);
    size_t len = 0;
    const char *length = http_headers_find(request->message.headers, "Content-Length", &len);
    /* Two lengths for one body are how a request is smuggled past a proxy (RFC 9112, section 6.3). */
    request->ambiguous = length != NULL && http_headers_find(request->message.headers,
                                                             "Transfer-Encoding", &len) != NULL;
    if (length != NULL && strtoull(length, NULL, 10) > request->body_limit) {
        request->message.oversize = true;
    }
}

static void take_body(http_request *request, const char *data, size_t len) {
    dstack_buf *body = &request->message.body;
    if (!request->message.oversize && len > request->body_limit - body->len) {
        request->message.oversize = true;
        buf_wipe(body);
    }
    if (!request->message.oversize) {
        buf_put(body, data, len);
    }
}

static void wipe_and_free(void *data) {
    dstack_buf *body = data;
    buf_wipe(body);
    free(body);
}

static struct MHD_Response *body_response(http_response *response) {
    dstack_buf *body = malloc(sizeof *body);
    if (body == NULL) {
        return NULL;
    }
    *body = response->body;
    response->body = (dstack_buf){0};
    struct MHD_Response *answer = MHD_create_response_from_buffer_with_free_callback_cls(
        body->len, body->data != NULL ? (void *)body->data : (void *)"", wipe_and_free, body);
    if (answer == NULL) {
        wipe_and_free(body);
    }
    return answer;
}

static void add_header(void *user, const char *name, const char *value) {
    MHD_add_response_header(user, name, value);
}

static enum MHD_Result send_answer(http_request *request) {
    http_response *response = &request->response;
    request->state = HTTP_ANSWERED;
    struct MHD_Response *answer = NULL;
    if (response->stream != NULL && !http_method_is_head(request)) {
        answer = http_stream_start(response->stream, request);
        if (answer != NULL) {
            response->stream = NULL;
        } else {
            http_response_error(response, 503, "too many streams");
        }
    }
    if (answer == NULL) {
        answer = body_response(response);
    }
    if (answer == NULL) {
        return MHD_NO;
    }
    http_response_each_header(request, add_header, answer);
    enum MHD_Result rc = MHD_queue_response(request->mhd, (unsigned)response->status, answer);
    MHD_destroy_response(answer);
    return rc;
}

static void run_suspended(http_request *request) {
    http_request_run(request);
    request->state = HTTP_ANSWERED;
    MHD_resume_connection(request->mhd);
}

static bool runs_inline(const http_request *request) {
    const http_route *route = request->route;
    return route == NULL || (route->flags & HTTP_ROUTE_INLINE) != 0 ||
           (route->is_quick != NULL && route->is_quick(request, http_request_user(request)));
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **context) {
    (void)mhd;
    (void)url;
    (void)version;
    http_listener *listener = user;
    http_request *request = *context;
    if (request == NULL) {
        return MHD_NO;
    }
    if (!request->started) {
        begin_request(request, method);
        return MHD_YES;
    }
    if (*data_len > 0) {
        take_body(request, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    if (request->state == HTTP_ANSWERED) {
        return send_answer(request);
    }
    if (request->state == HTTP_WORKING) {
        return MHD_YES; /* woken early: the worker's resume brings us back */
    }
    http_reaper_busy(request->connection, true);
    metrics_add(listener->requests, 1);
    if (request->ambiguous) {
        http_response_error(&request->response, 400, "two lengths are given for the body");
        http_response_header(&request->response, "Connection", "close");
        return send_answer(request);
    }
    if (runs_inline(request)) {
        http_request_run(request);
        return send_answer(request);
    }
    http_request_client_cert(request); /* reads the session here, on its own thread */
    request->state = HTTP_WORKING;
    MHD_suspend_connection(request->mhd);
    http_pool_add(listener->server->pool, request);
    return MHD_YES;
}

static void on_completed(void *user, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)user;
    (void)mhd;
    (void)code;
    http_request *request = *context;
    if (request != NULL) {
        http_reaper_busy(request->connection, false);
    }
    http_request_free(request);
    *context = NULL;
}

__attribute__((format(printf, 2, 0))) static void on_mhd_log(void *user, const char *format,
                                                             va_list arguments) {
    http_listener *listener = user;
    if (!log_enabled(LOG_LEVEL_DEBUG)) {
        return;
    }
    char text[256];
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    LOG_DEBUG("connection", "listener", listener->name, "event", text);
}

/* ---- listeners --------------------------------------------------------------------------------
 */

static int start_daemon(http_listener *listener, dstack_error *err) {
    const http_limits *limits = &listener->config.limits;
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    size_t header = limits->header != 0 ? limits->header : (size_t)32 << 10;
    unsigned connections = limits->connections != 0 ? limits->connections : 1024;
    unsigned idle = limits->idle_timeout_s != 0 ? limits->idle_timeout_s : 60;
    struct MHD_OptionItem options[16];
    size_t n = 0;
#define OPTION(kind, number, pointer)                                                              \
    options[n++] = (struct MHD_OptionItem){kind, (intptr_t)(number), (void *)(pointer)}
    OPTION(MHD_OPTION_CONNECTION_MEMORY_LIMIT, header, NULL);
    OPTION(MHD_OPTION_CONNECTION_LIMIT, connections, NULL);
    OPTION(MHD_OPTION_PER_IP_CONNECTION_LIMIT, limits->per_address, NULL);
    OPTION(MHD_OPTION_CONNECTION_TIMEOUT, idle, NULL);
    OPTION(MHD_OPTION_LISTEN_SOCKET, listener->listen_fd, NULL);
    OPTION(MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, listener);
    OPTION(MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, listener);
    OPTION(MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_uri, listener);
    OPTION(MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, listener);
    if (listener->config.tls != NULL) {
        flags = (flags & ~(unsigned)MHD_USE_EPOLL) | MHD_USE_POLL | MHD_USE_TLS;
        OPTION(MHD_OPTION_HTTPS_PRIORITIES, 0, http_tls_priorities());
        OPTION(MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, http_tls_retrieve);
    }
    OPTION(MHD_OPTION_END, 0, NULL);
#undef OPTION
    listener->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener, MHD_OPTION_EXTERNAL_LOGGER,
                         on_mhd_log, listener, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    return listener->daemon != NULL
               ? 0
               : error_set(err, DSTACK_E_IO, "starting the HTTP server on %s", listener->address);
}

static void listener_free(http_listener *listener) {
    if (listener->daemon != NULL) {
        MHD_stop_daemon(listener->daemon);
    } else if (listener->listen_fd >= 0) {
        close(listener->listen_fd);
    }
    if (listener->unix_path != NULL) {
        unlink(listener->unix_path);
    }
    pthread_mutex_destroy(&listener->lock);
    free(listener->unix_path);
    free(listener->name);
    free(listener->address);
    free(listener->server_header);
    free(listener->version_header);
    free(listener);
}

static http_listener *listener_new(http_server *server, const http_listener_config *config) {
    http_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return NULL;
    }
    listener->server = server;
    listener->listen_fd = -1;
    pthread_mutex_init(&listener->lock, NULL);
    listener->config = *config;
    listener->name = strdup(config->name);
    listener->address = strdup(config->address);
    listener->server_header =
        strdup(config->server_header != NULL ? config->server_header : server->name);
    listener->version_header =
        config->version_header != NULL ? strdup(config->version_header) : NULL;
    listener->config.name = listener->name;
    listener->config.address = listener->address;
    if (listener->name == NULL || listener->address == NULL || listener->server_header == NULL) {
        listener_free(listener);
        return NULL;
    }
    return listener;
}

static void count_listener(http_listener *listener) {
    char labels[128];
    metrics *registry = listener->server->metrics;
    if (registry != NULL) {
        snprintf(labels, sizeof labels, "listener=\"%s\"", listener->name);
        listener->open_connections = metrics_get(registry, METRICS_GAUGE, "dstack_http_connections",
                                                 labels, "Open connections.");
        listener->requests = metrics_get(registry, METRICS_COUNTER, "dstack_http_requests_total",
                                         labels, "Complete requests.");
        listener->timeouts =
            metrics_get(registry, METRICS_COUNTER, "dstack_http_request_timeouts_total", labels,
                        "Connections closed because a request took too long to arrive.");
    }
}

int http_server_listen(http_server *server, const http_listener_config *config, dstack_error *err) {
    http_listener *listener = listener_new(server, config);
    if (listener == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    count_listener(listener);
    http_listen_socket socket;
    int rc = http_listen_open(config->address, config->unix_mode, &socket, err);
    if (rc == 0) {
        listener->listen_fd = socket.fd;
        listener->port = socket.port;
        listener->unix_path = socket.unix_path;
        if (socket.fd >= 0) {
            rc = start_daemon(listener, err);
        }
    }
    if (rc != 0) {
        listener_free(listener);
        return error_prefix(err, rc, "listener %s", config->name);
    }
    pthread_mutex_lock(&server->lock);
    listener->next = server->listeners;
    server->listeners = listener;
    pthread_mutex_unlock(&server->lock);
    return 0;
}

http_listener *http_server_find(const http_server *server, const char *name) {
    pthread_mutex_lock(&((http_server *)server)->lock);
    http_listener *listener = server->listeners;
    while (listener != NULL && strcmp(listener->name, name) != 0) {
        listener = listener->next;
    }
    pthread_mutex_unlock(&((http_server *)server)->lock);
    return listener;
}

uint16_t http_server_port(const http_server *server, const char *listener) {
    const http_listener *found = http_server_find(server, listener);
    return found != NULL ? found->port : 0;
}

/* ---- life -------------------------------------------------------------------------------------
 */

http_server *http_server_new(const http_server_config *config) {
    http_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN); /* a peer that leaves is no reason to die */
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->streams_done, NULL);
    pthread_cond_init(&server->reaper_wake, NULL);
    server->metrics = config->metrics;
    server->name = strdup(config->name);
    server->pool = http_pool_new(config->workers, run_suspended);
    if (server->name == NULL || server->pool == NULL || !http_reaper_start(server)) {
        http_server_free(server);
        return NULL;
    }
    return server;
}

bool http_server_draining(http_server *server) {
    pthread_mutex_lock(&server->lock);
    bool draining = server->draining;
    pthread_mutex_unlock(&server->lock);
    return draining;
}

static bool wait_streams(http_server *server, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000 + 1;
    pthread_mutex_lock(&server->lock);
    int rc = 0;
    while (server->streams > 0 && rc == 0) {
        rc = pthread_cond_timedwait(&server->streams_done, &server->lock, &until);
    }
    bool done = server->streams == 0;
    pthread_mutex_unlock(&server->lock);
    return done;
}

void http_server_drain(http_server *server, int timeout_ms) {
    pthread_mutex_lock(&server->lock);
    bool again = server->draining;
    server->draining = true;
    pthread_mutex_unlock(&server->lock);
    if (again) {
        return;
    }
    for (http_listener *l = server->listeners; l != NULL; l = l->next) {
        if (l->daemon != NULL) {
            MHD_socket fd = MHD_quiesce_daemon(l->daemon);
            if (fd != MHD_INVALID_SOCKET) {
                close(fd);
            }
        }
        l->listen_fd = -1;
    }
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    bool idle = http_pool_wait_idle(server->pool, timeout_ms);
    int64_t left = deadline - clock_monotonic_ms();
    idle = wait_streams(server, left > 0 ? (int)left : 0) && idle;
    if (!idle) {
        LOG_WARN("some requests did not end in time", "server", server->name);
    }
}

void http_server_free(http_server *server) {
    if (server == NULL) {
        return;
    }
    http_reaper_stop(server);
    if (server->pool != NULL) {
        http_server_drain(server, 0);
        /* The transport can only be closed when no handler holds a connection any more. */
        while (!http_pool_wait_idle(server->pool, 1000) || !wait_streams(server, 1000)) {
        }
    }
    while (server->listeners != NULL) {
        http_listener *next = server->listeners->next;
        listener_free(server->listeners);
        server->listeners = next;
    }
    http_pool_free(server->pool);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->streams_done);
    pthread_cond_destroy(&server->reaper_wake);
    free(server->name);
    free(server);
}
