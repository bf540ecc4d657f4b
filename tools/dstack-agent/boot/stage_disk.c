/* The stages that need the keys: disk, environment, files of the app. */
#include "boot/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "disk/data_disk.h"
#include "paths.h"

/* What the container engine keeps, and must find again after a reboot. */
static const char *const PERSISTENT[] = {"/var/lib/docker", "/var/lib/containerd"};

/* {"name":...,"id":...}: the order of members is measured. */
static int key_provider_event(const app_keys *keys, dstack_buf *out, dstack_error *err) {
    buf_put_fmt(out, "{\"name\":\"%s\",\"id\":\"", app_keys_provider_name(keys->provider));
    buf_put_hex(out, bytes_of_buf(&keys->provider_id));
    buf_put_str(out, "\"}");
    return buf_check(out, err);
}

static int binds_make(dstack_error *err) {
    for (size_t i = 0; i < sizeof PERSISTENT / sizeof *PERSISTENT; i++) {
        char source[300];
        snprintf(source, sizeof source, "%s%s", AGENT_DATA_DIR, PERSISTENT[i]);
        int rc = file_make_dirs(source, 0711, err);
        if (rc != 0 || (rc = file_make_dirs(PERSISTENT[i], 0711, err)) != 0) {
            return rc;
        }
        if (mount(source, PERSISTENT[i], NULL, MS_BIND | MS_REC, NULL) != 0) {
            return error_set_errno(err, DSTACK_E_IO, "cannot bind %s", PERSISTENT[i]);
        }
    }
    return 0;
}

int stage_disk(void *context, dstack_error *err) {
    boot *b = context;
    DSTACK_AUTO(buf) dstack_buf provider = {0};
    int rc;
    if ((rc = key_provider_event(&b->keys, &provider, err)) != 0 ||
        (rc = boot_emit(b, "key-provider", bytes_of_buf(&provider), err)) != 0 ||
        (rc = app_keys_save(&b->keys, AGENT_APP_KEYS, err)) != 0 ||
        (rc = boot_emit(b, "storage-fs", bytes_of_str(b->app->storage_fs), err)) != 0 ||
        (rc = data_disk_find(b->cmdline, b->disk_device, err)) != 0 ||
        (rc = data_disk_state(b->disk_device, &b->disk_initialised, err)) != 0) {
        return rc;
    }
    if (b->disk_initialised && b->app->key_provider == DSTACK_KEY_PROVIDER_NONE) {
        /* Keys of this boot cannot open a disk of an earlier one: it is made anew. */
        b->disk_initialised = false;
    }
    host_api_notify(b->host, "boot.progress",
                    b->disk_initialised ? "mounting data disk" : "initializing data disk");
    rc = data_disk_mount(b->disk_device, b->keys.disk_crypt_key, b->disk_initialised,
                         AGENT_DATA_MAPPING, AGENT_DATA_DIR, err);
    return rc != 0 ? rc : binds_make(err);
}

int stage_ready(void *context, dstack_error *err) {
    boot *b = context;
    DSTACK_AUTO(buf) dstack_buf info = {0};
    int rc = instance_info_write(bytes_of(b->seed, sizeof b->seed),
                                 bytes_of(b->instance_id, b->instance_id_len),
                                 bytes_of(b->app_id, sizeof b->app_id), &info, err);
    if (rc != 0 || (rc = file_write_atomic(AGENT_SHARE_DIR "/.instance_info", bytes_of_buf(&info),
                                           0644, err)) != 0) {
        return rc;
    }
    host_api_notify(b->host, "instance.info", buf_text(&info));
    if ((rc = boot_emit(b, "system-ready", (dstack_bytes){0}, err)) != 0) {
        return rc;
    }
    host_api_notify(b->host, "boot.progress", "data disk ready");
    return 0;
}

static int secret_file(const char *path, const dstack_secret *content, dstack_error *err) {
    dstack_bytes bytes = {0};
    if (content != NULL) {
        bytes = bytes_of(dstack_secret_peek(content), dstack_secret_len(content));
    }
    return file_write_atomic(path, bytes, 0600, err);
}

/* A blob that does not open ends the boot: an app must never start with less than it was given. */
int stage_environment(void *context, dstack_error *err) {
    boot *b = context;
    dstack_bytes blob = bytes_of_buf(&b->share.files[SHARE_ENCRYPTED_ENV]);
    if (blob.len > 0 && b->keys.env_crypt_key == NULL) {
        return error_set(err, DSTACK_E_REFUSED,
                         "there is an encrypted environment, but no key to open it");
    }
    size_t skipped = 0;
    int rc = blob.len > 0 ? dstack_env_decrypt(blob, b->keys.env_crypt_key, b->app->allowed_envs,
                                               b->app->allowed_env_count, &b->env, &skipped, err)
                          : 0;
    if (rc == 0 && b->env == NULL) {
        b->env = dstack_env_new();
    }
    if (rc != 0 || b->env == NULL) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    DSTACK_AUTO(secret) dstack_secret *json = NULL;
    DSTACK_AUTO(secret) dstack_secret *script = NULL;
    if ((rc = dstack_env_to_json(b->env, &json, err)) != 0 ||
        (rc = dstack_env_to_script(b->env, &script, err)) != 0 ||
        (rc = secret_file(AGENT_SHARE_DIR "/.decrypted-env.json", json, err)) != 0) {
        return rc;
    }
    return secret_file(AGENT_SHARE_DIR "/.decrypted-env", script, err);
}

static int link_make(const char *target, const char *path, dstack_error *err) {
    return symlink(target, path) == 0 || errno == EEXIST
               ? 0
               : error_set_errno(err, DSTACK_E_IO, "cannot make %s", path);
}

int stage_app_files(void *context, dstack_error *err) {
    boot *b = context;
    int rc;
    if ((rc = link_make(".host-shared/app-compose.json", AGENT_WORK_DIR "/app-compose.json",
                        err)) != 0 ||
        (rc = file_make_dirs(AGENT_GATEWAY_DIR, 0755, err)) != 0) {
        return rc;
    }
    if (b->share.present[SHARE_USER_CONFIG] &&
        (rc = link_make(".host-shared/.user-config", AGENT_WORK_DIR "/user_config", err)) != 0) {
        return rc;
    }
    if (b->app->docker_compose_file == NULL) {
        return 0;
    }
    return file_write_atomic(AGENT_WORK_DIR "/docker-compose.yaml",
                             bytes_of_str(b->app->docker_compose_file), 0644, err);
}
