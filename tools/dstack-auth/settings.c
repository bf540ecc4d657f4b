#include "settings.h"

#include <string.h>

#include "auth.h"
#include "base/error.h"
#include "service/http.h"

static const config_key keys[] = {
    {"address", CONFIG_STR, "127.0.0.1", "IP address of the listener, or unix:<path>"},
    {"port", CONFIG_INT, "8001", "its port; 0: any free one"},
    {"tls.certificate", CONFIG_PATH, "", "PEM chain; empty: plain HTTP. Read again on SIGHUP"},
    {"tls.key", CONFIG_PATH, "", "its key (PEM, 0600)"},
    {"workers", CONFIG_INT, "4", "questions answered at a time"},
    CONFIG_HTTP_LIMITS("limits"),
    {"rate", CONFIG_INT, "100", "questions per second and address, 0: any"},
    {"burst", CONFIG_INT, "400", "how many of them may come at once"},
    {"metrics", CONFIG_BOOL, "true", "serve /metrics"},
    {"policy.type", CONFIG_STR, "file", "file, or chain: a DstackKms contract"},
    KMS_AUTH_KEYS("policy", "/var/lib/dstack/auth-allowlist.yaml"),
};

static int check_listener(const service_config *config, dstack_error *err) {
    int64_t port = config_int(config, "port"), workers = config_int(config, "workers");
    if (port < 0 || port > 65535) {
        return error_set(err, DSTACK_E_FORMAT, "port must be 0 to 65535");
    }
    if (workers < 1 || workers > 256) {
        return error_set(err, DSTACK_E_FORMAT, "workers must be 1 to 256");
    }
    if (config_int(config, "rate") < 0 || config_int(config, "burst") < 0 ||
        config_int(config, "rate") > 1000000 || config_int(config, "burst") > 1000000) {
        return error_set(err, DSTACK_E_FORMAT, "rate and burst must be 0 to 1000000");
    }
    bool certificate = config_str(config, "tls.certificate")[0] != 0;
    bool key = config_str(config, "tls.key")[0] != 0;
    return certificate == key
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "tls.certificate and tls.key go together");
}

static int check(const service_config *config, bool insecure_dev, dstack_error *err) {
    const char *type = config_str(config, "policy.type");
    if (strcmp(type, "file") != 0 && strcmp(type, "chain") != 0) {
        return error_set(err, DSTACK_E_FORMAT, "policy.type must be file or chain");
    }
    int rc = check_listener(config, err);
    return rc != 0 ? rc : kms_auth_check(config, "policy", insecure_dev, err);
}

const daemon_description auth_description = {
    .name = "dstack-auth",
    .summary = "tells key management services which code may have keys",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .check = check,
};
