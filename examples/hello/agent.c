/* The guest agent's socket: one HTTP request per connection. */
#include "agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define AGENT_SOCKET "/var/run/dstack.sock"

bool agent_call(const char *method, const char *body, char *answer, size_t size) {
    char request[1024];
    int len = snprintf(request, sizeof request,
                       "POST /%s HTTP/1.1\r\nHost: dstack\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                       method, strlen(body), body);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = AGENT_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool sent = fd >= 0 && len < (int)sizeof request &&
                connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                write(fd, request, (size_t)len) == len;
    size_t have = 0;
    for (ssize_t got;
         sent && have < size - 1 && (got = read(fd, answer + have, size - 1 - have)) > 0;) {
        have += (size_t)got;
    }
    answer[have] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    return have > 0 && strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
}

/* PEM and hex need no escape but the line feed's; anything else is taken as it stands. */
static char unescaped(char c) {
    return c == 'n' ? '\n' : c;
}

const char *agent_next_string(const char *at, char *out, size_t size) {
    at = strchr(at, '"');
    size_t len = 0;
    for (at = at == NULL ? "" : at + 1; *at != '\0' && *at != '"' && len + 1 < size; at++) {
        if (*at == '\\' && at[1] != '\0') {
            at++;
            out[len++] = unescaped(*at);
        } else {
            out[len++] = *at;
        }
    }
    out[len] = '\0';
    return *at == '"' && len > 0 ? at + 1 : NULL;
}

const char *agent_string(const char *answer, const char *name, char *out, size_t size) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(answer, quoted);
    return at == NULL ? NULL : agent_next_string(at + strlen(quoted), out, size);
}
