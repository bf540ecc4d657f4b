/* Bytes to and from an agent's sockets, for requests that no client would send. */
#ifndef TESTS_UNIT_AGENT_RAW_HTTP_H
#define TESTS_UNIT_AGENT_RAW_HTTP_H

#include "agent_fixture.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "serve/guest_api.h"

#define RAW_JSON "application/json"
#define RAW_PROTOBUF "application/octet-stream"
#define RAW_PAGE "text/html; charset=utf-8"

/* The sockets of a guest, by the names that `dstack-agent simulate` gives them. */
static inline void raw_listen(agent_fixture *f, const char *dir) {
    const struct {
        const char *name;
        const http_route *routes;
        size_t count;
    } sockets[] = {
        {"dstack.sock", agent_internal_routes, agent_internal_route_count},
        {"tappd.sock", agent_tappd_routes, agent_tappd_route_count},
        {"external.sock", agent_external_routes, agent_external_route_count},
        {"guest.sock", agent_guest_api_routes, agent_guest_api_route_count},
    };
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        char address[160];
        snprintf(address, sizeof address, "unix:%s/%s", dir, sockets[i].name);
        dstack_error err = {0};
        const http_listener_config config = {.name = sockets[i].name,
                                             .address = address,
                                             .routes = sockets[i].routes,
                                             .route_count = sockets[i].count,
                                             .user = f->a};
        assert_ok(http_server_listen(f->server, &config, &err), err);
    }
}

static inline int raw_connect(const char *dir, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    const struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Sends as much as the other side takes; it may answer and close before it has read all. */
static inline void raw_send(int fd, dstack_bytes bytes) {
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = send(fd, bytes.data + done, bytes.len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        done += (size_t)n;
    }
}

/* Everything until the server closes. */
static inline void raw_receive_all(int fd, dstack_buf *out) {
    for (;;) {
        buf_reserve(out, 65536);
        assert_false(out->failed);
        ssize_t n = recv(fd, out->data + out->len, 65536, 0);
        if (n <= 0) {
            return;
        }
        out->len += (size_t)n;
    }
}

/* Status of the first answer in `bytes`; 0 when there is none. */
static inline int raw_status(const dstack_buf *bytes) {
    int status = 0;
    char line[32] = "";
    memcpy(line, bytes->data, bytes->len < 31 ? bytes->len : 31);
    return sscanf(line, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

/* One request whose connection ends with it; returns the status, body and type go to the caller. */
static inline int raw_call(const char *dir, const char *socket_name, const char *method,
                           const char *target, const char *type, dstack_bytes body,
                           http_client_response *parsed) {
    DSTACK_AUTO(buf) dstack_buf request = {0};
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    buf_put_fmt(&request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", method, target);
    if (type != NULL) {
        buf_put_fmt(&request, "Content-Type: %s\r\n", type);
    }
    if (strcmp(method, "GET") != 0) {
        buf_put_fmt(&request, "Content-Length: %zu\r\n", body.len);
    }
    buf_put_str(&request, "\r\n");
    buf_put_bytes(&request, body);
    DSTACK_AUTO(fd) int fd = raw_connect(dir, socket_name);
    raw_send(fd, bytes_of_buf(&request));
    raw_receive_all(fd, &answer);
    dstack_error err = {0};
    assert_ok(http_client_response_parse(bytes_of_buf(&answer), (size_t)16 << 20, parsed, &err),
              err);
    return parsed->status;
}

static inline bool raw_holds(const dstack_buf *body, const char *text) {
    return text == NULL ||
           (body->len > 0 && memmem(body->data, body->len, text, strlen(text)) != NULL);
}

/* Errors: the two-space form in JSON, one text field in protobuf. */
static inline bool raw_shape_is_right(const http_client_response *answer, const char *type) {
    const dstack_buf *body = &answer->body;
    if (answer->status < 400 || strcmp(type, RAW_PAGE) == 0) {
        return true;
    }
    if (strcmp(type, RAW_JSON) == 0) {
        return body->len > 16 && memcmp(body->data, "{\n  \"error\": \"", 14) == 0 &&
               body->data[body->len - 1] == '}';
    }
    return body->len > 2 && body->data[0] == 0x0a && body->data[1] == body->len - 2;
}

#endif
