/* dstack-verifier: judges attestations for others. */
#include <stdio.h>

#include "oneshot.h"
#include "service.h"
#include "service/collateral_watch.h"
#include "service/log.h"
#include "settings.h"

static int fail(const dstack_error *err) {
    LOG_ERROR("cannot go on", "reason", err->message);
    return 1;
}

static void run(engine *e, const char *policy) {
    while (daemon_wait(-1) == DAEMON_RELOAD) {
        dstack_error err = {0};
        if (policy[0] != '\0' && engine_load_policy(e, policy, &err) != 0) {
            LOG_ERROR("the old policy stays in force", "reason", err.message);
        } else if (policy[0] != '\0') {
            LOG_INFO("policy read again");
        }
    }
}

int main(int argc, char **argv) {
    if (oneshot_wanted(argc, argv)) {
        return oneshot_main(argc, argv);
    }
    daemon_options options;
    int rc = daemon_start(&verifier_description, argc, argv, &options);
    if (rc != DAEMON_RUN) {
        return rc;
    }
    DSTACK_AUTO(config) service_config *config = options.config;
    DSTACK_AUTO(engine) engine e = {0};
    DSTACK_AUTO(service) verifier_service s = {0};
    DSTACK_AUTO(collateral_watch) collateral_watch *watch = NULL;
    dstack_error err = {0};
    engine_options wanted;
    verifier_settings_engine(config, &wanted);
    if (engine_open(&e, &wanted, &err) != 0 ||
        service_open(&s, config, &e, options.insecure_dev, &err) != 0 ||
        collateral_watch_start(&watch, e.fetcher, e.verifier, config, "attestation.renewal",
                               s.metrics, &err) != 0) {
        return fail(&err);
    }
    char text[160];
    snprintf(text, sizeof text, "serving on %s:%d", config_str(config, "address"),
             (int)config_int(config, "port"));
    daemon_ready(text);
    run(&e, config_str(config, "policy"));
    return 0;
}
