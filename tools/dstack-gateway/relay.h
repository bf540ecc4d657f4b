/* Moves bytes both ways between a client (plain or TLS) and an upstream socket, each direction on
 * its own, half-close passed on. No system calls but reads, writes and shutdowns; the caller waits. */
#ifndef GATEWAY_RELAY_H
#define GATEWAY_RELAY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#define RELAY_BUFFER_SIZE 65536

/* One direction. The buffer exists only while it holds bytes. */
typedef struct relay_half {
    uint8_t *buffer;
    uint32_t start, end;
    uint32_t tls_pending; /* size of a TLS write that was begun and must be repeated */
    bool read_eof;        /* nothing more will be read */
    bool finished;        /* and the other side was told */
} relay_half;

typedef struct relay {
    int client_fd;
    int upstream_fd;
    gnutls_session_t tls; /* towards the client; NULL: plain */
    relay_half up;        /* client to upstream */
    relay_half down;      /* upstream to client */
    uint64_t moved;       /* bytes written in either direction */
} relay;

typedef enum relay_result {
    RELAY_WAIT, /* nothing more to do until a socket is ready */
    RELAY_MORE, /* stopped for fairness: call again soon */
    RELAY_DONE, /* both directions ended in order */
    RELAY_BROKEN,
} relay_result;

/* Free buffers kept for reuse; one pool per worker thread. */
typedef struct relay_pool {
    uint8_t *free[64];
    size_t count;
} relay_pool;

relay_result relay_pump(relay *r, relay_pool *pool);
/* epoll events that each socket waits for. */
uint32_t relay_client_events(const relay *r);
uint32_t relay_upstream_events(const relay *r);
/* Gives buffers back. */
void relay_clear(relay *r, relay_pool *pool);
void relay_pool_clear(relay_pool *pool);

#endif
