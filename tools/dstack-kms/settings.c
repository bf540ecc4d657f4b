#include "settings.h"

#include <string.h>

#include <dstack/collateral.h>
#include <dstack/snp.h>

#include "auth.h"
#include "base/error.h"
#include "service/collateral_watch.h"
#include "service/image_store.h"

static const config_key keys[] = {
    {"rpc.address", CONFIG_STR, "0.0.0.0", "IP address of the main listener (TLS)"},
    {"rpc.port", CONFIG_INT, "8000", "its port; 0: any free one"},
    CONFIG_HTTP_LIMITS("rpc.limits"),
    {"rpc.public_rate", CONFIG_INT, "50",
     "requests per second and address to methods that anybody may call, 0: any"},
    {"rpc.public_burst", CONFIG_INT, "200", "how many of them may come at once"},
    {"rpc.workers", CONFIG_INT, "4", "requests handled at a time"},
    {"core.cert_dir", CONFIG_PATH, "/etc/kms/certs", "key store; created 0700"},
    {"core.enforce_self_authorization", CONFIG_BOOL, "true",
     "the KMS must pass its own policy; false needs --insecure-dev"},
    {"core.attest_rpc_cert", CONFIG_BOOL, "true",
     "evidence in the server certificate; false needs --insecure-dev"},
    {"core.sev_snp_key_release", CONFIG_BOOL, "false", "release keys to AMD SEV-SNP guests"},
    {"core.aws_nitro_tpm_key_release", CONFIG_BOOL, "false", "release keys to AWS NitroTPM guests"},
    {"core.nitro_enclave_key_release", CONFIG_BOOL, "false", "release keys to AWS Nitro enclaves"},
    {"core.tee.url", CONFIG_STR, "",
     "own evidence: tdx, agent:unix:PATH, sim:unix:PATH; empty: none, needs --insecure-dev"},
    {"core.tee.manifest", CONFIG_PATH, "", "app-compose.json that is measured at start"},
    {"core.tee.vm_config", CONFIG_PATH, "", "file with the vm_config of the own machine"},
    {"core.attestation.root_ca.tdx", CONFIG_PATH, "",
     "certificate of a simulation root to trust; needs --insecure-dev"},
    {"core.attestation.collateral", CONFIG_LIST, "", "files with Intel collateral bundles (JSON)"},
    {"core.attestation.urls.pccs", CONFIG_LIST, DSTACK_COLLATERAL_DEFAULT_SERVER,
     "servers to fetch collateral from, in order; []: none"},
    {"core.attestation.urls.amd_kds", CONFIG_LIST, DSTACK_SNP_DEFAULT_SERVER,
     "servers to fetch AMD's certificates from, when SEV-SNP evidence has none; []: none"},
    {"core.attestation.urls.tpm", CONFIG_BOOL, "true",
     "fetch certificates and revocation lists of Google Cloud's vTPM keys from where they are "
     "published"},
    {"core.attestation.collateral_cache", CONFIG_PATH, "",
     "folder in which what was fetched is kept; empty: none"},
    {"core.attestation.urls.timeout", CONFIG_DURATION, "10s", "of one request to them"},
    CONFIG_COLLATERAL_RENEWAL("core.attestation.renewal"),
    {"core.image.verify", CONFIG_BOOL, "true",
     "registers must follow from the image that vm_config names; false needs --insecure-dev"},
    {"core.sign.reserved_names", CONFIG_LIST, "",
     "host names (and all below them) that only the gateway app may have in certificates"},
    {"core.log.dir", CONFIG_PATH, "", "folder of the audit log; empty: cert_dir/log"},
    {"core.log.name", CONFIG_STR, "", "name of a new audit log; empty: a random one"},
    {"core.metrics.enabled", CONFIG_BOOL, "true", "serve /metrics"},
    {"core.auth_api.type", CONFIG_STR, "file",
     "file, chain, webhook, or dev (needs --insecure-dev)"},
    KMS_AUTH_KEYS("core.auth_api", "/etc/kms/allow.yaml"),
    {"core.auth_api.webhook.url", CONFIG_STR, "http://auth-api:8000", "http, https or unix:<path>"},
    {"core.auth_api.webhook.timeout", CONFIG_DURATION, "5s", "of one question"},
    {"core.auth_api.webhook.max_age", CONFIG_DURATION, "never",
     "an answer by an older policy (policyTime) is no allowance"},
    {"core.auth_api.dev.gateway_app_id", CONFIG_STR, "any", "what type dev answers"},
    {"core.image.cache_dir", CONFIG_PATH, "/usr/share/dstack/images",
     "where downloaded images are kept; what ClearImageCache clears"},
    {"core.image.download_url", CONFIG_STR, "",
     "where images are fetched by their hash, with " IMAGE_STORE_PLACE "; empty: nowhere"},
    {"core.image.download_timeout", CONFIG_DURATION, "2m", "for one image, waiting included"},
    {"core.image.download_max", CONFIG_SIZE, "2G", "largest archive"},
    {"core.image.unpacked_max", CONFIG_SIZE, "4G", "largest content of one"},
    {"core.image.keep", CONFIG_INT, "16", "images kept in the cache"},
    {"core.image.downloads", CONFIG_INT, "2", "downloads at a time"},
    {"core.evidence.max_age", CONFIG_DURATION, "24h",
     "how old evidence may be by its certificate, its first use or its signed time; never: any"},
    {"core.evidence.require_connection", CONFIG_BOOL, "false",
     "app keys only with evidence made for the very connection"},
    {"core.site_name", CONFIG_STR, "", "told by GetAttestationInfo"},
    {"core.admin.enabled", CONFIG_BOOL, "false", "serve the admin methods"},
    {"core.admin.address", CONFIG_STR, "127.0.0.1", "IP address of the admin listener"},
    {"core.admin.port", CONFIG_INT, "8001", "its port; 0: any free one"},
    {"core.admin.auth_token_file", CONFIG_PATH, "", "file (0600) with the admin token"},
    {"core.admin.tls", CONFIG_BOOL, "false",
     "TLS with the main listener's certificate; GetKmsKey needs it"},
    {"core.onboard.public_key_handover", CONFIG_BOOL, "true",
     "GetKmsKey on the main listener; false: only on the admin listener, with the token"},
    {"core.onboard.require_channel_evidence", CONFIG_BOOL, "false",
     "root keys move only over connections that both sides prove to be at the ends of"},
    {"core.onboard.expected_k256_pubkey", CONFIG_STR, "",
     "hex of the root k256 public key that a source of root keys must have"},
    {"core.onboard.enabled", CONFIG_BOOL, "true",
     "offer the set-up listener while keys are missing"},
    {"core.onboard.auto_bootstrap_domain", CONFIG_STR, "",
     "make keys at first start for this host name, without an operator"},
    {"core.onboard.address", CONFIG_STR, "127.0.0.1",
     "IP address of the set-up listener (plain HTTP)"},
    {"core.onboard.port", CONFIG_INT, "8000", "its port"},
};

