/* Create, start, stop, shut down, remove. */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "image.h"
#include "launch.h"
#include "lock.h"
#include "service/host_share.h"
#include "service/log.h"
#include "supervise.h"

#define STOP_TIMEOUT_MS 20000
/* Below this the host's file system counts as full: a VM could not even write its logs. */
#define MIN_FREE_BYTES ((uint64_t)256 << 20)

/* ---- space ---- */

static int check_space(const char *path, dstack_error *err) {
    struct statvfs info;
    if (statvfs(path, &info) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", path);
    }
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    if (free_bytes < MIN_FREE_BYTES) {
        return error_set(err, DSTACK_E_LIMIT,
                         "no space left on %s: %" PRIu64 " MiB free, %" PRIu64 " MiB needed", path,
                         free_bytes >> 20, MIN_FREE_BYTES >> 20);
    }
    return 0;
}

/* ---- create ---- */

static int check_compose(const char *text, dstack_error *err) {
    size_t len = strlen(text);
    dstack_error local = {0};
    const char *name, *runner;
    if (len > HOST_SHARE_APP_COMPOSE_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the app manifest has %zu bytes, %u are allowed", len,
                         HOST_SHARE_APP_COMPOSE_MAX);
    }
    DSTACK_AUTO(json)
    json_t *compose =
        json_parse(bytes_of_str(text), HOST_SHARE_APP_COMPOSE_MAX, "app manifest", &local);
    if (compose == NULL) {
        return error_set(err, local.status, "invalid app compose JSON: %s", local.message);
    }
    int rc = json_is_object(compose) ? 0 : error_set(err, DSTACK_E_FORMAT, "not an object");
    rc = rc != 0 ? rc : json_need_str(compose, "name", &name, err);
    rc = rc != 0 ? rc : json_need_str(compose, "runner", &runner, err);
    if (rc == 0 && json_object_get(compose, "manifest_version") == NULL) {
        rc = error_set(err, DSTACK_E_FORMAT, "manifest_version is missing");
    }
    if (rc == 0 && strcmp(json_string_value(json_object_get(compose, "key_provider")) != NULL
                              ? json_string_value(json_object_get(compose, "key_provider"))
                              : "",
                          "tpm") == 0) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "key provider tpm is not offered here");
    }
    return rc != 0 ? error_prefix(err, rc, "Invalid compose file") : 0;
}

static int check_resources(const struct vmm_settings *s, const struct vm_request *r,
                           dstack_error *err) {
    const struct {
        const char *name;
        uint32_t value, max;
    } rows[] = {{"vcpu", r->vcpu, s->max_vcpu},
                {"memory", r->memory_mib, s->max_memory_mib},
                {"disk_size", r->disk_gib, s->max_disk_gib}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value == 0) {
            return error_set(err, DSTACK_E_ARGUMENT, "%s must be greater than zero", rows[i].name);
        }
        if (rows[i].max != 0 && rows[i].value > rows[i].max) {
            return error_set(err, DSTACK_E_LIMIT,
                             "%s %" PRIu32 " is above this VMM's limit of %" PRIu32, rows[i].name,
                             rows[i].value, rows[i].max);
        }
    }
    return 0;
}

static int check_tee(const struct vmm_settings *s, const struct vm_request *r, dstack_error *err) {
    if (r->simulated_tee == NULL || r->simulated_tee[0] == 0) {
        return 0;
    }
    if (strcmp(r->simulated_tee, "dstack-tdx") != 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unsupported TEE variant: %s",
                         r->simulated_tee);
    }
    if (s->simulator_keys == NULL) {
        return error_set(err, DSTACK_E_STATE,
                         "tee simulator credentials are not configured on this VMM");
    }
    if (r->no_tee) {
        return error_set(err, DSTACK_E_ARGUMENT, "no_tee and simulated_tee exclude each other");
    }
    return 0;
}

