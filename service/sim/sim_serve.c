/* Framing, and serving streams. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "sim/sim_server.h"
#include "tee/sim_protocol.h"

#define READ_SIZE 4096
#define BACKLOG 16
/* A connection that asks nothing for so long gives way to the next one. */
#define IDLE_MS 5000

/* Answers the first frame of pending when it is whole: its size, or 0 when more must arrive. */
static int answer_frame(sim_vm *vm, dstack_bytes pending, dstack_buf *out, size_t *used,
                        dstack_error *err) {
    *used = 0;
    if (pending.len < SIM_FRAME_HEAD) {
        return 0;
    }
    cursor c = cursor_init(pending);
    const uint32_t size = cursor_u32le(&c);
    if (size > SIM_MAX_REQUEST) {
        return error_set(err, DSTACK_E_LIMIT, "request of %u bytes, at most %zu are taken", size,
                         SIM_MAX_REQUEST);
    }
    if (cursor_left(&c) < size) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    const int rc = sim_vm_handle(vm, cursor_take(&c, size), &answer, err);
    if (rc != 0) {
        return rc;
    }
    sim_frame_write(bytes_of_buf(&answer), out);
    *used = c.pos;
    return buf_check(out, err);
}

int sim_session_feed(sim_session *session, sim_vm *vm, dstack_bytes input, dstack_buf *out,
                     dstack_error *err) {
    dstack_buf *pending = &session->pending;
    buf_put_bytes(pending, input);
    int rc = buf_check(pending, err);
    size_t done = 0;
    while (rc == 0) {
        size_t used = 0;
        rc = answer_frame(vm, bytes_of(pending->data + done, pending->len - done), out, &used, err);
        if (used == 0) {
            break;
        }
        done += used;
    }
    if (done > 0) {
        memmove(pending->data, pending->data + done, pending->len - done);
        pending->len -= done;
    }
    return rc;
}

void sim_session_clear(sim_session *session) {
    dstack_buf_clear(&session->pending);
}
DSTACK_AUTO_DEFINE_CLEAR(sim_session, sim_session, sim_session_clear)

/* Waits for fd; false when stop_fd is readable or the time is over (-1: no limit). */
static bool wait_for(int fd, short events, int stop_fd, int timeout_ms) {
    struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
    int ready;
    while ((ready = poll(fds, 2, timeout_ms)) < 0 && errno == EINTR) {
    }
    return ready > 0 && (fds[1].revents & (POLLIN | POLLHUP)) == 0;
}

static int send_all(int fd, dstack_bytes bytes, int stop_fd, dstack_error *err) {
    while (bytes.len > 0) {
        if (!wait_for(fd, POLLOUT, stop_fd, IDLE_MS)) {
            return error_set(err, DSTACK_E_TIMEOUT, "simulated TEE: the guest does not read");
        }
        const ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (sent < 0) {
            return error_set_errno(err, DSTACK_E_NETWORK, "simulated TEE: sending");
        }
        bytes = bytes_of(bytes.data + sent, bytes.len - (size_t)sent);
    }
    return 0;
}

static int serve(sim_vm *vm, int fd, int stop_fd, int idle_ms, dstack_error *err) {
    DSTACK_AUTO(sim_session) sim_session session = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    for (;;) {
        uint8_t block[READ_SIZE];
        if (!wait_for(fd, POLLIN, stop_fd, idle_ms)) {
            return 0;
        }
        const ssize_t got = recv(fd, block, sizeof block, MSG_DONTWAIT);
        if (got == 0) {
            return 0;
        }
        if (got < 0) {
            if (errno == EINTR || errno == EAGAIN) {
                continue;
            }
            return error_set_errno(err, DSTACK_E_NETWORK, "simulated TEE: receiving");
        }
        buf_reset(&out);
        int rc = sim_session_feed(&session, vm, bytes_of(block, (size_t)got), &out, err);
        if (rc != 0 || (rc = send_all(fd, bytes_of_buf(&out), stop_fd, err)) != 0) {
            return rc;
        }
    }
}

int sim_serve_fd(sim_vm *vm, int fd, int stop_fd, dstack_error *err) {
    return serve(vm, fd, stop_fd, -1, err);
}

static int address_of(const char *path, const char *suffix, struct sockaddr_un *out,
                      dstack_error *err) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    const int len = snprintf(out->sun_path, sizeof out->sun_path, "%s%s", path, suffix);
    if (len < 0 || (size_t)len >= sizeof out->sun_path) {
        return error_set(err, DSTACK_E_ARGUMENT, "socket path is too long: %s", path);
    }
    return 0;
}

/* A socket that nobody listens on any more is replaced; one that answers is not. The new one takes
 * the name only once it listens, so that a client never finds the name missing. */
static int listen_on(const char *path, int *out, dstack_error *err) {
    struct sockaddr_un address, fresh;
    int rc;
    if ((rc = address_of(path, "", &address, err)) != 0 ||
        (rc = address_of(path, ".new", &fresh, err)) != 0) {
        return rc;
    }
    DSTACK_AUTO(fd) int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe >= 0 && connect(probe, (struct sockaddr *)&address, sizeof address) == 0) {
        return error_set(err, DSTACK_E_EXISTS, "%s is served already", path);
    }
    unlink(fresh.sun_path);
    DSTACK_AUTO(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const mode_t mask = umask(0177);
    const bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&fresh, sizeof fresh) == 0;
    umask(mask);
    if (!bound || listen(fd, BACKLOG) != 0 || rename(fresh.sun_path, path) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "listening on %s", path);
    }
    *out = fd;
    fd = -1;
    return 0;
}

int sim_serve_socket(sim_vm *vm, const char *path, int stop_fd, dstack_error *err) {
    DSTACK_AUTO(fd) int listener = -1;
    int rc = listen_on(path, &listener, err);
    while (rc == 0 && wait_for(listener, POLLIN, stop_fd, -1)) {
        DSTACK_AUTO(fd) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED) {
                continue;
            }
            return error_set_errno(err, DSTACK_E_IO, "accepting on %s", path);
        }
        /* A client that breaks off harms itself alone. */
        (void)serve(vm, fd, stop_fd, IDLE_MS, NULL);
    }
    if (rc == 0) {
        unlink(path);
    }
    return rc;
}
