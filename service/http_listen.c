#include "service/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"
#include "client/http_url.h"

#define BACKLOG 512

static int open_socket(int family, http_listen_socket *out, dstack_error *err) {
    out->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return out->fd >= 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "socket");
}

/* A socket file that nobody answers on is what a killed process left behind. */
static int clear_dead_socket(const struct sockaddr_un *address, dstack_error *err) {
    struct stat info;
    if (lstat(address->sun_path, &info) != 0) {
        return 0;
    }
    if (!S_ISSOCK(info.st_mode)) {
        return error_set(err, DSTACK_E_EXISTS, "%s exists and is not a socket", address->sun_path);
    }
    DSTACK_AUTO(fd) int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe >= 0 && (connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ||
                       errno == EAGAIN)) {
        return error_set(err, DSTACK_E_EXISTS, "another process listens on %s", address->sun_path);
    }
    unlink(address->sun_path);
    return 0;
}

static int listen_unix(const char *path, mode_t mode, http_listen_socket *out, dstack_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) == 0 || strlen(path) >= sizeof address.sun_path) {
        return error_set(err, DSTACK_E_ARGUMENT, "unix socket path must have 1 to 107 bytes");
    }
    strcpy(address.sun_path, path);
    int rc = clear_dead_socket(&address, err);
    rc = rc != 0 ? rc : open_socket(AF_UNIX, out, err);
    if (rc != 0) {
        return rc;
    }
    /* The mode is set on the descriptor before bind, so that the file is never more open. */
    mode_t wanted = mode != 0 ? mode : 0600;
    fchmod(out->fd, wanted);
    if (bind(out->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "listening on %s", path);
    }
    out->unix_path = strdup(path);
    if (chmod(path, wanted) != 0 || listen(out->fd, BACKLOG) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "listening on %s", path);
    }
    return 0;
}

static int read_address(const char *text, struct sockaddr_storage *address, socklen_t *len,
                        dstack_error *err) {
    char url[300];
    const char *port = strrchr(text, ':');
    if (port == NULL || strlen(text) > 280) {
        return error_set(err, DSTACK_E_ARGUMENT, "'%s' is not <ip>:<port>, unix:<path> or fd:<n>",
                         text);
    }
    char *end;
    unsigned long number = strtoul(port + 1, &end, 10);
    if (port[1] < '0' || port[1] > '9' || *end != 0 || number > 65535) {
        return error_set(err, DSTACK_E_ARGUMENT, "port of '%s' is not a number up to 65535", text);
    }
    size_t host_len = (size_t)(port - text);
    memcpy(url, text, host_len);
    url[host_len] = 0;
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (strcmp(url, "*") == 0) {
        v6->sin6_family = AF_INET6;
        v6->sin6_addr = in6addr_any;
    } else if (url[0] == '[' && host_len > 2 && url[host_len - 1] == ']') {
        url[host_len - 1] = 0;
        v6->sin6_family = inet_pton(AF_INET6, url + 1, &v6->sin6_addr) == 1 ? AF_INET6 : 0;
    } else {
        v4->sin_family = inet_pton(AF_INET, url, &v4->sin_addr) == 1 ? AF_INET : 0;
    }
    if (address->ss_family == AF_INET6) {
        v6->sin6_port = htons((uint16_t)number);
        *len = sizeof *v6;
    } else if (address->ss_family == AF_INET) {
        v4->sin_port = htons((uint16_t)number);
        *len = sizeof *v4;
    } else {
        return error_set(err, DSTACK_E_ARGUMENT, "'%s' does not start with an IP address", text);
    }
    return 0;
}

static int listen_tcp(const char *text, http_listen_socket *out, dstack_error *err) {
    struct sockaddr_storage address;
    socklen_t len = 0;
    int rc = read_address(text, &address, &len, err);
    rc = rc != 0 ? rc : open_socket(address.ss_family, out, err);
    if (rc != 0) {
        return rc;
    }
    int on = 1;
    int v6only = text[0] != '*';
    setsockopt(out->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.ss_family == AF_INET6) {
        setsockopt(out->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    }
    if (bind(out->fd, (struct sockaddr *)&address, len) != 0 || listen(out->fd, BACKLOG) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "listening on %s", text);
    }
    getsockname(out->fd, (struct sockaddr *)&address, &len);
    out->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                    : ((struct sockaddr_in *)&address)->sin_port);
    return 0;
}

static int adopt_fd(const char *text, http_listen_socket *out, dstack_error *err) {
    char *end;
    long fd = strtol(text, &end, 10);
    int listening = 0;
    socklen_t size = sizeof listening;
    if (*text == 0 || *end != 0 || fd < 0 || fd > 65535 ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "fd:%s is not a listening socket", text);
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
    out->fd = (int)fd;
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getsockname(out->fd, (struct sockaddr *)&address, &len);
    out->port = address.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&address)->sin_port)
                : address.ss_family == AF_INET6
                    ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                    : 0;
    return 0;
}

int http_listen_open(const char *address, mode_t unix_mode, http_listen_socket *out,
                     dstack_error *err) {
    *out = (http_listen_socket){.fd = -1};
    int rc;
    if (strcmp(address, "none") == 0) {
        return 0;
    }
    if (strncmp(address, "unix:", 5) == 0) {
        rc = listen_unix(address + 5, unix_mode, out, err);
    } else if (strncmp(address, "fd:", 3) == 0) {
        rc = adopt_fd(address + 3, out, err);
    } else {
        rc = listen_tcp(address, out, err);
    }
    if (rc != 0) {
        if (out->fd >= 0) {
            close(out->fd);
        }
        free(out->unix_path);
        *out = (http_listen_socket){.fd = -1};
    }
    return rc;
}
