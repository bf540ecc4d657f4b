/* Ingress: the first registration with the gateway. */
#include "boot/boot.h"

#include "base/error.h"
#include "evidence.h"
#include "net/gateway_link.h"
#include "paths.h"

static int attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err) {
    boot *b = user;
    return evidence_take(b->tee, AGENT_EVENT_DIR, b->config.vm_config, report_data, out, err);
}

int stage_gateway(void *context, dstack_error *err) {
    boot *b = context;
    if (!b->app->gateway_enabled) {
        return 0;
    }
    host_api_notify(b->host, "boot.progress", "setting up dstack-gateway");
    const gateway_link link = {
        .keys = &b->keys,
        .app = b->app,
        .vm_config = b->config.vm_config,
        .urls = b->config.gateway_urls,
        .url_count = b->config.gateway_url_count,
        .insecure_dev = dstack_tee_is_simulated(b->tee),
        .cache_path = GATEWAY_CACHE_FILE,
        .attest = attest,
        .user = b,
    };
    return gateway_link_refresh(&link, err);
}
