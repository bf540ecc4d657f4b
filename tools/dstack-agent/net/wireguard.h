/* The guest's WireGuard interface, set up over netlink: keys never pass through a file, an argument
 * or a pipe. */
#ifndef AGENT_NET_WIREGUARD_H
#define AGENT_NET_WIREGUARD_H

#include <netinet/in.h>
#include <stddef.h>

#include <dstack/bytes.h>

#define WG_KEY_SIZE 32
#define WG_PEERS_MAX 64

typedef struct wg_peer {
    uint8_t public_key[WG_KEY_SIZE];
    struct sockaddr_storage endpoint; /* AF_INET or AF_INET6 */
    struct in_addr allowed_ip;        /* one address, /32 */
    uint16_t keepalive_s;
} wg_peer;

typedef struct wg_config {
    const char *name;
    const dstack_secret *private_key;
    uint16_t listen_port;
    struct in_addr address; /* /32 */
    wg_peer peers[WG_PEERS_MAX];
    size_t peer_count;
} wg_config;

/* Makes the interface where it is missing and gives it exactly this configuration: key, port, peers,
 * address and routes. Needs CAP_NET_ADMIN and the kernel's wireguard module. */
int wg_apply(const wg_config *config, dstack_error *err);
/* UNIX seconds of the newest handshake of any peer; 0 when there was none. */
int wg_last_handshake(const char *name, int64_t *seconds, dstack_error *err);
/* The command for the WireGuard interface that sets key, port and peers, as wg_apply sends it;
 * exposed for tests. Appends one netlink message without its family number. */
int wg_message_build(const wg_config *config, uint32_t ifindex, dstack_buf *out, dstack_error *err);

#endif
