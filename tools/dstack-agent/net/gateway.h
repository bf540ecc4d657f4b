/* Registering with the gateway: it learns this guest's WireGuard key, this guest its peers. */
#ifndef AGENT_NET_GATEWAY_H
#define AGENT_NET_GATEWAY_H

#include <dstack/cert.h>
#include <dstack/manifest.h>

#include "keys/cert_client.h"
#include "net/wireguard.h"

#define GATEWAY_INTERFACE "dstack-wg0"
#define GATEWAY_LISTEN_PORT 9182
#define GATEWAY_KEEPALIVE_S 25
/* Lifetime of the client certificate: the links outlive a KMS outage. */
#define GATEWAY_CERT_LIFETIME ((int64_t)10 * 86400)

typedef struct gateway_request {
    const char *const *urls;
    size_t url_count;
    const char *allowed_app_ids; /* hex ids, or "any" */
    bool insecure_dev;           /* lets "any" through */
    const char *root_pem;        /* root CA of the KMS */
    dstack_bytes client_chain;   /* PEM */
    const dstack_secret *client_key;
    const uint8_t *public_key; /* 32 bytes: this guest's WireGuard key */
    const dstack_manifest_fields *app;
} gateway_request;

/* Registers with the first URL that accepts and fills address and peers of `wg`. */
int gateway_register(const gateway_request *request, wg_config *wg, dstack_error *err);
/* The answer of RegisterCvm; pure but for resolving endpoint names. Exposed for tests. */
int gateway_answer_parse(const json_t *answer, wg_config *wg, dstack_error *err);
/* Whether an app id is one of the list: exact membership, hex in any case, optional 0x, separated
 * by blanks or commas. */
bool gateway_app_id_allowed(const char *list, dstack_bytes app_id);
/* The rules that let WireGuard packets in from the peers' addresses alone, as nft text. */
int gateway_firewall_text(const wg_config *wg, dstack_buf *out, dstack_error *err);

#endif
