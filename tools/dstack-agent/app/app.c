#include "app/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <dstack/manifest.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "host/host_api.h"
#include "keys/app_keys.h"
#include "console_log.h"
#include "paths.h"
#include "proc.h"
#include "service/log.h"

#define ENGINE_SOCKET "/run/docker.sock"
#define ENGINE_WAIT_MS 120000
#define START_TIMEOUT_MS 600000
#define SCRIPT_TIMEOUT_MS 300000
#define ENV_FILE AGENT_SHARE_DIR "/.decrypted-env.json"
#define ENV_MAX ((size_t)8 << 20)

DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)

/* The environment of the app's programs: a fixed PATH and HOME, then the decrypted variables, byte
 * for byte; no shell reads them on the way. */
typedef struct environment {
    json_t *values;
    dstack_buf text;   /* all KEY=value strings, each with its zero */
    const char **list; /* NULL-terminated */
} environment;

static void environment_clear(environment *e) {
    json_decref(e->values);
    buf_wipe(&e->text);
    free(e->list);
}
DSTACK_AUTO_DEFINE_CLEAR(environment, environment, environment_clear)

static int environment_load(environment *e, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf json = {0};
    buf_reserve(&json, ENV_MAX);
    int rc = file_read(ENV_FILE, ENV_MAX - 65536, &json, err);
    if (rc != 0) {
        return rc;
    }
    if (json.len > 0) {
        e->values = json_parse(bytes_of_buf(&json), ENV_MAX, "the environment", NULL);
    }
    if (json.len > 0 && !json_is_object(e->values)) {
        return error_set(err, DSTACK_E_FORMAT, "the environment file is not an object");
    }
    size_t count = json_object_size(e->values);
    e->list = calloc(count + 3, sizeof *e->list);
    buf_reserve(&e->text, ENV_MAX);
    if (e->list == NULL || e->text.failed) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    size_t n = 0;
    e->list[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    e->list[n++] = "HOME=/root";
    const char *key;
    json_t *value;
    json_object_foreach(e->values, key, value) {
        const char *start = (const char *)e->text.data + e->text.len;
        buf_put_str(&e->text, key);
        buf_put_u8(&e->text, '=');
        buf_put_str(&e->text, json_string_value(value) != NULL ? json_string_value(value) : "");
        buf_put_u8(&e->text, 0);
        e->list[n++] = start;
    }
    return buf_check(&e->text, err);
}

/* The engine's unit says "started" before its socket answers. */
static int engine_wait(dstack_error *err) {
    int64_t until = clock_monotonic_ms() + ENGINE_WAIT_MS;
    for (;;) {
        DSTACK_AUTO(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ENGINE_SOCKET};
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            return 0;
        }
        if (clock_monotonic_ms() >= until) {
            return error_set(err, DSTACK_E_TIMEOUT, "the container engine does not answer");
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000000L}, NULL);
    }
}

static int script_run(const char *script, const environment *env, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_str(&text, "set -euo pipefail\n");
    buf_put_str(&text, script);
    const char *argv[] = {"/usr/bin/bash", "-s", NULL};
    return proc_run(&(proc_spec){.argv = argv,
                                 .envp = env->list,
                                 .cwd = AGENT_WORK_DIR,
                                 .input = bytes_of_buf(&text),
                                 .show_output = true,
                                 .timeout_ms = SCRIPT_TIMEOUT_MS},
                    err);
}

static int compose_run(const environment *env, const char *const *command, dstack_error *err) {
    const char *argv[16] = {"/usr/bin/docker", "compose", "-p", "dstack", "-f",
                            "docker-compose.yaml"};
    size_t n = 6;
    for (size_t i = 0; command[i] != NULL && n < 15; i++) {
        argv[n++] = command[i];
    }
    return proc_run(&(proc_spec){.argv = argv,
                                 .envp = env->list,
                                 .cwd = AGENT_WORK_DIR,
                                 .show_output = true,
                                 .timeout_ms = START_TIMEOUT_MS},
                    err);
}

static int manifest_load(dstack_manifest **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(AGENT_COMPOSE, DSTACK_MANIFEST_MAX_SIZE, &text, err);
    return rc != 0 ? rc : dstack_manifest_parse(bytes_of_buf(&text), out, err);
}

static int app_start(host_api *host, dstack_error *err) {
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    DSTACK_AUTO(environment) environment env = {0};
    int rc;
    if ((rc = manifest_load(&manifest, err)) != 0 || (rc = environment_load(&env, err)) != 0 ||
        (rc = engine_wait(err)) != 0) {
        return rc;
    }
    const dstack_manifest_fields *app = dstack_manifest_get(manifest);
    if (app->pre_launch_script != NULL && app->pre_launch_script[0] != '\0') {
        host_api_notify(host, "boot.progress", "pre-launch");
        if ((rc = script_run(app->pre_launch_script, &env, err)) != 0) {
            return error_prefix(err, rc, "pre-launch script");
        }
    }
    if (strcmp(app->runner, "bash") == 0) {
        host_api_notify(host, "boot.progress", "running main script");
        return script_run(app->bash_script != NULL ? app->bash_script : "", &env, err);
    }
    host_api_notify(host, "boot.progress", "starting containers");
    static const char *const up[] = {"up", "--remove-orphans", "-d", "--build", NULL};
    return compose_run(&env, up, err);
}

static int app_stop(dstack_error *err) {
    DSTACK_AUTO(environment) environment env = {0};
    int rc = environment_load(&env, err);
    static const char *const stop[] = {"stop", NULL};
    return rc != 0 || access(AGENT_WORK_DIR "/docker-compose.yaml", F_OK) != 0
               ? rc
               : compose_run(&env, stop, err);
}

int app_main(int argc, char **argv) {
    dstack_error err = {0};
    log_to_console("dstack-app");
    if (argc == 2 && strcmp(argv[1], "stop") == 0) {
        return app_stop(&err) == 0 ? 0 : 1;
    }
    if (argc != 2 || strcmp(argv[1], "start") != 0) {
        fprintf(stderr, "usage: dstack-agent app start|stop\n");
        return 2;
    }
    host_api *host = host_api_open(AGENT_HOST_PORT, 5000);
    int rc = app_start(host, &err);
    if (rc != 0) {
        LOG_ERROR("the app did not start", "error", err.message);
        host_api_notify(host, "boot.error", "failed to start containers");
    } else {
        host_api_notify(host, "boot.progress", "done");
    }
    host_api_free(host);
    return rc == 0 ? 0 : 1;
}
