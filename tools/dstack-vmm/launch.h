/* launch.json: everything the supervisor needs for one run of a VM, written by the VMM at each start.
 * The supervisor reads no server configuration. */
#ifndef VMM_LAUNCH_H
#define VMM_LAUNCH_H

#include "image.h"
#include "settings.h"
#include "vm.h"

#define VM_LAUNCH_FILE "launch.json"

/* Descriptors that QEMU finds open, by number; its arguments name them. */
enum launch_fd {
    LAUNCH_FD_SERIAL = 3,
    LAUNCH_FD_QMP,
    LAUNCH_FD_HOST,
    LAUNCH_FD_GUEST,
    LAUNCH_FD_TEE,
    LAUNCH_FD_END
};

/* Writes the shared files of this start, the share disk and launch.json of the VM in dir. */
int launch_prepare(const struct vmm_settings *settings, const char *dir,
                   const struct vm_manifest *manifest, dstack_error *err);

/* launch.json, read back. */
struct launch {
    json_t *json;               /* owns the strings below */
    char **qemu, **probe;       /* argument vectors, NULL-ended; probe NULL when not simulated */
    const char *simulator_keys; /* NULL: no simulated TEE */
    const char *image_dir, *vm_config;
    bool has_mr_config_id;
    uint8_t mr_config_id[48];
    uint64_t log_max_bytes;
    uint32_t log_max_backups;
    bool has_host_port;
};

int launch_read(const char *dir, struct launch *out, dstack_error *err);
void launch_clear(struct launch *launch);
DSTACK_AUTO_DEFINE_CLEAR(launch, struct launch, launch_clear)

#endif
