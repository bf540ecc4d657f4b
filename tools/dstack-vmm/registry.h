/* All VMs of one VMM: what may be done to them, one operation at a time. The state is on disk; the
 * only thing in memory is how often a VM was restarted. */
#ifndef VMM_REGISTRY_H
#define VMM_REGISTRY_H

#include <pthread.h>

#include "settings.h"
#include "vm.h"

/* When a VM that has ended is started again. */
struct restart_policy {
    uint32_t max_retries, initial_s, max_s, reset_s;
};
struct restart_state {
    uint32_t attempts;
    int64_t next_retry, healthy_since; /* seconds; 0: unset */
    bool exhausted;
};
enum restart_decision { RESTART_NOTHING, RESTART_NOW, RESTART_EXHAUSTED };
/* One look at a VM that should run. now > 0. */
enum restart_decision restart_decide(const struct restart_policy *policy,
                                     struct restart_state *state, bool running, int64_t now);

#define REGISTRY_MAX_VMS 256

struct registry {
    const struct vmm_settings *settings;
    pthread_mutex_t mutex; /* held by every operation that changes something */
    struct {
        char id[VM_ID_MAX + 1];
        struct restart_state state;
    } restarts[REGISTRY_MAX_VMS];
    size_t restart_count;
    int lock_fd; /* no second VMM works on the same folder */
};

/* What CreateVm asks for; strings are borrowed. */
struct vm_request {
    const char *name, *image, *compose, *app_id; /* app_id NULL: from the compose hash */
    const char *user_config;
    dstack_bytes encrypted_env;
    uint32_t vcpu, memory_mib, disk_gib;
    struct vm_port ports[VM_MAX_PORTS];
    size_t port_count;
    struct vm_network networks[VM_MAX_NETWORKS];
    size_t network_count;
    json_t *kms_urls, *gateway_urls;
    bool stopped, no_tee;
    const char *simulated_tee; /* NULL or "" */
};

/* Everything Status and GetInfo show of one VM. */
struct vm_view {
    struct vm_manifest manifest;
    struct vm_runtime runtime;
    const char *status;
    bool running, started;
    char instance_id[41];
    char image_version[32];
    bool gateway_enabled;
    dstack_buf compose, encrypted_env, user_config;
};
void vm_view_clear(struct vm_view *view);
DSTACK_AUTO_DEFINE_CLEAR(vm_view, struct vm_view, vm_view_clear)

/* Makes the folders, finishes or undoes what an earlier run left half done, and starts the VMs that
 * should run and do not. VMs whose supervisor lives are found running. */
int registry_open(struct registry *registry, const struct vmm_settings *settings,
                  dstack_error *err);
void registry_close(struct registry *registry);

int registry_create(struct registry *registry, const struct vm_request *request, char id[37],
                    dstack_error *err);
int registry_start(struct registry *registry, const char *id, dstack_error *err);
int registry_stop(struct registry *registry, const char *id, dstack_error *err);
int registry_shutdown(struct registry *registry, const char *id, dstack_error *err);
int registry_remove(struct registry *registry, const char *id, dstack_error *err);
/* Automatic restart of VMs that ended without saying why. now: UNIX seconds. */
void registry_tick(struct registry *registry, int64_t now);

/* Ids of all VMs in order of creation: a JSON array of strings. */
int registry_ids(struct registry *registry, json_t **out, dstack_error *err);
/* full: with compose file, environment and user config. DSTACK_E_NOT_FOUND for an unknown VM. */
int registry_view(struct registry *registry, const char *id, bool full, struct vm_view *out,
                  dstack_error *err);
/* Path of a VM's folder; NULL for a bad id or an unknown VM. free() it. */
char *registry_dir(const struct registry *registry, const char *id);

#endif
