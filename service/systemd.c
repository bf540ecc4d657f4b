#include "service/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* One datagram to a unix socket; '@' begins an abstract name. */
static bool send_datagram(const char *name, const void *data, size_t len) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(name);
    if (size < 2 || size >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@')) {
        return false;
    }
    memcpy(address.sun_path, name, size);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    DSTACK_AUTO(fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    ssize_t sent;
    do {
        sent = sendto(fd, data, len, MSG_NOSIGNAL, (const struct sockaddr *)&address,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)len;
}

void systemd_notify(const char *state) {
    const char *name = getenv("NOTIFY_SOCKET");
    if (name != NULL) {
        send_datagram(name, state, strlen(state));
    }
}

/* A decimal number in the environment; `none` when it is absent or something else. */
static uint64_t number_of(const char *variable, uint64_t none) {
    const char *text = getenv(variable);
    char *end;
    if (text == NULL || *text < '0' || *text > '9') {
        return none;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 ? number : none;
}

int systemd_listen_fds(void) {
    int count = 0;
    if (number_of("LISTEN_PID", 0) == (uint64_t)getpid()) {
        uint64_t given = number_of("LISTEN_FDS", 0);
        count = given < 1024 ? (int)given : 0;
    }
    for (int fd = SYSTEMD_LISTEN_FDS_START; fd < SYSTEMD_LISTEN_FDS_START + count; fd++) {
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
            count = fd - SYSTEMD_LISTEN_FDS_START;
            break;
        }
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return count;
}

uint64_t systemd_watchdog_us(void) {
    uint64_t self = (uint64_t)getpid();
    return number_of("WATCHDOG_PID", self) == self ? number_of("WATCHDOG_USEC", 0) : 0;
}

/* Values with line breaks carry their length, little endian, instead of '='. */
void systemd_journal_put(dstack_buf *entry, const char *name, const char *value) {
    size_t len = strlen(value);
    buf_put_str(entry, name);
    if (memchr(value, '\n', len) == NULL) {
        buf_put_u8(entry, '=');
    } else {
        buf_put_u8(entry, '\n');
        for (unsigned shift = 0; shift < 64; shift += 8) {
            buf_put_u8(entry, (uint8_t)((uint64_t)len >> shift));
        }
    }
    buf_put(entry, value, len);
    buf_put_u8(entry, '\n');
}

bool systemd_journal_send(dstack_bytes entry) {
    return send_datagram(JOURNAL_SOCKET, entry.data, entry.len);
}
