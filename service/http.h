/* HTTP/1.1 server: any number of listeners in one process over libmicrohttpd.
 *
 *     http_server *server = http_server_new(&(http_server_config){.name = "dstack-kms", .workers =
 * 4}); http_server_listen(server, &(http_listener_config){ .name = "rpc", .address =
 * "127.0.0.1:8000", .tls = tls, .routes = routes, .route_count = n, .user = app}, &err);
 *     ... http_server_drain(server, 5000); http_server_free(server);
 *
 * One thread per listener moves bytes (epoll); handlers run on the server's worker threads and may
 * block. Request bodies are read whole, within the route's limit, before the handler runs. Every
 * answer has Content-Length, except streams. HEAD is answered as GET without a body.
 * http_server, http_tls: shared among threads. http_request, http_response: the handler's alone. */
#ifndef SERVICE_HTTP_H
#define SERVICE_HTTP_H

#include <sys/types.h>

#include <jansson.h>

#include <dstack/bytes.h>

typedef struct http_server http_server;
typedef struct http_request http_request;
typedef struct http_response http_response;
typedef struct http_stream http_stream;
typedef struct http_tls http_tls;

/* ---- requests ---------------------------------------------------------------------------------
 */

typedef enum http_peer_kind {
    HTTP_PEER_TCP,
    HTTP_PEER_UNIX,
    HTTP_PEER_LINK, /* a virtio-serial port, see link.h */
} http_peer_kind;

typedef struct http_peer {
    http_peer_kind kind;
    char address[64]; /* "127.0.0.1:4711", "[::1]:4711", "unix:<pid>", or the link's name */
    bool loopback;    /* TCP from 127.0.0.0/8 or ::1 */
    pid_t pid;        /* unix sockets (SO_PEERCRED); -1 otherwise */
    uid_t uid;
    gid_t gid;
} http_peer;

/* Upper-case method ("GET"; HEAD arrives as GET), path without query (still percent-encoded), and
 * the query text after '?' ("" without one). */
const char *http_request_method(const http_request *request);
const char *http_request_path(const http_request *request);
const char *http_request_query(const http_request *request);
/* First header of that name (any case); NULL when absent. */
const char *http_request_header(const http_request *request, const char *name);
dstack_bytes http_request_body(const http_request *request);
/* The body was longer than allowed and was dropped (only routes with HTTP_ROUTE_TAKES_OVERSIZE). */
bool http_request_oversize(const http_request *request);
const http_peer *http_request_peer(const http_request *request);
/* A descriptor of the very process that opened this unix connection (SO_PEERPIDFD, Linux 6.5), to be
 * closed by the caller: its pid may have become another process's since. -1 for other peers, on older
 * kernels, and when the process is gone. */
int http_request_peer_pidfd(const http_request *request);
/* DER of the client's leaf certificate, empty when none was shown. The handshake has proved that
 * the peer holds its key; who that is, is for the handler to decide. */
dstack_bytes http_request_client_cert(const http_request *request);
/* The i-th certificate that the client sent: 0 is the leaf, then what it says are its issuers (at
 * most HTTP_CLIENT_CERTS_MAX are kept). Empty past the last. */
#define HTTP_CLIENT_CERTS_MAX 6
dstack_bytes http_request_client_cert_at(const http_request *request, size_t i);
/* 32 bytes that only the two ends of this TLS connection know (RFC 9266, tls-exporter); false on
 * plain connections, before TLS 1.3, and for clients that showed no certificate. */
bool http_request_channel_binding(const http_request *request, uint8_t out[32]);
/* What the i-th '*' or the final '**' of the route's pattern matched, percent-decoded; NULL past
 * the last. Never holds a zero byte; a '*' match never holds '/'. */
const char *http_request_capture(const http_request *request, size_t i);
/* Id of this request for logs: 16 hex digits, or the caller's X-Request-Id when it is 1 to 64
 * characters of [A-Za-z0-9._-]. Sent back as X-Request-Id. */
const char *http_request_id(const http_request *request);
/* Looks up one query argument, percent-decoded; NULL when absent. Owned by the request. */
const char *http_request_arg(http_request *request, const char *name);
/* A value that lives as long as the connection (for example the verified identity of its client
 * certificate); NULL at first. Set at most once; a later set frees the new value and keeps the old.
 * Requests of one connection run one after another. */
void *http_request_connection_data(const http_request *request);
void http_request_set_connection_data(http_request *request, void *data, void (*free_fn)(void *));

/* ---- responses --------------------------------------------------------------------------------
 */

/* Fresh responses are the page of status 404. Each call replaces the body. */
/* A short HTML page that says no more than the status: what is answered where no RPC is. */
void http_response_page(http_response *response, int status);
void http_response_text(http_response *response, int status, const char *text);
/* Copies body. content_type must outlive the call only. */
void http_response_bytes(http_response *response, int status, const char *content_type,
                         dstack_bytes body);
/* Takes the buffer over (body is left empty); it is wiped after sending when secret. */
void http_response_buf(http_response *response, int status, const char *content_type,
                       dstack_buf *body, bool secret);
/* Compact JSON; does not take the reference. */
void http_response_json(http_response *response, int status, const json_t *value);
/* {"error": "<message>"} with two-space indentation. */
void http_response_error(http_response *response, int status, const char *message);
void http_response_header(http_response *response, const char *name, const char *value);
/* Answers `status` at once and runs `produce` on a thread of its own, whose http_stream_write calls
 * reach the client as they are made (chunked). `done(user)` runs at the end in every case. At most
 * limits.streams run at a time; beyond that the client gets 503. */
