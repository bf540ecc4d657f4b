/* Looking at VMs, and putting things right at start. Operations are in operations.c. */
#include "registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "image.h"
#include "lock.h"
#include "operations.h"
#include "service/host_share.h"
#include "service/log.h"

void vm_view_clear(struct vm_view *view) {
    vm_manifest_clear(&view->manifest);
    vm_runtime_clear(&view->runtime);
    dstack_buf_clear(&view->compose);
    dstack_buf_clear(&view->encrypted_env);
    dstack_buf_clear(&view->user_config);
}

char *registry_dir(const struct registry *registry, const char *id) {
    if (vm_id_check(id, NULL) != 0) {
        return NULL;
    }
    char *dir = vm_path(registry->settings->run_path, id);
    DSTACK_AUTO(str) char *manifest = dir != NULL ? vm_path(dir, VM_MANIFEST_FILE) : NULL;
    if (manifest == NULL || access(manifest, F_OK) != 0) {
        free(dir);
        return NULL;
    }
    return dir;
}

static int read_shared(const char *dir, const char *name, size_t limit, bool required,
                       dstack_buf *out, dstack_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/" VM_SHARED_DIR "/%s", dir, name);
    int rc = file_read(path, limit, out, err);
    return rc == DSTACK_E_NOT_FOUND && !required ? 0 : rc;
}

static void read_instance_id(const char *dir, char out[41]) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    out[0] = 0;
    if (read_shared(dir, HOST_SHARE_INSTANCE_INFO, HOST_SHARE_INSTANCE_INFO_MAX, true, &text,
                    NULL) != 0) {
        return;
    }
    dstack_error ignored = {0};
    DSTACK_AUTO(json)
    json_t *info = json_parse(bytes_of_buf(&text), HOST_SHARE_INSTANCE_INFO_MAX, "", &ignored);
    const char *id = json_string_value(json_object_get(info, "instance_id"));
    if (id != NULL && strlen(id) == 40) {
        memcpy(out, id, 41);
    }
}

static void read_compose(const char *dir, struct vm_view *view) {
    dstack_error ignored = {0};
    if (read_shared(dir, HOST_SHARE_APP_COMPOSE, HOST_SHARE_APP_COMPOSE_MAX, true, &view->compose,
                    NULL) != 0) {
        return;
    }
    DSTACK_AUTO(json)
    json_t *compose =
        json_parse(bytes_of_buf(&view->compose), HOST_SHARE_APP_COMPOSE_MAX, "", &ignored);
    view->gateway_enabled = json_is_true(json_object_get(compose, "gateway_enabled")) ||
                            json_is_true(json_object_get(compose, "tproxy_enabled"));
}

int registry_view(struct registry *registry, const char *id, bool full, struct vm_view *out,
                  dstack_error *err) {
    DSTACK_AUTO(str) char *dir = registry_dir(registry, id);
    memset(out, 0, sizeof *out);
    if (dir == NULL) {
        return error_set(err, DSTACK_E_NOT_FOUND, "vm not found");
    }
    int rc = vm_manifest_read(dir, &out->manifest, err);
    rc = rc != 0 ? rc : vm_started_read(dir, &out->started, err);
    rc = rc != 0 ? rc : vm_runtime_read(dir, &out->runtime, err);
    if (rc == 0) {
        read_compose(dir, out);
    }
    if (rc == 0 && full) {
        rc = read_shared(dir, HOST_SHARE_ENCRYPTED_ENV, HOST_SHARE_ENCRYPTED_ENV_MAX, false,
                         &out->encrypted_env, err);
        rc = rc != 0 ? rc
                     : read_shared(dir, HOST_SHARE_USER_CONFIG, HOST_SHARE_USER_CONFIG_MAX, false,
                                   &out->user_config, err);
    }
    if (rc != 0) {
        vm_view_clear(out);
        return rc;
    }
    read_instance_id(dir, out->instance_id);
    DSTACK_AUTO(vm_image) struct vm_image image = {0};
    if (vm_image_load(registry->settings->image_path, out->manifest.image, &image, NULL) == 0) {
        snprintf(out->image_version, sizeof out->image_version, "%s", image.version);
    }
    out->running = vm_lock_holder(dir) != 0;
    DSTACK_AUTO(str) char *removing = vm_path(dir, VM_REMOVING_FILE);
    /* A guest that said that it powers off is not expected back. */
    bool expected = out->started && !(out->runtime.powered_off && !out->running);
    out->status = removing != NULL && access(removing, F_OK) == 0
                      ? "removing"
                      : vm_status_text(expected, out->running);
    return 0;
}