static int check_ports(struct registry *registry, const struct vm_request *r, dstack_error *err) {
    DSTACK_AUTO(json) json_t *ids = NULL;
    size_t i;
    json_t *id;
    int rc = vm_ports_check_unique(r->ports, r->port_count, err);
    rc = rc != 0 ? rc : registry_ids(registry, &ids, err);
    json_array_foreach(ids, i, id) {
        DSTACK_AUTO(str) char *dir = registry_dir(registry, json_string_value(id));
        DSTACK_AUTO(vm_manifest) struct vm_manifest other = {0};
        if (rc != 0 || dir == NULL || vm_manifest_read(dir, &other, NULL) != 0) {
            continue;
        }
        for (size_t k = 0; k < other.port_count * r->port_count && rc == 0; k++) {
            const struct vm_port *mine = &r->ports[k / other.port_count];
            if (vm_port_conflict(mine, &other.ports[k % other.port_count])) {
                rc = error_set(err, DSTACK_E_EXISTS,
                               "host port mapping conflicts with VM %s: %s %s:%u", other.id,
                               vm_port_protocol(mine), mine->address, mine->host_port);
            }
        }
    }
    return rc != 0 || r->stopped ? rc : vm_ports_check_free(r->ports, r->port_count, err);
}

static int fill_app_id(const struct vm_request *r, char out[41], dstack_error *err) {
    uint8_t digest[32], bytes[20];
    if (r->app_id != NULL && r->app_id[0] != 0) {
        const char *text = strncmp(r->app_id, "0x", 2) == 0 ? r->app_id + 2 : r->app_id;
        int rc = hex_decode_fixed(text, bytes, sizeof bytes, NULL);
        if (rc != 0) {
            return error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes in hex");
        }
    } else {
        hash_sha256(bytes_of_str(r->compose), digest);
        memcpy(bytes, digest, sizeof bytes);
    }
    hex_encode(bytes_of(bytes, sizeof bytes), out);
    return 0;
}

static int fill_manifest(const struct vm_request *r, struct vm_manifest *m, dstack_error *err) {
    vm_id_new(m->id);
    snprintf(m->name, sizeof m->name, "%s", r->name);
    snprintf(m->image, sizeof m->image, "%s", r->image);
    snprintf(m->simulated_tee, sizeof m->simulated_tee, "%s",
             r->simulated_tee != NULL ? r->simulated_tee : "");
    m->vcpu = r->vcpu;
    m->memory_mib = r->memory_mib;
    m->disk_gib = r->disk_gib;
    memcpy(m->ports, r->ports, sizeof m->ports);
    m->port_count = r->port_count;
    memcpy(m->networks, r->networks, sizeof m->networks);
    m->network_count = r->network_count;
    m->no_tee = r->no_tee;
    m->created_at_ms = clock_unix() * 1000;
    m->kms_urls = json_incref(r->kms_urls);
    m->gateway_urls = json_incref(r->gateway_urls);
    return fill_app_id(r, m->app_id, err);
}

static int write_file(const char *dir, const char *name, dstack_bytes content, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, name);
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    return file_write_atomic(path, content, 0600, err);
}

static int make_data_disk(const char *dir, uint32_t gib, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_DATA_DISK);
    DSTACK_AUTO(fd)
    int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, (off_t)gib << 30) != 0 || fsync(fd) != 0) {
        return error_set_errno(err,
                               errno == ENOSPC || errno == EFBIG ? DSTACK_E_LIMIT : DSTACK_E_IO,
                               "making the data disk");
    }
    return 0;
}

