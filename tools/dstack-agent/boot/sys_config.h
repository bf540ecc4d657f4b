/* The host's `.sys-config.json` and `.instance_info`: transport settings and an identity to keep.
 * URLs are untrusted: whoever answers there has to prove itself. */
#ifndef AGENT_BOOT_SYS_CONFIG_H
#define AGENT_BOOT_SYS_CONFIG_H

#include <dstack/bytes.h>

#include "base/auto.h"

#define SYS_CONFIG_MAX ((size_t)32 << 10)
#define INSTANCE_INFO_MAX ((size_t)10 << 10)
#define SYS_CONFIG_URLS_MAX 16
#define INSTANCE_ID_SIZE 20
#define APP_ID_SIZE 20

/* Texts belong to `root`. */
typedef struct sys_config {
    json_t *root;
    const char *kms_urls[SYS_CONFIG_URLS_MAX];
    size_t kms_url_count;
    const char *gateway_urls[SYS_CONFIG_URLS_MAX];
    size_t gateway_url_count;
    const char *pccs_url;        /* NULL: none */
    const char *docker_registry; /* NULL: none */
    const char *host_api_url;    /* NULL: the default channel */
    const char *mr_config;       /* document text, NULL: none */
    const char *vm_config;       /* JSON text */
    bool tdx_lite;               /* what vm_config says about the measurement of ACPI tables */
} sys_config;

int sys_config_parse(dstack_bytes text, sys_config *out, dstack_error *err);
void sys_config_clear(sys_config *config);

typedef struct instance_info {
    uint8_t seed[20];
    bool has_seed;
    uint8_t app_id[APP_ID_SIZE];
    bool has_app_id;
} instance_info;

/* Members that are missing or empty stay unset; others must be 20 bytes in hex. */
int instance_info_parse(dstack_bytes text, instance_info *out, dstack_error *err);
/* Appends the JSON that is kept by the host for the next boot. */
int instance_info_write(dstack_bytes seed, dstack_bytes instance_id, dstack_bytes app_id,
                        dstack_buf *out, dstack_error *err);

DSTACK_AUTO_DEFINE_CLEAR(sys_config, sys_config, sys_config_clear)

#endif
