/* One proxied connection: a small state machine that a worker drives when a socket is ready. */
#ifndef GATEWAY_CONNECTION_H
#define GATEWAY_CONNECTION_H

#include "proxy.h"
#include "relay.h"

typedef enum connection_state {
    CONN_HELLO,     /* looking at the ClientHello, nothing read yet */
    CONN_CONNECT,   /* connecting to the app (passthrough: before relaying) */
    CONN_HANDSHAKE, /* TLS handshake with the client (terminate: before connecting) */
    CONN_RELAY,
} connection_state;

typedef struct connection {
    struct connection *next, *previous; /* list of the worker */
    connection_state state;
    relay relay; /* holds client_fd, upstream_fd, tls */
    proxy_plan plan;
    size_t target;         /* the one being tried or used */
    int64_t started;       /* monotonic ms */
    int64_t deadline;      /* of the present state */
    int64_t last_progress; /* and the bytes moved then */
    uint64_t last_moved;
    uint32_t client_events, upstream_events; /* registered with epoll */
    bool client_registered, upstream_registered;
    bool more; /* stopped for fairness: wants another turn without an event */
    bool planned, dead;
} connection;

/* What a connection needs of its worker. */
typedef struct connection_env {
    const proxy_config *config;
    proxy_stats *stats;
    gnutls_priority_t priority;
    gnutls_datum_t ticket_key;
    relay_pool pool;
    int64_t now;
} connection_env;

/* Goes on as far as possible without waiting. False when the connection has ended. */
bool connection_advance(connection *c, connection_env *env);
/* Whether a time limit has passed at env->now. */
bool connection_expired(const connection *c, const connection_env *env);
/* Events that the client and upstream sockets now wait for (0: none). */
uint32_t connection_client_events(const connection *c);
uint32_t connection_upstream_events(const connection *c);
/* Closes everything that it holds. */
void connection_close(connection *c, connection_env *env);

#endif
