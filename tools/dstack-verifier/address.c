#include "address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

typedef struct range4 {
    uint32_t first;
    unsigned bits;
} range4;

static bool public4(uint32_t ip) {
    static const range4 special[] = {
        {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
        {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
        {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3},
    };
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (((ip ^ special[i].first) >> (32 - special[i].bits)) == 0) {
            return false;
        }
    }
    return true;
}

/* Of all of IPv6 only 2000::/3 is given out; within it some is for tunnels and documentation. */
static bool public6(const uint8_t ip[16]) {
    if ((ip[0] & 0xe0) != 0x20) {
        return false;
    }
    bool protocols = ip[0] == 0x20 && ip[1] == 0x01 && (ip[2] & 0xfe) == 0; /* 2001::/23 */
    bool documents = ip[0] == 0x20 && ip[1] == 0x01 && ip[2] == 0x0d && ip[3] == 0xb8;
    bool documents2 = ip[0] == 0x3f && ip[1] == 0xff && (ip[2] & 0xf0) == 0; /* 3fff::/20 */
    bool six_to_four = ip[0] == 0x20 && ip[1] == 0x02;
    return !protocols && !documents && !documents2 && !six_to_four;
}

bool address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return public4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        return public6(in.sin6_addr.s6_addr);
    }
    return false;
}

int address_resolve(const char *host, const char *port, bool any, char *out, size_t size,
                    dstack_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int found = getaddrinfo(host, port, &hints, &list);
    if (found != 0) {
        return error_set(err, DSTACK_E_NETWORK, "%.200s: %s", host, gai_strerror(found));
    }
    int rc = error_set(err, DSTACK_E_REFUSED,
                       "%.200s is not an address of the public internet, and this verifier asks no "
                       "others",
                       host);
    for (const struct addrinfo *at = list; rc != 0 && at != NULL; at = at->ai_next) {
        char text[INET6_ADDRSTRLEN + 1];
        if ((any || address_is_public(at->ai_addr)) &&
            getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
                0) {
            snprintf(out, size, at->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", text, port);
            rc = 0;
        }
    }
    freeaddrinfo(list);
    return rc;
}
