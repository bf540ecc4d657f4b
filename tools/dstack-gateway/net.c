#include "net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int ipv4_net_parse(const char *text, ipv4_net *out, dstack_error *err) {
    char address[IPV4_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
    struct in_addr in;
    out->prefix = 32;
    if (len >= sizeof address) {
        return error_set(err, DSTACK_E_FORMAT, "\"%s\" is not an IPv4 address", text);
    }
    memcpy(address, text, len);
    address[len] = '\0';
    if (inet_pton(AF_INET, address, &in) != 1) {
        return error_set(err, DSTACK_E_FORMAT, "\"%s\" is not an IPv4 address", text);
    }
    if (slash != NULL) {
        char *end = NULL;
        unsigned long prefix = strtoul(slash + 1, &end, 10);
        if (end == slash + 1 || *end != '\0' || prefix > 32) {
            return error_set(err, DSTACK_E_FORMAT, "\"%s\" has no usable prefix length", text);
        }
        out->prefix = (unsigned)prefix;
    }
    out->address = ntohl(in.s_addr);
    return 0;
}

void ipv4_text(uint32_t address, char out[IPV4_TEXT_SIZE]) {
    snprintf(out, IPV4_TEXT_SIZE, "%u.%u.%u.%u", address >> 24, address >> 16 & 255,
             address >> 8 & 255, address & 255);
}

static uint32_t mask(const ipv4_net *net) {
    return net->prefix == 0 ? 0 : UINT32_MAX << (32 - net->prefix);
}

uint32_t ipv4_net_first(const ipv4_net *net) {
    return net->address & mask(net);
}

uint32_t ipv4_net_last(const ipv4_net *net) {
    return net->address | ~mask(net);
}

bool ipv4_net_contains(const ipv4_net *net, uint32_t address) {
    return (address & mask(net)) == ipv4_net_first(net);
}

bool ipv4_net_includes(const ipv4_net *outer, const ipv4_net *inner) {
    return outer->prefix <= inner->prefix && ipv4_net_contains(outer, inner->address);
}
