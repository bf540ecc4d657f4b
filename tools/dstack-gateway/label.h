/* The grammar of host labels: `<id>[-[<port>][s|g]]`, the first label of a name under a base domain
 * that the gateway serves. */
#ifndef GATEWAY_LABEL_H
#define GATEWAY_LABEL_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/error.h>

#define LABEL_ID_SIZE 128

typedef struct host_label {
    char id[LABEL_ID_SIZE]; /* app id, instance id, or a special name */
    uint16_t port;          /* 80 without a port, 443 with `s` alone */
    bool passthrough;       /* `s`: the app ends TLS itself */
    bool h2;                /* `g`: ALPN h2 towards the client */
} host_label;

/* Parses a label (no dots). DSTACK_E_FORMAT says what is wrong. */
int host_label_parse(const char *label, host_label *out, dstack_error *err);

#endif
