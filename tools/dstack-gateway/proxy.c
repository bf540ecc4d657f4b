#include "proxy.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "connection.h"
#include "service/log.h"

#define EVENTS_MAX 256
#define SWEEP_MS 500
#define BACKLOG 4096
/* P-256 certificates only, AES-GCM first, the server's order decides: what this library does best. */
#define TLS_PRIORITY                                                                               \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"       \
    "+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:%SERVER_PRECEDENCE"

typedef struct worker {
    struct proxy *proxy;
    pthread_t thread;
    int epoll_fd;
    int listen_fd; /* -1 once draining */
    int wake_fd;
    connection *first;
    unsigned count;
    connection_env env;
} worker;

struct proxy {
    proxy_config config;
    proxy_stats stats;
    gnutls_priority_t priority;
    gnutls_datum_t ticket_key;
    worker *workers;
    size_t worker_count; /* started */
    uint16_t port;
    atomic_bool stopping;
    atomic_llong stop_by; /* monotonic ms */
};

/* Events carry the connection's address; the low bit tells which of its sockets is meant. */
static uint64_t tag_client(connection *c) {
    return (uint64_t)(uintptr_t)c;
}

static uint64_t tag_upstream(connection *c) {
    return (uint64_t)(uintptr_t)c | 1;
}

static void watch(worker *w, int fd, bool *registered, uint32_t *current, uint32_t wanted,
                  uint64_t tag) {
    if (*registered && *current == wanted) {
        return;
    }
    if (wanted == 0) {
        /* A socket that stays registered reports its hang-up again and again. */
        if (*registered) {
            epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            *registered = false;
        }
        return;
    }
    struct epoll_event event = {.events = wanted, .data.u64 = tag};
    if (epoll_ctl(w->epoll_fd, *registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0) {
        *registered = true;
        *current = wanted;
    }
}

static void forget(worker *w, connection *c) {
    if (c->previous != NULL) {
        c->previous->next = c->next;
    } else {
        w->first = c->next;
    }
    if (c->next != NULL) {
        c->next->previous = c->previous;
    }
    w->count--;
    atomic_fetch_sub(&w->proxy->stats.open, 1);
    connection_close(c, &w->env);
    free(c);
}

/* Advances a connection and settles what it waits for. */
static void drive(worker *w, connection *c) {
    if (!connection_advance(c, &w->env)) {
        c->dead = true; /* freed after the batch: later events of it may mean this address */
        return;
    }
    watch(w, c->relay.client_fd, &c->client_registered, &c->client_events,
          connection_client_events(c), tag_client(c));
    if (c->relay.upstream_fd >= 0) {
        watch(w, c->relay.upstream_fd, &c->upstream_registered, &c->upstream_events,
              connection_upstream_events(c), tag_upstream(c));
    }
}

static void adopt(worker *w, int fd) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    connection *c = w->count < w->proxy->config.max_connections ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        atomic_fetch_add(&w->proxy->stats.refused, 1);
        close(fd);
        return;
    }
    c->relay.client_fd = fd;
    c->relay.upstream_fd = -1;
    c->started = w->env.now;
    c->deadline = w->env.now + w->proxy->config.handshake_ms;
    c->next = w->first;
    if (w->first != NULL) {
        w->first->previous = c;
    }
    w->first = c;
    w->count++;
    atomic_fetch_add(&w->proxy->stats.accepted, 1);
    atomic_fetch_add(&w->proxy->stats.open, 1);
    watch(w, fd, &c->client_registered, &c->client_events, EPOLLIN, tag_client(c));
    c->dead = !c->client_registered;
}

static void accept_all(worker *w) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        adopt(w, fd);
    }
}

/* Drops dead and expired connections, and gives another turn to those that stopped for fairness. */
static bool sweep(worker *w, bool check_time) {
    bool more = false;
    for (connection *c = w->first, *next; c != NULL; c = next) {
        next = c->next;
        if (!c->dead && c->more) {
            drive(w, c);
            more = more || (!c->dead && c->more);
        }
        if (c->dead || (check_time && connection_expired(c, &w->env))) {
            forget(w, c);
        }
    }
    return more;
}

static void stop_accepting(worker *w) {
    if (w->listen_fd >= 0) {
        close(w->listen_fd);
        w->listen_fd = -1;
    }
}

