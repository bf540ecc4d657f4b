#include "settings.h"

#include <string.h>

#include <dstack/collateral.h>

#include "base/error.h"

static const config_key keys[] = {
    {"address", CONFIG_STR, "0.0.0.0", "IP address of the listener (plain HTTP), or unix:<path>"},
    {"port", CONFIG_INT, "8080", "its port"},
    {"workers", CONFIG_INT, "4", "requests judged at a time"},
    CONFIG_HTTP_LIMITS("limits"),
    {"rate", CONFIG_INT, "50", "requests per second and address, 0: any"},
    {"burst", CONFIG_INT, "100", "how many of them may come at once"},
    {"metrics", CONFIG_BOOL, "true", "serve /metrics"},
    {"images", CONFIG_LIST, "", "folders of guest images that you vouch for"},
    {"attestation.insecure_allow_external_trust_anchors", CONFIG_BOOL, "false",
     "must be true beside any root_ca; needs --insecure-dev"},
    {"attestation.root_ca.tdx", CONFIG_PATH, "",
     "root certificate to trust in place of Intel's (PEM or DER); needs --insecure-dev"},
    {"attestation.collateral", CONFIG_LIST, "", "files with Intel collateral bundles (JSON)"},
    {"attestation.urls.pccs", CONFIG_LIST, DSTACK_COLLATERAL_DEFAULT_SERVER,
     "servers to fetch collateral from, in order; []: none"},
    {"attestation.urls.timeout", CONFIG_DURATION, "10s", "of one request to them"},
};

int verifier_settings_check(const service_config *config, bool insecure_dev, dstack_error *err) {
    int64_t port = config_int(config, "port");
    if (port == 0) {
        return error_set(err, DSTACK_E_FORMAT, "verifier port must not be zero");
    }
    if (port < 0 || port > 65535) {
        return error_set(err, DSTACK_E_FORMAT, "port must be 1 to 65535");
    }
    bool allowed = config_bool(config, "attestation.insecure_allow_external_trust_anchors");
    if (config_str(config, "attestation.root_ca.tdx")[0] != '\0' && !allowed) {
        return error_set(err, DSTACK_E_INSECURE,
                         "external attestation trust anchors are configured but "
                         "insecure_allow_external_trust_anchors is false");
    }
    if (allowed && !insecure_dev) {
        return error_set(err, DSTACK_E_INSECURE,
                         "attestation.insecure_allow_external_trust_anchors needs --insecure-dev");
    }
    return 0;
}

void verifier_settings_engine(const service_config *config, engine_options *out) {
    *out = (engine_options){
        .tdx_root = config_str(config, "attestation.root_ca.tdx"),
        .pccs_timeout_ms = config_duration_ms(config, "attestation.urls.timeout"),
    };
    out->collateral_count = config_list(config, "attestation.collateral", &out->collateral);
    out->pccs_count = config_list(config, "attestation.urls.pccs", &out->pccs);
    out->image_dir_count = config_list(config, "images", &out->image_dirs);
}

const daemon_description verifier_description = {
    .name = "dstack-verifier",
    .summary = "verifies attestations for others (or one: --verify FILE, see man dstack-verifier)",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .check = verifier_settings_check,
};