void http_response_stream(http_response *response, int status, const char *content_type,
                          void (*produce)(http_stream *stream, void *user), void *user,
                          void (*done)(void *user));
/* Blocks while the client is slow. False when the client is gone or the server drains: stop. */
bool http_stream_write(http_stream *stream, dstack_bytes data);
/* True when the client is gone or the server drains; for producers that wait for input. */
bool http_stream_closed(http_stream *stream);

/* ---- routes -----------------------------------------------------------------------------------
 */

typedef void http_handler(http_request *request, http_response *response, void *user);

typedef enum http_route_flags {
    HTTP_ROUTE_INLINE = 1,         /* runs on the I/O thread: only for handlers that never block */
    HTTP_ROUTE_TAKES_OVERSIZE = 2, /* wants requests whose body was over the limit (and dropped), to
                                      answer in its own form; others get 413 from the server */
} http_route_flags;

/* The first matching row of the table decides; none gives 404, a path that only matches rows of
 * other methods gives 404 as well (the reference's clients rely on it). */
typedef struct http_route {
    const char *method;  /* "GET", "POST", or "*" */
    const char *pattern; /* "/health"; a segment "*" matches one segment, a last "**" the rest */
    http_handler *handler;
    void *user;        /* NULL: the listener's user */
    size_t body_limit; /* bytes; 0: the listener's body_limit */
    unsigned flags;
    /* Whether this very request may run on the I/O thread, as HTTP_ROUTE_INLINE says of all; NULL:
     * as the flag says. Handing a request to a worker and back costs more than a short answer. */
    bool (*is_quick)(const http_request *request, void *user);
} http_route;

/* ---- listeners --------------------------------------------------------------------------------
 */

/* Each is in configuration with the default given; zero means that default. */
typedef struct http_limits {
    size_t body;          /* request body bytes: 10 MiB */
    size_t header;        /* memory per connection for the request head: 32 KiB */
    unsigned connections; /* at a time: 1024 */
    unsigned per_address; /* connections at a time from one IP address: 0 = no limit of its own */
    unsigned idle_timeout_s;    /* connection without progress: 60 */
    unsigned request_timeout_s; /* from the end of one answer to the end of the next request,
                                   however slowly it comes: 120 */
    unsigned streams;           /* running http_response_stream producers: 32 */
} http_limits;

typedef struct http_listener_config {
    const char *name;    /* in logs and metrics; unique within the server */
    const char *address; /* "127.0.0.1:8000", "[::]:443", "*:8000" (all, v4 and v6), "unix:<path>"
                            (a dead socket file is replaced, a live one refused), "fd:<n>" (a
                            listening socket handed in), "none" (only reached through links) */
    mode_t unix_mode;    /* of the socket file; 0 means 0600 */
    http_tls *tls;       /* NULL: plain. Borrowed; must outlive the server */
    const http_route *routes;
    size_t route_count;
    void *user;
    http_limits limits;
    const char *server_header;  /* "server:" of every answer; NULL: the server's name */
    const char *version_header; /* "X-App-Version:"; NULL: none */
} http_listener_config;

typedef struct http_server_config {
    const char *name;
    unsigned workers;        /* handler threads for all listeners; 0 means 4 */
    struct metrics *metrics; /* counts connections, requests and time-outs of each listener there;
                                NULL: nowhere. Must outlive the server */
} http_server_config;

http_server *http_server_new(const http_server_config *config);
/* Starts accepting. DSTACK_E_IO when the address can't be had ("address in use" and the like). */
int http_server_listen(http_server *server, const http_listener_config *config, dstack_error *err);
/* TCP port a listener got (for port 0); 0 when there is none. */
uint16_t http_server_port(const http_server *server, const char *listener);
/* Runs one request through a listener's routes without a socket, on the calling thread; used by
 * links. `head_and_body` is a complete HTTP/1.1 request; appends a complete response. Streams are
 * refused with 501. DSTACK_E_FORMAT when the request is not HTTP. */
int http_server_exchange(http_server *server, const char *listener, dstack_bytes head_and_body,
                         const http_peer *peer, dstack_buf *response, dstack_error *err);
/* Stops accepting, lets running handlers end within `timeout_ms`, then closes. */
void http_server_drain(http_server *server, int timeout_ms);
/* Drains with no patience when that hasn't been done. Accepts NULL. */
void http_server_free(http_server *server);

/* ---- TLS --------------------------------------------------------------------------------------
 */

/* Decides in the handshake whether a client certificate is acceptable; non-zero fails the handshake
 * and err goes to the log. Keep it cheap: anybody can make it run. `now` is UNIX seconds. */
typedef int http_client_cert_check(dstack_bytes leaf_der, int64_t now, void *user,
                                   dstack_error *err);

typedef struct http_tls_config {
    /* PEM of the certificate chain, leaf first, and of its private key (PKCS#8). */
    dstack_bytes certificate_pem;
    dstack_bytes key_pem;
    bool request_client_cert;      /* asked for without CA names; never required here */
    http_client_cert_check *check; /* NULL: any certificate whose key the peer holds */
    void *user;
} http_tls_config;

/* TLS 1.2 and 1.3, AES-GCM first, ALPN "http/1.1". */
http_tls *http_tls_new(const http_tls_config *config, dstack_error *err);
/* New handshakes use the new pair from now on; connections that are open go on. */
int http_tls_replace(http_tls *tls, dstack_bytes certificate_pem, dstack_bytes key_pem,
                     dstack_error *err);
void http_tls_free(http_tls *tls);

#endif
