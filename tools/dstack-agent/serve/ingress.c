#include "serve/ingress.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/gateway.h"
#include "net/gateway_checker.h"
#include "net/gateway_link.h"
#include "net/wireguard.h"
#include "service/log.h"

extern unsigned if_nametoindex(const char *name);

static int attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err) {
    return agent_attest(user, report_data, out, err);
}

static void refresh(const gateway_link *link, gateway_checker *checker, gateway_action action) {
    dstack_error err = {0};
    int rc = gateway_link_refresh(link, &err);
    gateway_checker_done(checker, clock_unix(), action, rc == 0);
    if (rc != 0) {
        LOG_WARN("gateway registration failed", "error", err.message);
    } else if (action == GATEWAY_FORCED) {
        LOG_INFO("registered with the gateway");
    }
}

static void *ingress_main(void *user) {
    agent *a = user;
    const gateway_link link = {
        .keys = &a->keys,
        .app = a->app,
        .vm_config = a->vm_config,
        .urls = a->config.gateway_urls,
        .url_count = a->config.gateway_url_count,
        .insecure_dev = a->insecure_dev,
        .cache_path = GATEWAY_CACHE_FILE,
        .attest = attest,
        .user = a,
    };
    gateway_checker checker = {0};
    if (if_nametoindex(GATEWAY_INTERFACE) != 0) {
        /* The boot has just registered. */
        gateway_checker_done(&checker, clock_unix(), GATEWAY_PERIODIC, true);
    }
    for (;;) {
        sleep(GATEWAY_POLL_S);
        bool registered = if_nametoindex(GATEWAY_INTERFACE) != 0;
        int64_t handshake = 0;
        if (registered) {
            (void)wg_last_handshake(GATEWAY_INTERFACE, &handshake, NULL);
        }
        gateway_action action = gateway_checker_next(&checker, clock_unix(), registered, handshake);
        if (action != GATEWAY_NOTHING) {
            refresh(&link, &checker, action);
        }
    }
    return NULL;
}

void ingress_start(agent *a) {
    pthread_t thread;
    if (!a->app->gateway_enabled || a->config.gateway_url_count == 0 ||
        a->keys.provider != DSTACK_KEY_PROVIDER_KMS) {
        return;
    }
    if (pthread_create(&thread, NULL, ingress_main, a) == 0) {
        pthread_detach(thread);
    }
}
