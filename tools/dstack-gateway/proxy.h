/* The gateway's data plane: accepts TLS connections, asks where the server name goes, and relays,
 * ending TLS itself or passing it through untouched.
 *
 * Each worker thread has its own listening socket (SO_REUSEPORT), epoll instance and connections;
 * nothing but the routing callback is shared. */
#ifndef GATEWAY_PROXY_H
#define GATEWAY_PROXY_H

#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <dstack/error.h>

#include "certs.h"

#define PROXY_TARGETS_MAX 3

typedef struct proxy_target {
    struct sockaddr_storage address;
    socklen_t len;
    /* Connections that go there now, raised and lowered by the proxy; NULL: not counted. `release`
     * is called once when the proxy has no more use for the counter. */
    atomic_uint *connections;
} proxy_target;

/* What the routing callback decides for one connection. */
typedef struct proxy_plan {
    bool terminate;          /* end TLS here with `certificate`; otherwise pass through */
    bool h2;                 /* ALPN h2 is offered (terminate only) */
    cert_entry *certificate; /* a reference that the proxy gives back with cert_entry_unref */
    proxy_target targets[PROXY_TARGETS_MAX]; /* in order of preference */
    size_t target_count;
    void *hold; /* given to release() when the connection has ended; may be NULL */
    void (*release)(void *hold);
} proxy_plan;

/* Decides for one server name; called on worker threads, must not block. Non-zero closes the
 * connection; err goes to the log. */
typedef int proxy_route_fn(void *user, const char *sni, proxy_plan *plan, dstack_error *err);

typedef struct proxy_config {
    struct sockaddr_in listen;
    unsigned workers;         /* 0: one per processor */
    unsigned max_connections; /* per worker; 0: 16384 */
    int64_t handshake_ms;     /* ClientHello, and again the TLS handshake */
    int64_t connect_ms;
    int64_t idle_ms; /* no progress in either direction */
    int64_t shutdown_ms;
    int64_t total_ms;
    proxy_route_fn *route;
    void *user;
} proxy_config;

typedef struct proxy_stats {
    atomic_ullong accepted, refused, terminated, passed, failed, bytes;
    atomic_uint open;
} proxy_stats;

typedef struct proxy proxy;

/* Starts the workers. DSTACK_E_IO when the address can't be had. */
int proxy_start(proxy **out, const proxy_config *config, dstack_error *err);
const proxy_stats *proxy_statistics(const proxy *p);
/* The port in use (for port 0 in the configuration). */
uint16_t proxy_port(const proxy *p);
/* Closes listeners, gives open connections `drain_ms`, ends the workers and frees. */
void proxy_stop(proxy *p, int64_t drain_ms);

#endif
