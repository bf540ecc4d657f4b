#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Rounds of one pump before other connections get their turn. */
#define ROUNDS_MAX 16

enum io { IO_AGAIN = -1, IO_FAILED = -2 };

static ssize_t client_read(relay *r, void *data, size_t size) {
    if (r->tls == NULL) {
        ssize_t got = recv(r->client_fd, data, size, 0);
        return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_FAILED;
    }
    ssize_t got = gnutls_record_recv(r->tls, data, size);
    if (got >= 0) {
        return got;
    }
    if (got == GNUTLS_E_PREMATURE_TERMINATION) {
        return 0; /* many clients just close: counts as their end of data */
    }
    /* TLS 1.3 tickets and key updates surface as non-fatal codes. */
    return gnutls_error_is_fatal((int)got) ? IO_FAILED : IO_AGAIN;
}

static ssize_t client_write(relay *r, relay_half *half, const void *data, size_t size) {
    if (r->tls == NULL) {
        ssize_t put = send(r->client_fd, data, size, MSG_NOSIGNAL);
        return put >= 0 ? put : errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_FAILED;
    }
    /* A write that met a full socket is finished with no new data before another begins. */
    ssize_t put = half->tls_pending > 0 ? gnutls_record_send(r->tls, NULL, 0)
                                        : gnutls_record_send(r->tls, data, size);
    if (put >= 0) {
        half->tls_pending = 0;
        return put;
    }
    if (put == GNUTLS_E_AGAIN || put == GNUTLS_E_INTERRUPTED) {
        half->tls_pending = (uint32_t)size;
        return IO_AGAIN;
    }
    return IO_FAILED;
}

static ssize_t upstream_read(relay *r, void *data, size_t size) {
    ssize_t got = recv(r->upstream_fd, data, size, 0);
    return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_FAILED;
}

static ssize_t upstream_write(relay *r, const void *data, size_t size) {
    ssize_t put = send(r->upstream_fd, data, size, MSG_NOSIGNAL);
    return put >= 0 ? put : errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_FAILED;
}

static bool take_buffer(relay_half *half, relay_pool *pool) {
    if (half->buffer == NULL) {
        half->buffer = pool->count > 0 ? pool->free[--pool->count] : malloc(RELAY_BUFFER_SIZE);
    }
    return half->buffer != NULL;
}

static void give_buffer(relay_half *half, relay_pool *pool) {
    if (half->buffer == NULL) {
        return;
    }
    if (pool->count < sizeof pool->free / sizeof *pool->free) {
        pool->free[pool->count++] = half->buffer;
    } else {
        free(half->buffer);
    }
    half->buffer = NULL;
    half->start = half->end = 0;
}

/* Passes an end of data on. True when it is done (or can't be done any more). */
static bool finish_half(relay *r, relay_half *half) {
    if (half == &r->up) {
        shutdown(r->upstream_fd, SHUT_WR);
        return true;
    }
    if (r->tls == NULL) {
        shutdown(r->client_fd, SHUT_WR);
        return true;
    }
    int rc = gnutls_bye(r->tls, GNUTLS_SHUT_WR);
    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
        return false;
    }
    shutdown(r->client_fd, SHUT_WR);
    return true;
}

enum step { STEP_IDLE, STEP_MOVED, STEP_BROKEN };

static enum step step_half(relay *r, relay_half *half, relay_pool *pool) {
    if (half->finished) {
        return STEP_IDLE;
    }
    enum step result = STEP_IDLE;
    if (half->start == half->end && !half->read_eof) {
        if (!take_buffer(half, pool)) {
            return STEP_BROKEN;
        }
        half->start = half->end = 0;
        ssize_t got = half == &r->up ? client_read(r, half->buffer, RELAY_BUFFER_SIZE)
                                     : upstream_read(r, half->buffer, RELAY_BUFFER_SIZE);
        if (got == IO_FAILED) {
            return STEP_BROKEN;
        }
        if (got >= 0) {
            half->read_eof = got == 0;
            half->end = (uint32_t)got;
            result = STEP_MOVED;
        }
    }
    if (half->start < half->end) {
        const uint8_t *data = half->buffer + half->start;
        size_t size = half->end - half->start;
        ssize_t put =
            half == &r->up ? upstream_write(r, data, size) : client_write(r, half, data, size);
        if (put == IO_FAILED) {
            return STEP_BROKEN;
        }
        if (put > 0) {
            half->start += (uint32_t)put;
            r->moved += (uint64_t)put;
            result = STEP_MOVED;
        }
    }
    if (half->start == half->end) {
        give_buffer(half, pool);
        if (half->read_eof && finish_half(r, half)) {
            half->finished = true;
            result = STEP_MOVED;
        }
    }
    return result;
}

relay_result relay_pump(relay *r, relay_pool *pool) {
    for (int round = 0; round < ROUNDS_MAX; round++) {
        enum step up = step_half(r, &r->up, pool);
        enum step down = up == STEP_BROKEN ? STEP_BROKEN : step_half(r, &r->down, pool);
        if (up == STEP_BROKEN || down == STEP_BROKEN) {
            return RELAY_BROKEN;
        }
        if (r->up.finished && r->down.finished) {
            return RELAY_DONE;
        }
        if (up == STEP_IDLE && down == STEP_IDLE) {
            return RELAY_WAIT;
        }
    }
    return RELAY_MORE;
}

static bool wants_read(const relay_half *half) {
    return !half->read_eof && half->start == half->end;
}

static bool wants_write(const relay_half *half) {
    return half->start < half->end || (half->read_eof && !half->finished);
}

uint32_t relay_client_events(const relay *r) {
    return (wants_read(&r->up) ? (uint32_t)EPOLLIN : 0) |
           (wants_write(&r->down) ? (uint32_t)EPOLLOUT : 0);
}

uint32_t relay_upstream_events(const relay *r) {
    return (wants_read(&r->down) ? (uint32_t)EPOLLIN : 0) |
           (wants_write(&r->up) ? (uint32_t)EPOLLOUT : 0);
}

void relay_clear(relay *r, relay_pool *pool) {
    give_buffer(&r->up, pool);
    give_buffer(&r->down, pool);
}

void relay_pool_clear(relay_pool *pool) {
    while (pool->count > 0) {
        free(pool->free[--pool->count]);
    }
}
