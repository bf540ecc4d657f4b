/* Closes connections that never finish a request. The transport's own idle time-out is reset by
 * every byte, so a peer that sends one now and then would hold its connection for ever. */
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "service/http_internal.h"
#include "service/metrics.h"

#define ROUND_S 1
#define DEFAULT_TIMEOUT_S 120

void http_reaper_add(http_connection *connection) {
    http_listener *listener = connection->listener;
    pthread_mutex_lock(&listener->lock);
    connection->since_ms = clock_monotonic_ms();
    connection->next = listener->connections;
    if (connection->next != NULL) {
        connection->next->previous = connection;
    }
    listener->connections = connection;
    pthread_mutex_unlock(&listener->lock);
    metrics_add(listener->open_connections, 1);
}

void http_reaper_remove(http_connection *connection) {
    http_listener *listener = connection->listener;
    pthread_mutex_lock(&listener->lock);
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        listener->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    pthread_mutex_unlock(&listener->lock);
    metrics_add(listener->open_connections, -1);
}

void http_reaper_busy(http_connection *connection, bool busy) {
    pthread_mutex_lock(&connection->listener->lock);
    connection->busy = busy;
    connection->since_ms = clock_monotonic_ms();
    pthread_mutex_unlock(&connection->listener->lock);
}

/* Shutting the socket down wakes the listener's thread, which closes it. The descriptor is valid:
 * a connection leaves the list before its socket is closed. */
static void reap(http_listener *listener, int64_t now) {
    unsigned seconds = listener->config.limits.request_timeout_s;
    int64_t limit = (int64_t)(seconds != 0 ? seconds : DEFAULT_TIMEOUT_S) * 1000;
    pthread_mutex_lock(&listener->lock);
    for (http_connection *c = listener->connections; c != NULL; c = c->next) {
        if (!c->busy && now - c->since_ms > limit) {
            shutdown(c->fd, SHUT_RDWR);
            metrics_add(listener->timeouts, 1);
        }
    }
    pthread_mutex_unlock(&listener->lock);
}

static void *reap_loop(void *user) {
    http_server *server = user;
    pthread_mutex_lock(&server->lock);
    while (!server->stop_reaper) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += ROUND_S;
        pthread_cond_timedwait(&server->reaper_wake, &server->lock, &until);
        /* listeners are only added, and only at the front, while this runs */
        http_listener *first = server->listeners;
        pthread_mutex_unlock(&server->lock);
        int64_t now = clock_monotonic_ms();
        for (http_listener *l = first; l != NULL; l = l->next) {
            reap(l, now);
        }
        pthread_mutex_lock(&server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

bool http_reaper_start(http_server *server) {
    server->reaping = pthread_create(&server->reaper, NULL, reap_loop, server) == 0;
    return server->reaping;
}

void http_reaper_stop(http_server *server) {
    if (server->reaping) {
        pthread_mutex_lock(&server->lock);
        server->stop_reaper = true;
        pthread_cond_signal(&server->reaper_wake);
        pthread_mutex_unlock(&server->lock);
        pthread_join(server->reaper, NULL);
        server->reaping = false;
    }
}