static int fill_folder(const char *dir, const struct vm_request *r, const struct vm_manifest *m,
                       dstack_error *err) {
    char info[64];
    DSTACK_AUTO(str) char *shared = vm_path(dir, VM_SHARED_DIR);
    snprintf(info, sizeof info, "{\"app_id\":\"%s\"}", m->app_id);
    if (shared == NULL || mkdir(shared, 0700) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", dir);
    }
    int rc = write_file(shared, HOST_SHARE_APP_COMPOSE, bytes_of_str(r->compose), err);
    rc = rc != 0 ? rc : write_file(shared, HOST_SHARE_INSTANCE_INFO, bytes_of_str(info), err);
    if (rc == 0 && r->encrypted_env.len > 0) {
        rc = write_file(shared, HOST_SHARE_ENCRYPTED_ENV, r->encrypted_env, err);
    }
    if (rc == 0 && r->user_config != NULL && r->user_config[0] != 0) {
        rc = write_file(shared, HOST_SHARE_USER_CONFIG, bytes_of_str(r->user_config), err);
    }
    rc = rc != 0 ? rc : make_data_disk(dir, m->disk_gib, err);
    rc = rc != 0 ? rc : vm_started_write(dir, !r->stopped, err);
    return rc != 0 ? rc : vm_manifest_write(dir, m, err);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw) {
    return remove(path);
}

void operation_delete_tree(const char *path) {
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        LOG_WARN("deleting a folder", "path", path, "reason", strerror(errno));
    }
}

/* The folder is filled under a name of its own and renamed when whole: a crash leaves either no VM
 * or a complete one. */
static int place(struct registry *registry, const struct vm_request *r, const struct vm_manifest *m,
                 char **dir, dstack_error *err) {
    char name[VM_ID_MAX + 16];
    snprintf(name, sizeof name, OPERATION_NEW_PREFIX "%s", m->id);
    DSTACK_AUTO(str) char *fresh = vm_path(registry->settings->run_path, name);
    *dir = vm_path(registry->settings->run_path, m->id);
    if (fresh == NULL || *dir == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    if (mkdir(fresh, 0700) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", fresh);
    }
    int rc = fill_folder(fresh, r, m, err);
    if (rc == 0 && rename(fresh, *dir) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "%s", *dir);
    }
    if (rc != 0) {
        operation_delete_tree(fresh);
    }
    return rc;
}

static int create(struct registry *registry, const struct vm_request *r, char id[37],
                  dstack_error *err) {
    const struct vmm_settings *s = registry->settings;
    DSTACK_AUTO(vm_image) struct vm_image image = {0};
    DSTACK_AUTO(vm_manifest) struct vm_manifest m = {0};
    DSTACK_AUTO(str) char *dir = NULL;
    int rc = vm_name_check(r->name, err);
    rc = rc != 0 ? rc : check_compose(r->compose, err);
    rc = rc != 0 ? rc : check_resources(s, r, err);
    rc = rc != 0 ? rc : check_tee(s, r, err);
    rc = rc != 0 ? rc : vm_image_load(s->image_path, r->image, &image, err);
    rc = rc != 0 ? rc : check_ports(registry, r, err);
    if (rc == 0 && r->encrypted_env.len > HOST_SHARE_ENCRYPTED_ENV_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "encrypted_env: more than %u bytes",
                       HOST_SHARE_ENCRYPTED_ENV_MAX);
    }
    rc = rc != 0 ? rc : check_space(s->run_path, err);
    rc = rc != 0 ? rc : fill_manifest(r, &m, err);
    rc = rc != 0 ? rc : place(registry, r, &m, &dir, err);
    if (rc == 0 && !r->stopped) {
        rc = operation_start(registry, dir, err);
        if (rc != 0) {
            dstack_error ignored;
            operation_remove(registry, dir, &ignored);
        }
    }
    memcpy(id, m.id, 37);
    return rc;
}

/* ---- start, stop, remove ---- */

int operation_start(struct registry *registry, const char *dir, dstack_error *err) {
    DSTACK_AUTO(vm_manifest) struct vm_manifest manifest = {0};
    DSTACK_AUTO(str) char *removing = vm_path(dir, VM_REMOVING_FILE);
    if (removing == NULL || access(removing, F_OK) == 0) {
        return error_set(err, DSTACK_E_STATE, "VM is being removed");
    }
    int rc = vm_manifest_read(dir, &manifest, err);
    rc = rc != 0 ? rc : check_space(dir, err);
    rc = rc != 0 ? rc : vm_started_write(dir, true, err);
    if (rc != 0 || vm_lock_holder(dir) != 0) {
        return rc;
    }
    rc = vm_ports_check_free(manifest.ports, manifest.port_count, err);
    rc = rc != 0 ? rc : launch_prepare(registry->settings, dir, &manifest, err);
    return rc != 0 ? rc
                   : supervise_spawn(registry->settings->self, dir,
                                     (int)registry->settings->start_timeout_s * 1000, err);
}