struct entry {
    char id[VM_ID_MAX + 1];
    int64_t created;
};

static int by_creation(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return x->created != y->created ? (x->created < y->created ? -1 : 1) : strcmp(x->id, y->id);
}

int registry_ids(struct registry *registry, json_t **out, dstack_error *err) {
    DIR *dir = opendir(registry->settings->run_path);
    struct entry entries[REGISTRY_MAX_VMS];
    size_t count = 0;
    if (dir == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "%s", registry->settings->run_path);
    }
    for (struct dirent *item; count < REGISTRY_MAX_VMS && (item = readdir(dir)) != NULL;) {
        DSTACK_AUTO(str) char *vm_dir = registry_dir(registry, item->d_name);
        DSTACK_AUTO(vm_manifest) struct vm_manifest manifest = {0};
        dstack_error local = {0};
        if (vm_dir == NULL) {
            continue;
        }
        if (vm_manifest_read(vm_dir, &manifest, &local) != 0) {
            LOG_WARN("a VM folder is skipped", "vm", item->d_name, "reason", local.message);
            continue;
        }
        /* Checked by registry_dir: no longer than VM_ID_MAX. */
        memcpy(entries[count].id, item->d_name, strlen(item->d_name) + 1);
        entries[count++].created = manifest.created_at_ms;
    }
    closedir(dir);
    qsort(entries, count, sizeof entries[0], by_creation);
    *out = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(*out, json_string(entries[i].id));
    }
    return 0;
}

/* ---- restarts ---- */

static struct restart_state *restart_state_of(struct registry *registry, const char *id) {
    for (size_t i = 0; i < registry->restart_count; i++) {
        if (strcmp(registry->restarts[i].id, id) == 0) {
            return &registry->restarts[i].state;
        }
    }
    size_t slot = registry->restart_count < REGISTRY_MAX_VMS ? registry->restart_count++ : 0;
    memset(&registry->restarts[slot], 0, sizeof registry->restarts[slot]);
    snprintf(registry->restarts[slot].id, sizeof registry->restarts[slot].id, "%s", id);
    return &registry->restarts[slot].state;
}

void registry_forget_restarts(struct registry *registry, const char *id) {
    *restart_state_of(registry, id) = (struct restart_state){0};
}

/* A VM that should run, whose guest neither powered off nor gave up booting with a reason: a refusal
 * is final, and trying again would only repeat it. */
static bool wants_restart(const char *dir, bool *running) {
    bool started = false;
    DSTACK_AUTO(vm_runtime) struct vm_runtime runtime = {0};
    DSTACK_AUTO(str) char *removing = vm_path(dir, VM_REMOVING_FILE);
    *running = vm_lock_holder(dir) != 0;
    if (vm_started_read(dir, &started, NULL) != 0 || vm_runtime_read(dir, &runtime, NULL) != 0 ||
        removing == NULL || access(removing, F_OK) == 0) {
        return false;
    }
    return started && !runtime.powered_off &&
           (runtime.boot_error[0] == 0 || strcmp(runtime.boot_progress, "done") == 0);
}

