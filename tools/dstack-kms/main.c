/* dstack-kms: releases keys to attested apps. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "kms.h"
#include "service/log.h"
#include "settings.h"

#define RENEWAL_CHECK_MS 600000

DSTACK_AUTO_DEFINE_CLEAR(kms, kms, kms_close)

static int fail(const dstack_error *err) {
    LOG_ERROR("cannot go on", "reason", err->message);
    return 1;
}

static void announce(const kms *k) {
    char text[120];
    snprintf(text, sizeof text, "serving %s on %s:%u", k->store.domain,
             config_str(k->config, "rpc.address"), http_server_port(k->server, "rpc"));
    if (!config_bool(k->config, "core.image.verify")) {
        LOG_WARN("OS images are not verified");
    }
    daemon_ready(text);
}

static void run(kms *k) {
    for (;;) {
        dstack_error err = {0};
        switch (daemon_wait(RENEWAL_CHECK_MS)) {
        case DAEMON_STOP:
            return;
        case DAEMON_RELOAD: /* the allow-list is read again by itself when it changes */
        case DAEMON_TIMEOUT:
            if (kms_renew(k, &err) != 0) {
                LOG_ERROR("server certificate not renewed", "reason", err.message);
            }
        }
    }
}

int main(int argc, char **argv) {
    daemon_options options;
    if (argc == 2 && strcmp(argv[1], KMS_SIGNER_FLAG) == 0) {
        return kms_signer_main();
    }
    int rc = daemon_start(&kms_description, argc, argv, &options);
    if (rc != DAEMON_RUN) {
        return rc;
    }
    DSTACK_AUTO(config) service_config *config = options.config;
    DSTACK_AUTO(kms) kms k = {.store_lock = -1};
    dstack_error err = {0};
    if (kms_open(&k, config, options.insecure_dev, &err) != 0) {
        return fail(&err);
    }
    if ((options.flags_given & KMS_FLAG_PRINT_IDENTITY) != 0) {
        const char *text = buf_text(&k.own_boot_info);
        printf("%s\n", text != NULL && text[0] != 0 ? text : "null");
        return 0;
    }
    if (kms_onboard(&k, &err) != 0 || kms_serve(&k, &err) != 0) {
        return fail(&err);
    }
    announce(&k);
    run(&k);
    return 0;
}
