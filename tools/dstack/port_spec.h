/* Port mappings as people write them. */
#ifndef DSTACK_PORT_SPEC_H
#define DSTACK_PORT_SPEC_H

#include <stdint.h>

#include <dstack/error.h>
#include <jansson.h>

struct port_spec {
    char protocol[4]; /* "tcp", "udp" */
    char address[46]; /* "127.0.0.1" when not given */
    uint32_t host;    /* 0: any free one */
    uint32_t vm;
};

/* VM, HOST:VM, PROTO:HOST:VM, PROTO:ADDR:HOST:VM; HOST empty, "auto" or 0 is any free port. */
int port_spec_parse(const char *text, struct port_spec *out, dstack_error *err);
/* Chooses a free port where the host port is 0. */
int port_spec_choose(struct port_spec *spec, dstack_error *err);

#endif