static void tick_one(struct registry *registry, const char *id, int64_t now) {
    const struct vmm_settings *s = registry->settings;
    const struct restart_policy policy = {s->restart_max_retries, s->restart_initial_s,
                                          s->restart_max_s, s->restart_reset_s};
    DSTACK_AUTO(str) char *dir = registry_dir(registry, id);
    bool running = false;
    if (dir == NULL || !wants_restart(dir, &running)) {
        return;
    }
    switch (restart_decide(&policy, restart_state_of(registry, id), running, now)) {
    case RESTART_NOW: {
        dstack_error err = {0};
        LOG_INFO("restarting a VM that ended", "vm", id);
        if (operation_start(registry, dir, &err) != 0) {
            LOG_WARN("restart failed", "vm", id, "reason", err.message);
        }
        return;
    }
    case RESTART_EXHAUSTED:
        LOG_WARN("automatic restart gives up", "vm", id);
        return;
    case RESTART_NOTHING:
        return;
    }
}

void registry_tick(struct registry *registry, int64_t now) {
    DSTACK_AUTO(json) json_t *ids = NULL;
    size_t i;
    json_t *id;
    pthread_mutex_lock(&registry->mutex);
    if (registry->settings->restart_enabled && registry_ids(registry, &ids, NULL) == 0) {
        json_array_foreach(ids, i, id) {
            tick_one(registry, json_string_value(id), now);
        }
    }
    pthread_mutex_unlock(&registry->mutex);
}

/* ---- start ---- */

/* Folders that a crash left: creations that were not finished, removals that were under way. */
static void clean(struct registry *registry) {
    DIR *dir = opendir(registry->settings->run_path);
    for (struct dirent *item; dir != NULL && (item = readdir(dir)) != NULL;) {
        const char *name = item->d_name;
        bool unfinished = strncmp(name, OPERATION_NEW_PREFIX, strlen(OPERATION_NEW_PREFIX)) == 0 ||
                          strncmp(name, OPERATION_GONE_PREFIX, strlen(OPERATION_GONE_PREFIX)) == 0;
        DSTACK_AUTO(str)
        char *path = unfinished ? vm_path(registry->settings->run_path, name) : NULL;
        if (path != NULL) {
            LOG_INFO("cleaning up after an interrupted operation", "folder", name);
            operation_delete_tree(path);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static void resume_one(struct registry *registry, const char *id) {
    DSTACK_AUTO(str) char *dir = registry_dir(registry, id);
    DSTACK_AUTO(str) char *removing = dir != NULL ? vm_path(dir, VM_REMOVING_FILE) : NULL;
    dstack_error err = {0};
    bool running = false;
    if (removing == NULL) {
        return;
    }
    if (access(removing, F_OK) == 0) {
        LOG_INFO("going on with a removal", "vm", id);
        operation_remove(registry, dir, &err);
    } else if (wants_restart(dir, &running) && !running) {
        LOG_INFO("starting a VM that should run", "vm", id);
        operation_start(registry, dir, &err);
    } else if (running) {
        LOG_INFO("found a running VM", "vm", id);
    }
    if (err.status != 0) {
        LOG_WARN("a VM needs attention", "vm", id, "reason", err.message);
    }
}

static int lock_run_path(struct registry *registry, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(registry->settings->run_path, ".vmm.lock");
    registry->lock_fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (registry->lock_fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", registry->settings->run_path);
    }
    if (flock(registry->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return error_set(err, DSTACK_E_STATE, "another dstack-vmm works on %s",
                         registry->settings->run_path);
    }
    return 0;
}

void registry_close(struct registry *registry) {
    if (registry->lock_fd > 0) {
        close(registry->lock_fd);
    }
    registry->lock_fd = -1;
}

int registry_open(struct registry *registry, const struct vmm_settings *settings,
                  dstack_error *err) {
    DSTACK_AUTO(json) json_t *ids = NULL;
    size_t i;
    json_t *id;
    memset(registry, 0, sizeof *registry);
    registry->settings = settings;
    pthread_mutex_init(&registry->mutex, NULL);
    registry->lock_fd = -1;
    int rc = file_make_dirs(settings->run_path, 0700, err);
    rc = rc != 0 ? rc : lock_run_path(registry, err);
    if (rc == 0) {
        clean(registry);
        rc = registry_ids(registry, &ids, err);
    }
    json_array_foreach(ids, i, id) {
        resume_one(registry, json_string_value(id));
    }
    return rc;
}
