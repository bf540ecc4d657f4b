#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cursor.h"
#include "client_hello.h"
#include "service/log.h"

#define PEEK_MAX 16640 /* a full record with its header, and a little */

/* Outcome of one state's step. */
typedef enum step { STEP_WAIT, STEP_NEXT, STEP_END } step;

static step refuse(connection *c, connection_env *env, const char *sni, const char *why) {
    (void)c;
    atomic_fetch_add(&env->stats->refused, 1);
    LOG_DEBUG("connection refused", "sni", sni, "reason", why);
    return STEP_END;
}

/* The hello stays in the socket, so that GnuTLS or the app reads it as if nobody had looked. While
 * it is incomplete the socket reports itself readable only once more bytes have come. */
static step look_at_hello(connection *c, connection_env *env) {
    uint8_t bytes[PEEK_MAX];
    ssize_t got = recv(c->relay.client_fd, bytes, sizeof bytes, MSG_PEEK);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? STEP_WAIT : STEP_END;
    }
    char sni[SNI_SIZE] = "";
    switch (client_hello_sni(bytes_of(bytes, (size_t)got), sni)) {
    case SNI_FOUND:
        break;
    case SNI_MORE: {
        int waiting_for = (int)got + 1;
        int have = 0;
        socklen_t len = sizeof have;
        if (got == 0 || got == PEEK_MAX ||
            (getsockopt(c->relay.client_fd, SOL_SOCKET, SO_RCVLOWAT, &have, &len) == 0 &&
             have == waiting_for)) {
            return refuse(c, env, "", "the client ended before its ClientHello did");
        }
        setsockopt(c->relay.client_fd, SOL_SOCKET, SO_RCVLOWAT, &waiting_for, sizeof waiting_for);
        return STEP_WAIT;
    }
    case SNI_ABSENT:
        return refuse(c, env, "", "no server name");
    case SNI_INVALID:
        return refuse(c, env, "", "not a TLS ClientHello");
    }
    setsockopt(c->relay.client_fd, SOL_SOCKET, SO_RCVLOWAT, &(int){1}, sizeof(int));
    dstack_error err = {0};
    if (env->config->route(env->config->user, sni, &c->plan, &err) != 0) {
        return refuse(c, env, sni, err.message);
    }
    c->planned = true;
    if (c->plan.target_count == 0) {
        return refuse(c, env, sni, "no instance to connect to");
    }
    return STEP_NEXT;
}

static int set_up_tls(connection *c, connection_env *env) {
    gnutls_session_t session = NULL;
    int rc = gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (rc < 0) {
        return rc;
    }
    c->relay.tls = session;
    rc = gnutls_priority_set(session, env->priority);
    rc = rc < 0 ? rc
                : gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
                                         cert_entry_credentials(c->plan.certificate));
    rc = rc < 0 ? rc : gnutls_session_ticket_enable_server(session, &env->ticket_key);
    if (rc >= 0 && c->plan.h2) {
        gnutls_datum_t protocol = {(unsigned char *)"h2", 2};
        rc = gnutls_alpn_set_protocols(session, &protocol, 1, GNUTLS_ALPN_MANDATORY);
    }
    gnutls_transport_set_int(session, c->relay.client_fd);
    gnutls_handshake_set_timeout(session, 0); /* the worker keeps the time */
    return rc;
}

static step shake_hands(connection *c, connection_env *env) {
    if (c->relay.tls == NULL && set_up_tls(c, env) < 0) {
        return STEP_END;
    }
    int rc = gnutls_handshake(c->relay.tls);
    if (rc == GNUTLS_E_SUCCESS) {
        return STEP_NEXT;
    }
    if (!gnutls_error_is_fatal(rc)) {
        return STEP_WAIT;
    }
    gnutls_alert_send_appropriate(c->relay.tls, rc);
    LOG_DEBUG("handshake failed", "reason", gnutls_strerror(rc));
    return STEP_END;
}

static void count_target(connection *c, int change) {
    atomic_uint *counter = c->plan.targets[c->target].connections;
    if (counter != NULL) {
        atomic_fetch_add(counter, (unsigned)change);
    }
}

static void drop_upstream(connection *c) {
    if (c->relay.upstream_fd >= 0) {
        close(c->relay.upstream_fd);
        c->relay.upstream_fd = -1;
        c->upstream_registered = false;
        c->upstream_events = 0;
        count_target(c, -1);
    }
}

static bool start_connect(connection *c) {
    const proxy_target *target = &c->plan.targets[c->target];
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->relay.upstream_fd = fd;
    count_target(c, 1);
    int rc = connect(fd, (const struct sockaddr *)&target->address, target->len);
    return rc == 0 || errno == EINPROGRESS;
}

