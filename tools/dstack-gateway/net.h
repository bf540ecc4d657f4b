/* IPv4 addresses with a prefix length, as the WireGuard settings use them. */
#ifndef GATEWAY_NET_H
#define GATEWAY_NET_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/error.h>

/* Host byte order. */
typedef struct ipv4_net {
    uint32_t address;
    unsigned prefix; /* 0 to 32 */
} ipv4_net;

#define IPV4_TEXT_SIZE 16

/* "10.0.0.1/24"; without a prefix 32 is meant. */
int ipv4_net_parse(const char *text, ipv4_net *out, dstack_error *err);
void ipv4_text(uint32_t address, char out[IPV4_TEXT_SIZE]);
uint32_t ipv4_net_first(const ipv4_net *net); /* network address */
uint32_t ipv4_net_last(const ipv4_net *net);  /* broadcast address */
bool ipv4_net_contains(const ipv4_net *net, uint32_t address);
/* Whether every address of `inner` lies in `outer`. */
bool ipv4_net_includes(const ipv4_net *outer, const ipv4_net *inner);

#endif
