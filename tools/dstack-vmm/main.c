/* dstack-vmm: the host daemon. Subcommands: serve (default), simulate-tee, supervise (internal). */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "config.h"
#include "rpc_vmm.h"
#include "service/daemon.h"
#include "service/log.h"
#include "service/sim/sim_server.h"
#include "supervise.h"
#include "vmm_config.h"

#define DRAIN_MS 3000

static int find_self(char out[PATH_MAX], dstack_error *err) {
    ssize_t len = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (len <= 0) {
        return error_set_errno(err, DSTACK_E_IO, "/proc/self/exe");
    }
    out[len] = 0;
    return 0;
}

static int listen_on(struct vmm_app *app, const service_config *config, http_server *server,
                     dstack_error *err) {
    static rpc_binding binding;
    binding = (rpc_binding){.service = &vmm_service, .app = app};
    static http_route routes[2];
    routes[0] = (http_route){"*", "/prpc/*", rpc_handle, &binding, (size_t)120 << 20, 0};
    routes[1] = (http_route){"GET", "/logs", vmm_logs_handle, app, 0, 0};
    http_listener_config listener = {.name = "rpc",
                                     .address = config_str(config, "address"),
                                     .routes = routes,
                                     .route_count = 2,
                                     .server_header = "dstack VMM",
                                     .version_header = "v" DSTACK_PROJECT_VERSION};
    config_http_limits(config, "limits", &listener.limits);
    return http_server_listen(server, &listener, err);
}

static void serve(struct vmm_app *app) {
    int64_t interval = app->settings.restart_interval_s;
    int64_t next = clock_unix() + interval;
    for (;;) {
        int64_t wait = next - clock_unix();
        daemon_event event = daemon_wait(wait > 0 ? (int)wait * 1000 : 0);
        if (event == DAEMON_STOP) {
            return;
        }
        if (clock_unix() >= next) {
            registry_tick(&app->registry, clock_unix());
            next = clock_unix() + interval;
        }
    }
}

static int run(const daemon_options *options) {
    static struct vmm_app app;
    char self[PATH_MAX];
    dstack_error err = {0};
    http_server *server = NULL;
    int rc = find_self(self, &err);
    rc = rc != 0
             ? rc
             : vmm_settings_fill(options->config, options->insecure_dev, self, &app.settings, &err);
    rc = rc != 0 ? rc : vmm_auth_fill(&app, options->config, &err);
    rc = rc != 0 ? rc : registry_open(&app.registry, &app.settings, &err);
    if (rc == 0) {
        server = http_server_new(&(http_server_config){.name = "dstack-vmm", .workers = 4});
        rc = server != NULL ? listen_on(&app, options->config, server, &err)
                            : error_set(&err, DSTACK_E_MEMORY, "no memory");
    }
    if (rc == 0) {
        LOG_INFO("ready", "run_path", app.settings.run_path, "images", app.settings.image_path,
                 "qemu", app.settings.qemu_version, "accel", app.settings.accel);
        daemon_ready(config_str(options->config, "address"));
        serve(&app);
    } else {
        LOG_ERROR("cannot start", "reason", err.message);
    }
    if (server != NULL) {
        http_server_drain(server, DRAIN_MS);
    }
    http_server_free(server);
    registry_close(&app.registry);
    vmm_settings_clear(&app.settings);
    return rc == 0 ? 0 : 3;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "supervise") == 0) {
        return supervise_command(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "simulate-tee") == 0) {
        return sim_command(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        argv[1] = argv[0];
        argc--;
        argv++;
    }
    const daemon_description description = {.name = "dstack-vmm",
                                            .summary = "runs confidential VMs on this host",
                                            .keys = vmm_config_keys,
                                            .key_count = vmm_config_key_count,
                                            .check = vmm_config_check};
    daemon_options options = {0};
    int rc = daemon_start(&description, argc, argv, &options);
    if (rc != DAEMON_RUN) {
        return rc;
    }
    rc = run(&options);
    config_free(options.config);
    return rc;
}
