/* Registration from the certificate to the interface, used by the boot and by the agent later. */
#ifndef AGENT_NET_GATEWAY_LINK_H
#define AGENT_NET_GATEWAY_LINK_H

#include <dstack/manifest.h>

#include "keys/cert_client.h"

/* Cached (0600) so that a refresh keeps this guest's WireGuard key and needs no new certificate. */
#define GATEWAY_CACHE_FILE "/run/dstack/gateway-cache.json"

typedef struct gateway_link {
    const app_keys *keys;
    const dstack_manifest_fields *app;
    const char *vm_config;
    const char *const *urls;
    size_t url_count;
    bool insecure_dev;
    const char *cache_path;
    /* An attestation over 64 bytes; freed by the caller of it. */
    int (*attest)(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err);
    void *user;
} gateway_link;

/* Registers and sets the interface and its firewall up. */
int gateway_link_refresh(const gateway_link *link, dstack_error *err);

/* What is cached; exposed for tests. */
typedef struct gateway_cache {
    dstack_secret *wg_key;  /* 32 bytes */
    dstack_secret *tls_key; /* PEM */
    char *chain;            /* PEM */
    int64_t not_after;      /* UNIX seconds */
} gateway_cache;

void gateway_cache_clear(gateway_cache *cache);
int gateway_cache_load(const char *path, gateway_cache *out, dstack_error *err);
int gateway_cache_save(const gateway_cache *cache, const char *path, dstack_error *err);

DSTACK_AUTO_DEFINE_CLEAR(gateway_cache, gateway_cache, gateway_cache_clear)

#endif