int operation_stop(struct registry *registry, const char *dir, dstack_error *err) {
    int rc = vm_started_write(dir, false, err);
    if (rc != 0) {
        return rc;
    }
    vm_lock_signal(dir, SUPERVISE_STOP);
    if (!vm_lock_wait_gone(dir, STOP_TIMEOUT_MS)) {
        /* The kernel kills QEMU with its supervisor. */
        vm_lock_signal(dir, SIGKILL);
        if (!vm_lock_wait_gone(dir, STOP_TIMEOUT_MS)) {
            return error_set(err, DSTACK_E_TIMEOUT, "the VM's process does not end");
        }
    }
    return 0;
}

int operation_remove(struct registry *registry, const char *dir, dstack_error *err) {
    int rc = write_file(dir, VM_REMOVING_FILE, bytes_of_str(""), err);
    rc = rc != 0 ? rc : operation_stop(registry, dir, err);
    if (rc != 0) {
        return rc;
    }
    char name[VM_ID_MAX + 16];
    snprintf(name, sizeof name, OPERATION_GONE_PREFIX "%s", strrchr(dir, '/') + 1);
    DSTACK_AUTO(str) char *gone = vm_path(registry->settings->run_path, name);
    if (gone == NULL || rename(dir, gone) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", dir);
    }
    operation_delete_tree(gone);
    return 0;
}

/* ---- the registry's operations ---- */

int registry_create(struct registry *registry, const struct vm_request *request, char id[37],
                    dstack_error *err) {
    pthread_mutex_lock(&registry->mutex);
    int rc = create(registry, request, id, err);
    pthread_mutex_unlock(&registry->mutex);
    return rc;
}

static int with_vm(struct registry *registry, const char *id, const char *prefix,
                   int (*operation)(struct registry *, const char *, dstack_error *),
                   dstack_error *err) {
    int rc = vm_id_check(id, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&registry->mutex);
    DSTACK_AUTO(str) char *dir = registry_dir(registry, id);
    rc = dir != NULL ? operation(registry, dir, err)
                     : error_set(err, DSTACK_E_NOT_FOUND, "vm not found");
    registry_forget_restarts(registry, id);
    pthread_mutex_unlock(&registry->mutex);
    return rc != 0 && prefix != NULL ? error_prefix(err, rc, "%s", prefix) : rc;
}

int registry_start(struct registry *registry, const char *id, dstack_error *err) {
    return with_vm(registry, id, "Failed to start VM", operation_start, err);
}

int registry_stop(struct registry *registry, const char *id, dstack_error *err) {
    return with_vm(registry, id, "Failed to stop VM", operation_stop, err);
}

static int shut_down(struct registry *registry, const char *dir, dstack_error *err) {
    if (vm_lock_holder(dir) == 0) {
        return error_set(err, DSTACK_E_STATE, "the VM is not running");
    }
    int rc = vm_started_write(dir, false, err);
    if (rc == 0 && !vm_lock_signal(dir, SUPERVISE_SHUTDOWN)) {
        rc = error_set(err, DSTACK_E_STATE, "the VM is not running");
    }
    return rc;
}

int registry_shutdown(struct registry *registry, const char *id, dstack_error *err) {
    return with_vm(registry, id, NULL, shut_down, err);
}

static int remove_known(struct registry *registry, const char *dir, dstack_error *err) {
    return operation_remove(registry, dir, err);
}

int registry_remove(struct registry *registry, const char *id, dstack_error *err) {
    int rc = vm_id_check(id, err);
    if (rc == 0) {
        rc = with_vm(registry, id, "Failed to remove VM", remove_known, err);
    }
    return rc;
}
