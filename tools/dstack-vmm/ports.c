#include "ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/error.h"

const char *vm_port_protocol(const struct vm_port *port) {
    return port->udp ? "udp" : "tcp";
}

static bool parse_address(const char *text, struct sockaddr_storage *out, socklen_t *len) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        *len = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        *len = sizeof *v6;
        return true;
    }
    return false;
}

int vm_port_make(const char *protocol, const char *address, const char *fallback,
                 uint32_t host_port, uint32_t guest_port, struct vm_port *out, dstack_error *err) {
    struct sockaddr_storage parsed;
    socklen_t len;
    const char *text = address[0] != 0 ? address : fallback;
    memset(out, 0, sizeof *out);
    out->udp = strcmp(protocol, "udp") == 0;
    if (!out->udp && strcmp(protocol, "tcp") != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid protocol");
    }
    if (host_port == 0 || host_port > UINT16_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid host port");
    }
    if (guest_port == 0 || guest_port > UINT16_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid vm port");
    }
    if (strlen(text) >= sizeof out->address || !parse_address(text, &parsed, &len)) {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid host address");
    }
    memcpy(out->address, text, strlen(text) + 1);
    out->host_port = (uint16_t)host_port;
    out->vm_port = (uint16_t)guest_port;
    return 0;
}

static bool is_unspecified(const char *address) {
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

bool vm_port_conflict(const struct vm_port *a, const struct vm_port *b) {
    return a->udp == b->udp && a->host_port == b->host_port &&
           (strcmp(a->address, b->address) == 0 || is_unspecified(a->address) ||
            is_unspecified(b->address));
}

int vm_ports_check_unique(const struct vm_port *ports, size_t count, dstack_error *err) {
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (vm_port_conflict(&ports[i], &ports[j])) {
                return error_set(err, DSTACK_E_EXISTS, "duplicate host port mapping: %s %s:%u",
                                 vm_port_protocol(&ports[i]), ports[i].address, ports[i].host_port);
            }
        }
    }
    return 0;
}

static int check_free(const struct vm_port *port, dstack_error *err) {
    struct sockaddr_storage address;
    socklen_t len = 0;
    if (!parse_address(port->address, &address, &len)) {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid host address");
    }
    if (address.ss_family == AF_INET) {
        ((struct sockaddr_in *)&address)->sin_port = htons(port->host_port);
    } else {
        ((struct sockaddr_in6 *)&address)->sin6_port = htons(port->host_port);
    }
    DSTACK_AUTO(fd)
    int fd = socket(address.ss_family, (port->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "socket");
    }
    /* As QEMU does: connections in TIME_WAIT are no obstacle for it either. */
    if (!port->udp) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    }
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || (!port->udp && listen(fd, 1) != 0)) {
        dstack_status status = errno == EADDRINUSE ? DSTACK_E_EXISTS : DSTACK_E_IO;
        return error_set(err, status, "host port %s %s:%u cannot be used: %s",
                         vm_port_protocol(port), port->address, port->host_port,
                         errno == EADDRINUSE ? "another program listens there" : strerror(errno));
    }
    return 0;
}

int vm_ports_check_free(const struct vm_port *ports, size_t count, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = check_free(&ports[i], err);
    }
    return rc;
}
