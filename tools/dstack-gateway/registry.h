/* The instances that may receive traffic: who registered, with which WireGuard key and address.
 * Kept in one JSON file; shared among threads. */
#ifndef GATEWAY_REGISTRY_H
#define GATEWAY_REGISTRY_H

#include <stdatomic.h>
#include <stddef.h>

#include "net.h"

#define REGISTRY_ID_SIZE 129 /* hex of an id, with its zero */
#define WG_KEY_TEXT_SIZE 45  /* base64 of 32 bytes, with its zero */

/* Which addresses the gateway hands out. */
typedef struct registry_addresses {
    ipv4_net own;     /* address of the gateway in the tunnel, with the network's prefix */
    ipv4_net clients; /* range for instances */
    ipv4_net reserved[16];
    size_t reserved_count;
} registry_addresses;

/* The checks that the gateway refuses to start without. */
int registry_check_addresses(const registry_addresses *addresses, dstack_error *err);

#define PORT_RULES_MAX 64
typedef struct port_policy {
    bool known;          /* false: the guest reported none */
    bool restrict_ports; /* only the listed ones */
    uint16_t ports[PORT_RULES_MAX];
    size_t count;
} port_policy;

/* What a registration brings; hex texts of verified values. */
typedef struct registration {
    const char *instance_id;
    const char *app_id;
    const char *compose_hash;
    const char *public_key; /* base64 */
    port_policy ports;
} registration;

typedef struct registry registry;

/* Loads the file where it exists. */
int registry_open(registry **out, const char *path, const registry_addresses *addresses,
                  dstack_error *err);
void registry_free(registry *r);

/* Registers or refreshes an instance, writes the file, and gives the address. The checks and texts
 * are those of the public service. */
int registry_register(registry *r, const registration *request, int64_t now, uint32_t *address,
                      dstack_error *err);
/* Drops an instance; false when there is none. */
bool registry_remove(registry *r, const char *instance_id);

/* One place where traffic for an id can go. The counter lives until registry_free. */
typedef struct registry_target {
    uint32_t address;
    atomic_uint *connections;
} registry_target;

/* Finds targets for an instance id (that one) or an app id (at most `max`, newest handshake first)
 * whose port policy allows `port`. DSTACK_E_NOT_FOUND for an unknown id, DSTACK_E_REFUSED when the
 * policy forbids the port everywhere. */
int registry_find(registry *r, const char *id, uint16_t port, registry_target *out, size_t max,
                  size_t *count, dstack_error *err);

/* For each instance, ordered by instance id. */
typedef void registry_visit(void *user, const char *instance_id, const char *app_id,
                            const char *public_key, uint32_t address, int64_t handshake);
void registry_each(registry *r, registry_visit *visit, void *user);
/* Latest WireGuard handshake of a key, UNIX seconds; 0: never. */
void registry_set_handshake(registry *r, const char *public_key, int64_t when);
size_t registry_count(registry *r);

#endif
