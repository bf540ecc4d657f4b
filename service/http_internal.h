/* What the files of the HTTP server share. */
#ifndef SERVICE_HTTP_INTERNAL_H
#define SERVICE_HTTP_INTERNAL_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>

#include "client/http_message.h"
#include "service/http.h"

#define HTTP_CAPTURES_MAX 8

typedef struct http_listener http_listener;
typedef struct http_credential http_credential;

/* One accepted connection, or the stand-in for a link. */
typedef struct http_connection {
    struct http_connection *next, *previous; /* of the listener, under its lock */
    http_listener *listener;
    int64_t since_ms; /* end of the last answer, under the lock */
    bool busy;        /* a complete request is being answered, under the lock */
    http_peer peer;
    int fd;                      /* for polling only; -1 for links */
    http_credential *credential; /* what its handshake used */
    uint8_t *client_certs;       /* DER, one after another */
    size_t client_cert_end[HTTP_CLIENT_CERTS_MAX];
    size_t client_cert_count;
    bool client_cert_known;
    uint8_t binding[32]; /* of the channel, where a certificate was shown */
    bool bound;
    void *data;
    void (*free_data)(void *);
} http_connection;

typedef struct http_arg {
    struct http_arg *next;
    char *name;
    char *value;
} http_arg;

typedef enum http_request_state {
    HTTP_READING, /* head seen, body coming */
    HTTP_WORKING, /* handed to a worker, connection suspended */
    HTTP_ANSWERED,
} http_request_state;

struct http_response {
    int status;
    char *content_type;
    dstack_buf body;
    bool secret;
    char *headers; /* "Name: value\r\n" lines */
    http_stream *stream;
};

struct http_request {
    http_connection *connection;
    const http_route *route;    /* NULL: none matches */
    struct MHD_Connection *mhd; /* NULL for links */
    http_request_message message;
    char *path;
    char *query; /* points into the copy of the target */
    char id[65];
    char *captures[HTTP_CAPTURES_MAX];
    size_t capture_count;
    http_arg *args;
    size_t body_limit;
    bool started;   /* head has been looked at */
    bool ambiguous; /* has Content-Length and Transfer-Encoding: refused, connection closed */
    http_request_state state;
    http_response response;
    struct http_request *next; /* in the work queue */
};

/* request */
http_request *http_request_new(const char *target, dstack_error *err);
/* After method, headers and connection are set: matches the routes, settles id and limits. */
void http_request_prepare(http_request *request);
void http_request_free(http_request *request);
/* What the handler of its route is given. */
void *http_request_user(const http_request *request);
/* Runs the handler of the route, or answers 404. */
void http_request_run(http_request *request);
/* Percent-decoding; with plus, '+' is a blank. NULL when the text is malformed or holds %00. */
char *http_decode(const char *text, size_t len, bool plus);

/* routes */
const http_route *http_route_find(const http_route *routes, size_t count, const char *method,
                                  const char *path, char **captures, size_t *capture_count);

/* responses */
void http_response_clear(http_response *response);
/* Every header of an answer except Content-Length, and the same as lines. */
typedef void http_header_visitor(void *user, const char *name, const char *value);
void http_response_each_header(const http_request *request, http_header_visitor *visit, void *user);
void http_response_head(const http_request *request, dstack_buf *out);
bool http_method_is_head(const http_request *request);

/* worker pool */
typedef struct http_pool http_pool;
http_pool *http_pool_new(unsigned workers, void (*run)(http_request *request));
void http_pool_add(http_pool *pool, http_request *request);
/* Waits until nothing runs or is queued; false when timeout_ms passed first. */
bool http_pool_wait_idle(http_pool *pool, int timeout_ms);
void http_pool_free(http_pool *pool);

/* connections that take too long over their request (http_reaper.c) */
void http_reaper_add(http_connection *connection);
void http_reaper_remove(http_connection *connection);
void http_reaper_busy(http_connection *connection, bool busy);
bool http_reaper_start(http_server *server);
void http_reaper_stop(http_server *server);

/* streams */
struct MHD_Response *http_stream_start(http_stream *stream, http_request *request);
void http_stream_discard(http_stream *stream);

/* TLS */
const char *http_tls_priorities(void);
void http_tls_setup_session(http_tls *tls, gnutls_session_t session, http_connection *connection);
int http_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                      gnutls_pcert_st **certs, unsigned *count, gnutls_ocsp_data_st **ocsp,
                      unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags);
void http_credential_release(http_credential *credential);

struct http_listener {
    http_listener *next;
    http_server *server;
    http_listener_config config; /* texts point into the listener's own copies */
    char *name;
    char *address;
    char *server_header;
    char *version_header;
    struct MHD_Daemon *daemon; /* NULL for "none" */
    int listen_fd;
    uint16_t port;
    char *unix_path;
    unsigned running_streams; /* under server->lock */
    pthread_mutex_t lock;     /* connections */
    http_connection *connections;
    struct metrics_series *open_connections;
    struct metrics_series *requests;
    struct metrics_series *timeouts;
};

struct http_server {
    char *name;
    pthread_mutex_t lock;
    http_listener *listeners;
    http_pool *pool;
    bool draining;
    unsigned streams; /* running producers of all listeners, under lock */
    pthread_cond_t streams_done;
    struct metrics *metrics;
    pthread_t reaper;
    bool reaping;
    bool stop_reaper; /* under lock, told by reaper_wake */
    pthread_cond_t reaper_wake;
};

bool http_server_draining(http_server *server);
/* NULL when no listener has that name. */
http_listener *http_server_find(const http_server *server, const char *name);

#endif
