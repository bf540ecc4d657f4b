/* dstack-auth: a policy for key management services that are asked through a webhook. */
#include <stdio.h>
#include <string.h>

#include "serve.h"
#include "service/daemon.h"
#include "service/log.h"
#include "settings.h"

static void announce(const auth_service *s) {
    char text[300];
    const char *address = config_str(s->config, "address");
    if (strncmp(address, "unix:", 5) == 0) {
        snprintf(text, sizeof text, "serving on %s", address);
    } else {
        snprintf(text, sizeof text, "serving on %s:%u", address,
                 http_server_port(s->server, "http"));
    }
    daemon_ready(text);
}

static void run(auth_service *s) {
    while (daemon_wait(-1) == DAEMON_RELOAD) {
        dstack_error err = {0};
        if (auth_service_reload(s, &err) != 0) {
            LOG_ERROR("the old certificate stays in use", "reason", err.message);
        }
    }
}

int main(int argc, char **argv) {
    daemon_options options;
    int rc = daemon_start(&auth_description, argc, argv, &options);
    if (rc != DAEMON_RUN) {
        return rc;
    }
    DSTACK_AUTO(config) service_config *config = options.config;
    DSTACK_AUTO(auth_service) auth_service s = {0};
    dstack_error err = {0};
    if (auth_service_open(&s, config, &err) != 0) {
        LOG_ERROR("cannot go on", "reason", err.message);
        return 1;
    }
    announce(&s);
    run(&s);
    return 0;
}