/* Tries the targets in their order; a refused one gives way to the next at once. */
static step connect_app(connection *c, connection_env *env) {
    for (; c->target < c->plan.target_count; c->target++) {
        if (c->relay.upstream_fd < 0 && !start_connect(c)) {
            drop_upstream(c);
            continue;
        }
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        if (getpeername(c->relay.upstream_fd, (struct sockaddr *)&peer, &len) == 0) {
            return STEP_NEXT;
        }
        int failure = 0;
        len = sizeof failure;
        getsockopt(c->relay.upstream_fd, SOL_SOCKET, SO_ERROR, &failure, &len);
        if (failure == 0) {
            return STEP_WAIT;
        }
        drop_upstream(c);
    }
    c->target = 0;
    atomic_fetch_add(&env->stats->failed, 1);
    LOG_DEBUG("no target could be reached");
    return STEP_END;
}

static step move_bytes(connection *c, connection_env *env) {
    c->more = false;
    switch (relay_pump(&c->relay, &env->pool)) {
    case RELAY_WAIT:
        break;
    case RELAY_MORE:
        c->more = true;
        break;
    case RELAY_DONE:
    case RELAY_BROKEN:
        return STEP_END;
    }
    if (c->relay.moved != c->last_moved) {
        c->last_moved = c->relay.moved;
        c->last_progress = env->now;
    }
    return STEP_WAIT;
}

static void enter(connection *c, connection_env *env, connection_state state) {
    c->state = state;
    c->deadline =
        env->now + (state == CONN_CONNECT ? env->config->connect_ms : env->config->handshake_ms);
    if (state == CONN_RELAY) {
        c->last_progress = env->now;
        atomic_fetch_add(c->plan.terminate ? &env->stats->terminated : &env->stats->passed, 1);
    }
}

static connection_state next_state(const connection *c) {
    switch (c->state) {
    case CONN_HELLO:
        return c->plan.terminate ? CONN_HANDSHAKE : CONN_CONNECT;
    case CONN_HANDSHAKE:
        return CONN_CONNECT;
    default:
        return CONN_RELAY;
    }
}

bool connection_advance(connection *c, connection_env *env) {
    static step (*const steps[])(connection *, connection_env *) = {
        [CONN_HELLO] = look_at_hello,
        [CONN_CONNECT] = connect_app,
        [CONN_HANDSHAKE] = shake_hands,
        [CONN_RELAY] = move_bytes,
    };
    for (;;) {
        switch (steps[c->state](c, env)) {
        case STEP_WAIT:
            return true;
        case STEP_END:
            return false;
        case STEP_NEXT:
            enter(c, env, next_state(c));
        }
    }
}

bool connection_expired(const connection *c, const connection_env *env) {
    if (env->now - c->started > env->config->total_ms) {
        return true;
    }
    if (c->state != CONN_RELAY) {
        return env->now > c->deadline;
    }
    int64_t limit = env->config->idle_ms;
    /* One side has ended and the other was only told so: no need to wait as long. */
    bool closing = (c->relay.up.read_eof && !c->relay.up.finished) ||
                   (c->relay.down.read_eof && !c->relay.down.finished);
    if (closing && env->config->shutdown_ms < limit) {
        limit = env->config->shutdown_ms;
    }
    return env->now - c->last_progress > limit;
}

uint32_t connection_client_events(const connection *c) {
    switch (c->state) {
    case CONN_HELLO:
        return EPOLLIN;
    case CONN_HANDSHAKE:
        return gnutls_record_get_direction(c->relay.tls) == 0 ? EPOLLIN : EPOLLOUT;
    case CONN_RELAY:
        return relay_client_events(&c->relay);
    default:
        return 0;
    }
}

uint32_t connection_upstream_events(const connection *c) {
    if (c->relay.upstream_fd < 0) {
        return 0;
    }
    return c->state == CONN_RELAY ? relay_upstream_events(&c->relay) : EPOLLOUT;
}

void connection_close(connection *c, connection_env *env) {
    atomic_fetch_add(&env->stats->bytes, c->relay.moved);
    drop_upstream(c);
    relay_clear(&c->relay, &env->pool);
    if (c->relay.tls != NULL) {
        gnutls_deinit(c->relay.tls);
    }
    close(c->relay.client_fd);
    if (c->planned) {
        cert_entry_unref(c->plan.certificate);
        if (c->plan.release != NULL) {
            c->plan.release(c->plan.hold);
        }
    }
}
