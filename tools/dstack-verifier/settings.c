#include "settings.h"

#include <string.h>

#include <dstack/collateral.h>
#include <dstack/snp.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "service/collateral_watch.h"

static const config_key keys[] = {
    {"address", CONFIG_STR, "0.0.0.0", "IP address of the listener (plain HTTP), or unix:<path>"},
    {"port", CONFIG_INT, "8080", "its port"},
    {"workers", CONFIG_INT, "4", "requests judged at a time"},
    CONFIG_HTTP_LIMITS("limits"),
    {"rate", CONFIG_INT, "50", "requests per second and address, 0: any"},
    {"burst", CONFIG_INT, "100", "how many of them may come at once"},
    {"addresses", CONFIG_STR, "public",
     "https addresses that the page may have looked at: public, any (private ones too) or none"},
    {"address_timeout", CONFIG_DURATION, "10s", "of one exchange with an address"},
    {"metrics", CONFIG_BOOL, "true", "serve /metrics"},
    {"policy", CONFIG_PATH, "",
     "document that an attestation must satisfy (docs/attestation-policy.md); read again on "
     "SIGHUP"},
    {"images", CONFIG_LIST, "", "folders of guest images that you vouch for"},
    {"image_cache_dir", CONFIG_PATH, "/tmp/dstack-verifier/cache",
     "where downloaded images are kept"},
    {"image_download_url", CONFIG_STR,
     "https://download.dstack.org/os-images/mr_" IMAGE_STORE_PLACE ".tar.gz",
     "where images are fetched by their hash; empty: nowhere"},
    {"image_download_timeout_secs", CONFIG_INT, "300", "seconds for one image, waiting included"},
    {"image_download_max", CONFIG_SIZE, "2G", "largest archive"},
    {"image_unpacked_max", CONFIG_SIZE, "4G", "largest content of one"},
    {"image_keep", CONFIG_INT, "16", "images kept in the cache"},
    {"image_downloads", CONFIG_INT, "2", "downloads at a time"},
    {"ear.key_file", CONFIG_PATH, "",
     "P-256 key (PEM, 0600) that signs attestation results; made when missing; empty: one per "
     "start"},
    {"ear.issuer", CONFIG_STR, "", "who issues them (\"iss\"); empty: not told"},
    {"ear.form", CONFIG_STR, "trustee",
     "names of their claims: trustee (with dots, as tokens of CoCo Trustee), ietf (with "
     "underscores, as draft-ietf-rats-ear-04)"},
    {"ear.lifetime", CONFIG_DURATION, "5m", "how long they hold (\"exp\")"},
    {"attestation.insecure_allow_external_trust_anchors", CONFIG_BOOL, "false",
     "must be true beside any root_ca; needs --insecure-dev"},
    {"attestation.root_ca.tdx", CONFIG_PATH, "",
     "root certificate to trust in place of Intel's (PEM or DER); needs --insecure-dev"},
    {"attestation.root_ca.sev_snp_milan", CONFIG_PATH, "", "the same for AMD Milan"},
    {"attestation.root_ca.sev_snp_genoa", CONFIG_PATH, "", "the same for AMD Genoa"},
    {"attestation.root_ca.sev_snp_turin", CONFIG_PATH, "", "the same for AMD Turin"},
    {"attestation.root_ca.aws_nitro_enclave", CONFIG_PATH, "", "the same for AWS Nitro enclaves"},
    {"attestation.root_ca.aws_nitro_tpm", CONFIG_PATH, "", "the same for AWS NitroTPM"},
    {"attestation.root_ca.gcp_tpm", CONFIG_PATH, "", "the same for Google Cloud's vTPMs"},
    {"attestation.collateral", CONFIG_LIST, "", "files with Intel collateral bundles (JSON)"},
    {"attestation.urls.pccs", CONFIG_LIST, DSTACK_COLLATERAL_DEFAULT_SERVER,
     "servers to fetch collateral from, in order; []: none"},
    {"attestation.urls.tpm", CONFIG_BOOL, "true",
     "fetch certificates and revocation lists of Google Cloud's vTPM keys from where they are "
     "published"},
    {"attestation.urls.amd_kds", CONFIG_LIST, DSTACK_SNP_DEFAULT_SERVER,
     "servers to fetch AMD's certificates from, when SEV-SNP evidence has none; []: none"},
    {"attestation.sev_snp_require_crl", CONFIG_BOOL, "false",
     "fetch AMD's revocation list also when the evidence has certificates; none: refused"},
    {"attestation.collateral_cache", CONFIG_PATH, "",
     "folder in which what was fetched is kept; empty: none"},
    {"attestation.urls.timeout", CONFIG_DURATION, "10s", "of one request to them"},
    CONFIG_COLLATERAL_RENEWAL("attestation.renewal"),
};

static int out_of_range(const char *key, const char *due, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "%s must be %s", key, due);
}

static int check_images(const service_config *config, dstack_error *err) {
    const char *url = config_str(config, "image_download_url");
    int64_t timeout = config_int(config, "image_download_timeout_secs");
    int64_t keep = config_int(config, "image_keep"), count = config_int(config, "image_downloads");
    bool http = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    if (url[0] != '\0' && (!http || strstr(url, IMAGE_STORE_PLACE) == NULL)) {
        return out_of_range("image_download_url", "an http or https URL with " IMAGE_STORE_PLACE,
                            err);
    }
    if (timeout < 1 || timeout > 86400) {
        return out_of_range("image_download_timeout_secs", "1 to 86400", err);
    }
    if (keep < 1 || keep > 4096) {
        return out_of_range("image_keep", "1 to 4096", err);
    }
    if (count < 1 || count > 64) {
        return out_of_range("image_downloads", "1 to 64", err);
    }
    return config_str(config, "image_cache_dir")[0] != '\0'
               ? 0
               : out_of_range("image_cache_dir", "a folder", err);
}

