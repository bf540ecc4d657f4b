#include "port_spec.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/error.h"
#include "cli.h"

static int parse_number(const char *text, size_t len, uint32_t *out) {
    uint32_t value = 0;
    if (len == 0 || len > 5) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *out = value;
    return value <= UINT16_MAX ? 0 : -1;
}

int port_spec_parse(const char *text, struct port_spec *out, dstack_error *err) {
    const char *parts[4];
    size_t lens[4], count = 0;
    for (const char *p = text; count < 4; p += lens[count - 1] + 1) {
        parts[count] = p;
        lens[count] = strcspn(p, ":");
        count++;
        if (p[lens[count - 1]] == 0) {
            break;
        }
    }
    bool whole = parts[count - 1][lens[count - 1]] == 0;
    memset(out, 0, sizeof *out);
    strcpy(out->protocol, "tcp");
    strcpy(out->address, "127.0.0.1");
    bool good =
        whole && parse_number(parts[count - 1], lens[count - 1], &out->vm) == 0 && out->vm > 0;
    if (good && count >= 2) {
        const char *host = parts[count - 2];
        size_t len = lens[count - 2];
        bool any = len == 0 || (len == 4 && memcmp(host, "auto", 4) == 0);
        good = any || parse_number(host, len, &out->host) == 0;
    }
    if (good && count >= 3) {
        good = lens[0] == 3 && (memcmp(parts[0], "tcp", 3) == 0 || memcmp(parts[0], "udp", 3) == 0);
        if (good) {
            memcpy(out->protocol, parts[0], 3);
        }
    }
    if (good && count == 4) {
        struct in_addr ignored;
        good = lens[1] < sizeof out->address;
        if (good) {
            memcpy(out->address, parts[1], lens[1]);
            out->address[lens[1]] = 0;
            good = inet_pton(AF_INET, out->address, &ignored) == 1;
        }
    }
    return good
               ? 0
               : cli_usage(err,
                           "port \"%s\": expected VM, HOST:VM, PROTO:HOST:VM or PROTO:ADDR:HOST:VM",
                           text);
}

int port_spec_choose(struct port_spec *spec, dstack_error *err) {
    if (spec->host != 0) {
        return 0;
    }
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    DSTACK_AUTO(fd)
    int fd =
        socket(AF_INET, (spec->protocol[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, spec->address, &address.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "finding a free port on %s", spec->address);
    }
    spec->host = ntohs(address.sin_port);
    return 0;
}
