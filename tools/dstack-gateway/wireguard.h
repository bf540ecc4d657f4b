/* The gateway's WireGuard interface: made in the kernel where it has WireGuard, by wireguard-go
 * otherwise; its peers are the registered instances. */
#ifndef GATEWAY_WIREGUARD_H
#define GATEWAY_WIREGUARD_H

#include <dstack/bytes.h>

#include "net.h"
#include "registry.h"

typedef struct wireguard_config {
    const char *interface; /* at most 15 characters of [a-z0-9-] */
    uint16_t listen_port;
    ipv4_net address;      /* own tunnel address with prefix */
    const char *state_dir; /* holds wg.key (0600) and the interface's file */
} wireguard_config;

typedef struct wireguard wireguard;

/* Loads or makes the key, creates the interface where it is missing, sets its address, brings it
 * up. DSTACK_E_UNSUPPORTED when neither the kernel nor wireguard-go can make one. */
int wireguard_start(wireguard **out, const wireguard_config *config, dstack_error *err);
/* Ends wireguard-go where this process started it; a kernel interface is removed. */
void wireguard_stop(wireguard *w);

/* Own public key, base64. */
const char *wireguard_public_key(const wireguard *w);
/* Sets the peers to exactly the registered instances. */
int wireguard_sync(wireguard *w, registry *r, dstack_error *err);
/* Reads the latest handshake of each peer into the registry. */
int wireguard_refresh_handshakes(wireguard *w, registry *r, dstack_error *err);

/* Renders the interface's file: ordered by instance id. Exposed for tests. */
void wireguard_render(const char *private_key, uint16_t listen_port, registry *r, dstack_buf *out);

#endif
