/* Forwarded ports of user-mode networking. */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/error.h>

#define VM_MAX_PORTS 64

struct vm_port {
    bool udp;
    char address[46]; /* of the host, IPv4 or IPv6 text */
    uint16_t host_port;
    uint16_t vm_port;
};

/* Checks the parts of a mapping as they come from outside and fills out. Empty address: fallback. */
int vm_port_make(const char *protocol, const char *address, const char *fallback,
                 uint32_t host_port, uint32_t guest_port, struct vm_port *out, dstack_error *err);
/* Same protocol and host port, and equal addresses or one of them unspecified. */
bool vm_port_conflict(const struct vm_port *a, const struct vm_port *b);
/* DSTACK_E_EXISTS when two entries of one list conflict. */
int vm_ports_check_unique(const struct vm_port *ports, size_t count, dstack_error *err);
/* Binds each address for a moment: DSTACK_E_EXISTS "host port ... is in use". */
int vm_ports_check_free(const struct vm_port *ports, size_t count, dstack_error *err);
const char *vm_port_protocol(const struct vm_port *port);

#endif