static void *work(void *user) {
    worker *w = user;
    struct epoll_event events[EVENTS_MAX];
    int64_t next_sweep = 0;
    bool more = false;
    for (;;) {
        int count = epoll_wait(w->epoll_fd, events, EVENTS_MAX, more ? 0 : SWEEP_MS);
        w->env.now = clock_monotonic_ms();
        bool dirty = more;
        for (int i = 0; i < count; i++) {
            uint64_t tag = events[i].data.u64;
            if (tag == 0) {
                accept_all(w);
            } else if (tag == 2) {
                uint64_t ignored;
                (void)!read(w->wake_fd, &ignored, sizeof ignored);
            } else {
                connection *c = (connection *)(uintptr_t)(tag & ~(uint64_t)1);
                if (!c->dead) {
                    drive(w, c);
                }
                dirty = dirty || c->dead || c->more;
            }
        }
        bool check_time = w->env.now >= next_sweep;
        if (check_time) {
            next_sweep = w->env.now + SWEEP_MS;
        }
        if (dirty || check_time) {
            more = sweep(w, check_time);
        }
        if (atomic_load(&w->proxy->stopping)) {
            stop_accepting(w);
            if (w->count == 0 || w->env.now >= atomic_load(&w->proxy->stop_by)) {
                break;
            }
        }
    }
    while (w->first != NULL) {
        forget(w, w->first);
    }
    relay_pool_clear(&w->env.pool);
    return NULL;
}

static int open_listener(proxy *p, int *out, dstack_error *err) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot make a socket");
    }
    struct sockaddr_in address = p->config.listen;
    address.sin_port = htons(p->port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    socklen_t len = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        int rc = error_set_errno(err, DSTACK_E_IO, "cannot listen on port %u", p->port);
        close(fd);
        return rc;
    }
    p->port = ntohs(address.sin_port);
    *out = fd;
    return 0;
}

static int start_worker(proxy *p, worker *w, dstack_error *err) {
    *w = (worker){.proxy = p, .listen_fd = -1};
    w->env = (connection_env){.config = &p->config,
                              .stats = &p->stats,
                              .priority = p->priority,
                              .ticket_key = p->ticket_key,
                              .now = clock_monotonic_ms()};
    int rc = open_listener(p, &w->listen_fd, err);
    if (rc != 0) {
        return rc;
    }
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event on_accept = {.events = EPOLLIN, .data.u64 = 0};
    struct epoll_event on_wake = {.events = EPOLLIN, .data.u64 = 2};
    if (w->epoll_fd < 0 || w->wake_fd < 0 ||
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->listen_fd, &on_accept) != 0 ||
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &on_wake) != 0 ||
        pthread_create(&w->thread, NULL, work, w) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot start a proxy worker");
        close(w->listen_fd);
        close(w->epoll_fd);
        close(w->wake_fd);
    }
    return rc;
}

int proxy_start(proxy **out, const proxy_config *config, dstack_error *err) {
    proxy *p = calloc(1, sizeof *p);
    unsigned workers =
        config->workers > 0 ? config->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (p == NULL || (p->workers = calloc(workers, sizeof *p->workers)) == NULL) {
        free(p);
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    p->config = *config;
    p->config.max_connections = config->max_connections > 0 ? config->max_connections : 16384;
    p->port = ntohs(config->listen.sin_port);
    int rc = 0;
    if (gnutls_priority_init(&p->priority, TLS_PRIORITY, NULL) < 0 ||
        gnutls_session_ticket_key_generate(&p->ticket_key) < 0) {
        rc = error_set(err, DSTACK_E_INTERNAL, "cannot set up TLS");
    }
    for (unsigned i = 0; rc == 0 && i < workers; i++) {
        rc = start_worker(p, &p->workers[i], err);
        p->worker_count += rc == 0;
    }
    if (rc != 0) {
        proxy_stop(p, 0);
        return rc;
    }
    *out = p;
    return 0;
}

const proxy_stats *proxy_statistics(const proxy *p) {
    return &p->stats;
}

uint16_t proxy_port(const proxy *p) {
    return p->port;
}

void proxy_stop(proxy *p, int64_t drain_ms) {
    if (p == NULL) {
        return;
    }
    atomic_store(&p->stop_by, clock_monotonic_ms() + drain_ms);
    atomic_store(&p->stopping, true);
    for (size_t i = 0; i < p->worker_count; i++) {
        uint64_t one = 1;
        (void)!write(p->workers[i].wake_fd, &one, sizeof one);
    }
    for (size_t i = 0; i < p->worker_count; i++) {
        pthread_join(p->workers[i].thread, NULL);
        close(p->workers[i].epoll_fd);
        close(p->workers[i].wake_fd);
    }
    gnutls_priority_deinit(p->priority);
    if (p->ticket_key.data != NULL) {
        gnutls_memset(p->ticket_key.data, 0, p->ticket_key.size);
        gnutls_free(p->ticket_key.data);
    }
    free(p->workers);
    free(p);
}