static int needs_insecure(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_INSECURE,
                     "%s weakens the release of keys and needs --insecure-dev", what);
}

static int check_type(const service_config *config, dstack_error *err) {
    const char *type = config_str(config, "core.auth_api.type");
    static const char *const types[] = {"file", "chain", "webhook", "dev"};
    bool known = false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        known = known || strcmp(type, types[i]) == 0;
    }
    if (!known) {
        return error_set(err, DSTACK_E_FORMAT,
                         "core.auth_api.type must be file, chain, webhook or dev");
    }
    return 0;
}

static int check_images(const service_config *config, dstack_error *err) {
    const char *url = config_str(config, "core.image.download_url");
    bool fetched = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    if (url[0] != 0 && (!fetched || strstr(url, IMAGE_STORE_PLACE) == NULL)) {
        return error_set(
            err, DSTACK_E_FORMAT,
            "core.image.download_url must be an http or https URL with " IMAGE_STORE_PLACE);
    }
    if (config_duration_ms(config, "core.image.download_timeout") <= 0) {
        return error_set(err, DSTACK_E_FORMAT, "core.image.download_timeout must have an end");
    }
    static const char *const counts[] = {"core.image.keep", "core.image.downloads"};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t count = config_int(config, counts[i]);
        if (count < 1 || count > 4096) {
            return error_set(err, DSTACK_E_FORMAT, "%s must be 1 to 4096", counts[i]);
        }
    }
    return 0;
}

static int check_ports(const service_config *config, dstack_error *err) {
    static const char *const ports[] = {"rpc.port", "core.onboard.port", "core.admin.port"};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        int64_t port = config_int(config, ports[i]);
        if (port < 0 || port > 65535) {
            return error_set(err, DSTACK_E_FORMAT, "%s must be 0 to 65535", ports[i]);
        }
    }
    return 0;
}

int kms_settings_check(const service_config *config, bool insecure_dev, dstack_error *err) {
    int rc = check_type(config, err);
    rc = rc != 0 ? rc : check_ports(config, err);
    rc = rc != 0 ? rc : check_images(config, err);
    rc = rc != 0 ? rc : kms_auth_check(config, "core.auth_api", insecure_dev, err);
    rc = rc != 0 ? rc : config_collateral_renewal_check(config, "core.attestation.renewal", err);
    if (rc != 0) {
        return rc;
    }
    if (config_bool(config, "core.admin.enabled") &&
        config_str(config, "core.admin.auth_token_file")[0] == 0) {
        return error_set(err, DSTACK_E_FORMAT,
                         "core.admin.enabled needs core.admin.auth_token_file");
    }
    bool has_tee = config_str(config, "core.tee.url")[0] != 0;
    bool attest = config_bool(config, "core.attest_rpc_cert");
    bool self = config_bool(config, "core.enforce_self_authorization");
    if (!insecure_dev) {
        if (!attest) {
            return needs_insecure("core.attest_rpc_cert: false", err);
        }
        if (!self) {
            return needs_insecure("core.enforce_self_authorization: false", err);
        }
        if (!config_bool(config, "core.image.verify")) {
            return needs_insecure("core.image.verify: false", err);
        }
        if (strcmp(config_str(config, "core.auth_api.type"), "dev") == 0) {
            return needs_insecure("core.auth_api.type: dev", err);
        }
        if (config_str(config, "core.attestation.root_ca.tdx")[0] != 0) {
            return needs_insecure("core.attestation.root_ca.tdx (a simulation root)", err);
        }
        if (strncmp(config_str(config, "core.tee.url"), "sim:", 4) == 0) {
            return needs_insecure("core.tee.url: sim:", err);
        }
    }
    if (!has_tee && (attest || self)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "core.tee.url is required (or core.attest_rpc_cert and "
                         "core.enforce_self_authorization false, with --insecure-dev)");
    }
    bool by_agent = strncmp(config_str(config, "core.tee.url"), "agent:", 6) == 0;
    if (has_tee && !by_agent && config_str(config, "core.tee.manifest")[0] == 0) {
        return error_set(err, DSTACK_E_FORMAT,
                         "core.tee.manifest is required with core.tee.url (except agent:)");
    }
    return 0;
}

static const char *const flags[] = {"print-identity", NULL};

const daemon_description kms_description = {
    .name = "dstack-kms",
    .summary = "releases keys to attested apps",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .flags = flags,
    .check = kms_settings_check,
};
