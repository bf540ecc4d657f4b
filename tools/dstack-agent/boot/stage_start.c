/* The stages before anything is measured: what was handed over, and whether it may run here. */
#include "boot/boot.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "cmdline.h"
#include "paths.h"
#include "proc.h"

#define SHARE_WAIT_MS 30000
#define TEE_WAIT_MS 30000
#define OS_RELEASE "/usr/lib/os-release"

int stage_share(void *context, dstack_error *err) {
    boot *b = context;
    if (mount("dstack", AGENT_WORK_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=512m") !=
        0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot mount %s", AGENT_WORK_DIR);
    }
    int rc = share_fetch(SHARE_WAIT_MS, &b->share, err);
    return rc != 0 ? rc : share_write(&b->share, AGENT_SHARE_DIR, err);
}

static int cmdline_read(boot *b, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read("/proc/cmdline", sizeof b->cmdline - 1, &text, err);
    if (rc == 0) {
        memcpy(b->cmdline, text.data, text.len);
    }
    return rc;
}

/* VERSION_ID of os-release, without quotes. */
static int os_version_read(char *out, size_t size, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(OS_RELEASE, 65536, &text, err);
    const char *s = rc == 0 ? buf_text(&text) : NULL;
    if (s == NULL) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    /* The image's own version where it states one, else the distribution's. */
    static const char *const keys[] = {"IMAGE_VERSION=", "VERSION_ID="};
    for (size_t k = 0; k < 2; k++) {
        for (const char *line = s; line != NULL && *line != '\0';) {
            size_t len = strcspn(line, "\n");
            size_t key_len = strlen(keys[k]);
            if (len > key_len && strncmp(line, keys[k], key_len) == 0) {
                const char *value = line + key_len;
                size_t value_len = len - key_len;
                if (value_len >= 2 && (*value == '"' || *value == '\'')) {
                    value++;
                    value_len -= 2;
                }
                snprintf(out, size, "%.*s", (int)value_len, value);
                return 0;
            }
            line += len + (line[len] == '\n');
        }
    }
    return error_set(err, DSTACK_E_FORMAT, "%s states no version", OS_RELEASE);
}

int stage_manifest(void *context, dstack_error *err) {
    boot *b = context;
    int rc;
    if ((rc = cmdline_read(b, err)) != 0 ||
        (rc = sys_config_parse(bytes_of_buf(&b->share.files[SHARE_SYS_CONFIG]), &b->config, err)) !=
            0 ||
        (rc = dstack_manifest_parse(bytes_of_buf(&b->share.files[SHARE_COMPOSE]), &b->manifest,
                                    err)) != 0) {
        return rc;
    }
    b->app = dstack_manifest_get(b->manifest);
    char version[64];
    if ((rc = os_version_read(version, sizeof version, err)) != 0) {
        return rc;
    }
    const dstack_manifest_host host = {
        .os_version = version,
        .tee = DSTACK_TEE_TDX,
        .tdx_lite = b->config.tdx_lite,
        .user_config = bytes_of_buf(&b->share.files[SHARE_USER_CONFIG]),
    };
    if ((rc = dstack_manifest_check_host(b->manifest, &host, err)) != 0) {
        return rc;
    }
    /* What this image cannot do is refused before anything is measured, never silently changed. */
    if (strcmp(b->app->runner, "docker-compose") != 0 && strcmp(b->app->runner, "bash") != 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "this image has no runner \"%s\"",
                         b->app->runner);
    }
    if (strcmp(b->app->storage_fs, "ext4") != 0 || strcmp(b->app->storage_integrity, "none") != 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "this image has storage_fs ext4 without storage_integrity alone");
    }
    if (b->app->verity_volume_count != 0 || b->app->init_script_count != 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "this image has neither verity volumes nor init scripts");
    }
    if (b->app->key_provider != DSTACK_KEY_PROVIDER_NONE &&
        b->app->key_provider != DSTACK_KEY_PROVIDER_KMS) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "this image has key providers none and kms");
    }
    return 0;
}

int stage_tee(void *context, dstack_error *err) {
    boot *b = context;
    int rc = dstack_tee_sim_accept_root(b->cmdline, bytes_of_buf(&b->share.files[SHARE_SIM_ROOT]),
                                        &b->sim_root, err);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    const dstack_tee_options options = {.sim_root = bytes_of_buf(&b->sim_root)};
    const char *url = b->sim_root.len > 0 ? "sim:port:" DSTACK_TEE_SIM_PORT : "tdx";
    /* The device's node comes with its driver, which may be later than this program. */
    int64_t until = clock_monotonic_ms() + TEE_WAIT_MS;
    for (;;) {
        rc = dstack_tee_open(url, &options, &b->tee, err);
        if (rc != DSTACK_E_NOT_FOUND || clock_monotonic_ms() >= until) {
            return rc;
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000000L}, NULL);
    }
}

int stage_time(void *context, dstack_error *err) {
    boot *b = context;
    if (!b->app->secure_time) {
        return 0;
    }
    const char *argv[] = {"/usr/bin/chronyc", "waitsync", "30", "0.1", "0", "5", NULL};
    int rc = proc_run(&(proc_spec){.argv = argv, .timeout_ms = 160000}, err);
    return rc != 0 ? error_prefix(err, rc, "no secure time") : 0;
}
