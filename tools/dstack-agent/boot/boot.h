/* The boot of the guest, from the host share to a docker that may start. */
#ifndef AGENT_BOOT_BOOT_H
#define AGENT_BOOT_BOOT_H

#include <dstack/envelope.h>
#include <dstack/manifest.h>
#include <dstack/tee.h>
#include <dstack/verifier.h>

#include "boot/share.h"
#include "boot/sys_config.h"
#include "host/host_api.h"
#include "keys/app_keys.h"

/* What the stages hand on; each field is set by the stage named. */
typedef struct boot {
    host_api *host;

    share share;               /* host share */
    sys_config config;         /* manifest */
    dstack_manifest *manifest; /* manifest */
    const dstack_manifest_fields *app;
    char cmdline[4096];

    dstack_buf sim_root; /* TEE: DER of the pinned simulation root; empty on hardware */
    dstack_tee *tee;     /* TEE */

    uint8_t app_id[APP_ID_SIZE];           /* identity */
    uint8_t seed[20];                      /* identity */
    uint8_t instance_id[INSTANCE_ID_SIZE]; /* identity */
    size_t instance_id_len;                /* 0 with no_instance_id */
    uint8_t init_hashes[DSTACK_INIT_SCRIPTS_MAX][32];

    app_keys keys;         /* keys */
    bool disk_initialised; /* data disk */
    char disk_device[300];
    dstack_env *env; /* environment */
} boot;

/* Stages, in order of the table in boot.c. */
int stage_share(void *context, dstack_error *err);
int stage_manifest(void *context, dstack_error *err);
int stage_tee(void *context, dstack_error *err);
int stage_time(void *context, dstack_error *err);
int stage_identity(void *context, dstack_error *err);
int stage_measure(void *context, dstack_error *err);
int stage_keys(void *context, dstack_error *err);
int stage_binding(void *context, dstack_error *err);
int stage_disk(void *context, dstack_error *err);
int stage_ready(void *context, dstack_error *err);
int stage_environment(void *context, dstack_error *err);
int stage_app_files(void *context, dstack_error *err);
int stage_gateway(void *context, dstack_error *err);
int stage_docker(void *context, dstack_error *err);

/* Measures one event in this boot's log. */
int boot_emit(boot *b, const char *name, dstack_bytes payload, dstack_error *err);

/* The identity a manifest gets on this disk; pure. `fresh` is 20 random bytes for a new seed. */
int boot_identity(const dstack_manifest_fields *app, const instance_info *kept,
                  const uint8_t fresh[20], uint8_t app_id[20], uint8_t seed[20],
                  uint8_t instance_id[20], size_t *instance_id_len, dstack_error *err);

/* `dstack-agent boot`: returns the exit code. */
int boot_main(int argc, char **argv);

#endif