static int check_policy(const service_config *config, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(policy) dstack_attestation_policy *policy = NULL;
    const char *path = config_str(config, "policy");
    if (path[0] == '\0') {
        return 0;
    }
    int rc = file_read(path, DSTACK_ATTESTATION_POLICY_MAX, &text, err);
    rc = rc != 0 ? rc : dstack_attestation_policy_parse(&policy, bytes_of_buf(&text), err);
    return error_prefix(err, rc, "%s", path);
}

int verifier_settings_check(const service_config *config, bool insecure_dev, dstack_error *err) {
    int64_t port = config_int(config, "port");
    if (port == 0) {
        return error_set(err, DSTACK_E_FORMAT, "verifier port must not be zero");
    }
    if (port < 0 || port > 65535) {
        return error_set(err, DSTACK_E_FORMAT, "port must be 1 to 65535");
    }
    bool allowed = config_bool(config, "attestation.insecure_allow_external_trust_anchors");
    static const char *const roots[] = {"attestation.root_ca.tdx",
                                        "attestation.root_ca.sev_snp_milan",
                                        "attestation.root_ca.sev_snp_genoa",
                                        "attestation.root_ca.sev_snp_turin",
                                        "attestation.root_ca.aws_nitro_enclave",
                                        "attestation.root_ca.aws_nitro_tpm",
                                        "attestation.root_ca.gcp_tpm"};
    bool external = false;
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        external = external || config_str(config, roots[i])[0] != '\0';
    }
    if (external && !allowed) {
        return error_set(err, DSTACK_E_INSECURE,
                         "external attestation trust anchors are configured but "
                         "insecure_allow_external_trust_anchors is false");
    }
    if (allowed && !insecure_dev) {
        return error_set(err, DSTACK_E_INSECURE,
                         "attestation.insecure_allow_external_trust_anchors needs --insecure-dev");
    }
    const char *addresses = config_str(config, "addresses");
    if (strcmp(addresses, "public") != 0 && strcmp(addresses, "any") != 0 &&
        strcmp(addresses, "none") != 0) {
        return out_of_range("addresses", "public, any or none", err);
    }
    int64_t wait = config_duration_ms(config, "address_timeout");
    if (wait < 100 || wait > 120000) {
        return out_of_range("address_timeout", "100ms to 2m", err);
    }
    int64_t lifetime = config_duration_ms(config, "ear.lifetime");
    if (lifetime < 1000 || lifetime > (int64_t)86400000) {
        return out_of_range("ear.lifetime", "1s to 1d", err);
    }
    const char *form = config_str(config, "ear.form");
    if (strcmp(form, "trustee") != 0 && strcmp(form, "ietf") != 0) {
        return out_of_range("ear.form", "trustee or ietf", err);
    }
    int rc = check_images(config, err);
    rc = rc != 0 ? rc : config_collateral_renewal_check(config, "attestation.renewal", err);
    return rc != 0 ? rc : check_policy(config, err);
}

void verifier_settings_engine(const service_config *config, engine_options *out) {
    *out = (engine_options){
        .policy = config_str(config, "policy"),
        .snp_milan_root = config_str(config, "attestation.root_ca.sev_snp_milan"),
        .snp_genoa_root = config_str(config, "attestation.root_ca.sev_snp_genoa"),
        .snp_turin_root = config_str(config, "attestation.root_ca.sev_snp_turin"),
        .nitro_enclave_root = config_str(config, "attestation.root_ca.aws_nitro_enclave"),
        .nitro_tpm_root = config_str(config, "attestation.root_ca.aws_nitro_tpm"),
        .gcp_tpm_root = config_str(config, "attestation.root_ca.gcp_tpm"),
        .fetch_tpm = config_bool(config, "attestation.urls.tpm"),
        .tdx_root = config_str(config, "attestation.root_ca.tdx"),
        .pccs_timeout_ms = config_duration_ms(config, "attestation.urls.timeout"),
        .pccs_cache = config_str(config, "attestation.collateral_cache"),
    };
    out->collateral_count = config_list(config, "attestation.collateral", &out->collateral);
    out->kds_count = config_list(config, "attestation.urls.amd_kds", &out->kds);
    out->snp_require_crl = config_bool(config, "attestation.sev_snp_require_crl");
    out->pccs_count = config_list(config, "attestation.urls.pccs", &out->pccs);
    out->image_dir_count = config_list(config, "images", &out->image_dirs);
    out->download = config_str(config, "image_download_url")[0] != '\0';
    out->store = (image_store_options){
        .cache_dir = config_str(config, "image_cache_dir"),
        .url = config_str(config, "image_download_url"),
        .timeout_ms = config_int(config, "image_download_timeout_secs") * 1000,
        .download_max = config_size(config, "image_download_max"),
        .unpacked_max = config_size(config, "image_unpacked_max"),
        .keep = (unsigned)config_int(config, "image_keep"),
        .parallel = (unsigned)config_int(config, "image_downloads"),
    };
}

const daemon_description verifier_description = {
    .name = "dstack-verifier",
    .summary = "verifies attestations for others (or one: --verify FILE, see man dstack-verifier)",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .check = verifier_settings_check,
};
