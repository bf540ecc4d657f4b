/* One outgoing connection with deadlines: TCP or unix socket, plain or TLS. */
#ifndef CLIENT_HTTP_TRANSPORT_H
#define CLIENT_HTTP_TRANSPORT_H

#include <gnutls/gnutls.h>

#include "client/http_client.h"
#include "client/http_url.h"

typedef struct http_transport {
    int fd;
    gnutls_session_t session; /* NULL: plain */
    int64_t deadline;         /* clock_monotonic_ms() */
} http_transport;

/* What a TLS connection needs; kept by the client for all its connections. */
typedef struct http_tls_client {
    gnutls_certificate_credentials_t credentials;
    http_client_trust trust;
    http_client_verify *verify;
    void *user;
    const char *host;
    bool host_is_ip;
    dstack_error refusal; /* why the last handshake was broken off by us; status 0 when it wasn't */
} http_tls_client;

#define HTTP_TRANSPORT_CLOSED ((http_transport){.fd = -1})

int http_tls_client_init(http_tls_client *tls, const http_client_config *config,
                         const http_url *url, dstack_error *err);
void http_tls_client_clear(http_tls_client *tls);

/* connect_address "ip:port" or NULL. tls is NULL for plain connections. Sets deadlines itself: the
 * connection and handshake must stand within connect_ms. */
int http_transport_open(http_transport *t, const http_url *url, const char *connect_address,
                        http_tls_client *tls, int connect_ms, dstack_error *err);
int http_transport_write(http_transport *t, dstack_bytes data, dstack_error *err);
/* An http_more: `user` is the transport. */
int http_transport_more(void *user, dstack_buf *buf, bool *eof, dstack_error *err);
void http_transport_close(http_transport *t);

#endif
