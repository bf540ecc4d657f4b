#include "app/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <dstack/manifest.h>

#include "app/environment.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
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

DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)

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

static int script_run(const char *script, const app_environment *env, dstack_error *err) {
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

static int compose_run(const app_environment *env, const char *const *command, dstack_error *err) {
    const char *argv[16] = {"/usr/bin/docker", "compose", "-p",
                            "dstack",          "-f",      "docker-compose.yaml"};
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
    DSTACK_AUTO(app_environment) app_environment env = {0};
    int rc;
    if ((rc = manifest_load(&manifest, err)) != 0 ||
        (rc = app_environment_load(ENV_FILE, &env, err)) != 0 || (rc = engine_wait(err)) != 0) {
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
    DSTACK_AUTO(app_environment) app_environment env = {0};
    int rc = app_environment_load(ENV_FILE, &env, err);
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
    host_api *host = host_api_open(AGENT_HOST_PORT, 30000);
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
