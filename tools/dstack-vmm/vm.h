/* One VM on disk: <run_path>/<id>/ with vm-manifest.json (what was asked for), vm-state.json (whether
 * it should run) and runtime.json (what its supervisor saw). Each file has one writer and is replaced
 * whole, so a crash leaves the old or the new. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <dstack/bytes.h>

#include "base/auto.h"
#include "names.h"
#include "ports.h"

#define VM_MAX_NETWORKS 4
#define VM_MAX_URLS 16
#define VM_EVENT_MAX 64

#define VM_MANIFEST_FILE "vm-manifest.json"
#define VM_STATE_FILE "vm-state.json"
#define VM_RUNTIME_FILE "runtime.json"
#define VM_REMOVING_FILE ".removing"
#define VM_SHARED_DIR "shared"
#define VM_DATA_DISK "hda.img"

struct vm_network {
    char mode[8]; /* "user" or "bridge" */
    char bridge[16];
};

struct vm_manifest {
    char id[VM_ID_MAX + 1];
    char name[VM_NAME_MAX + 1];
    char app_id[41]; /* 40 hex digits */
    uint32_t vcpu, memory_mib, disk_gib;
    char image[IMAGE_NAME_MAX + 1];
    struct vm_port ports[VM_MAX_PORTS];
    size_t port_count;
    int64_t created_at_ms;
    bool no_tee;
    char simulated_tee[24]; /* "" or "dstack-tdx" */
    struct vm_network networks[VM_MAX_NETWORKS];
    size_t network_count;            /* 0: the node's default */
    json_t *kms_urls, *gateway_urls; /* arrays of strings */
};

void vm_manifest_clear(struct vm_manifest *manifest);
DSTACK_AUTO_DEFINE_CLEAR(vm_manifest, struct vm_manifest, vm_manifest_clear)
json_t *vm_manifest_to_json(const struct vm_manifest *manifest);
int vm_manifest_from_json(const json_t *json, struct vm_manifest *out, dstack_error *err);
int vm_manifest_read(const char *dir, struct vm_manifest *out, dstack_error *err);
int vm_manifest_write(const char *dir, const struct vm_manifest *manifest, dstack_error *err);

/* vm-state.json; a missing file means not started. */
int vm_started_read(const char *dir, bool *started, dstack_error *err);
int vm_started_write(const char *dir, bool started, dstack_error *err);

struct vm_event {
    char event[64];
    char *body;
    int64_t timestamp_ms;
};

/* What the supervisor reports about the present or the last run. */
struct vm_runtime {
    int64_t started_at, exited_at; /* UNIX seconds; 0: never, still running */
    int exit_status;               /* raw wait status of QEMU */
    char boot_progress[256], boot_error[4096], shutdown_progress[256];
    bool powered_off; /* the guest said that it powers off */
    struct vm_event events[VM_EVENT_MAX];
    size_t event_count;
};

void vm_runtime_clear(struct vm_runtime *runtime);
DSTACK_AUTO_DEFINE_CLEAR(vm_runtime, struct vm_runtime, vm_runtime_clear)
/* A missing file gives zeros. */
int vm_runtime_read(const char *dir, struct vm_runtime *out, dstack_error *err);
int vm_runtime_write(const char *dir, const struct vm_runtime *runtime, dstack_error *err);
/* Appends an event, dropping the oldest of more than VM_EVENT_MAX, and updates the fields that
 * known events stand for. */
void vm_runtime_event(struct vm_runtime *runtime, const char *event, const char *body,
                      int64_t now_ms);

/* "running", "exited", "stopping" or "stopped". */
const char *vm_status_text(bool started, bool running);

/* Path of a file of the VM; NULL when memory ran out. */
char *vm_path(const char *dir, const char *name);

#endif
