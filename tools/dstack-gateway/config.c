#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "gateway.h"

const config_key gateway_keys[] = {
    {"state_dir", CONFIG_PATH, NULL, "folder for instances, certificates and keys (0700)"},
    {"rpc.address", CONFIG_STR, "127.0.0.1:8010", "listener for registrations (TLS)"},
    {"rpc.domain", CONFIG_STR, NULL, "name in the RPC certificate"},
    CONFIG_HTTP_LIMITS("rpc.limits"),
    {"kms.url", CONFIG_STR, NULL, "KMS that issues the RPC certificate"},
    {"kms.root_ca", CONFIG_PATH, "", "PEM of the KMS root CA; empty: taken at first contact"},
    {"kms.connect", CONFIG_STR, "", "ip:port to connect to instead of the URL's host"},
    {"tee.url", CONFIG_STR, "auto", "own TEE: auto, tdx, sim:unix:PATH"},
    {"tee.manifest", CONFIG_PATH, NULL, "app-compose.json that is measured"},
    {"tee.vm_config", CONFIG_PATH, "", "file with the vm_config of the own machine"},
    {"attestation.sim_root", CONFIG_PATH, "", "simulation root to trust (needs --insecure-dev)"},
    {"attestation.collateral", CONFIG_LIST, "", "collateral bundles (JSON files)"},
    {"wg.interface", CONFIG_STR, "wg-dstack", "WireGuard interface"},
    {"wg.listen_port", CONFIG_INT, "51820", "UDP port"},
    {"wg.ip", CONFIG_STR, "10.0.0.1/24", "own address in the tunnel"},
    {"wg.reserved_net", CONFIG_LIST, "10.0.0.1/32", "never given to instances"},
    {"wg.client_ip_range", CONFIG_STR, "10.0.0.0/25", "addresses for instances"},
    {"wg.endpoint", CONFIG_STR, "10.0.2.2:51820", "host:port that guests connect to"},
    {"proxy.listen_addr", CONFIG_STR, "0.0.0.0", "IPv4 address of the data plane"},
    {"proxy.listen_port", CONFIG_INT, "8443", "its port"},
    {"proxy.external_port", CONFIG_INT, "443", "port that clients use, told to guests"},
    {"proxy.agent_port", CONFIG_INT, "8090", "public port of the guest agent"},
    {"proxy.workers", CONFIG_INT, "0", "threads, 0: one per processor"},
    {"proxy.max_connections", CONFIG_INT, "16384", "per worker"},
    {"proxy.connect_top_n", CONFIG_INT, "3", "instances tried per connection"},
    {"proxy.app_address_ns_prefix", CONFIG_STR, "_dstack-app-address", "told to guests"},
    {"proxy.timeouts.handshake", CONFIG_DURATION, "5s", "ClientHello, and again the handshake"},
    {"proxy.timeouts.connect", CONFIG_DURATION, "5s", "connecting to an instance"},
    {"proxy.timeouts.idle", CONFIG_DURATION, "10m", "no progress in either direction"},
    {"proxy.timeouts.shutdown", CONFIG_DURATION, "5s", "ending one direction"},
    {"proxy.timeouts.total", CONFIG_DURATION, "5h", "whole connection"},
    {"acme.url", CONFIG_STR, "https://acme-v02.api.letsencrypt.org/directory", "ACME directory"},
    {"acme.ca_file", CONFIG_PATH, "", "roots to trust for the directory; empty: the system's"},
    {"acme.domain", CONFIG_STR, NULL, "base domain: a certificate for *.<domain> is obtained"},
    {"acme.dns.provider", CONFIG_STR, "hook", "hook: a program places TXT records"},
    {"acme.dns.hook", CONFIG_PATH, "", "the program, called present|cleanup NAME VALUE"},
    {"acme.renew_before", CONFIG_DURATION, "30d", "renewed this long before expiry"},
    {"acme.renew_interval", CONFIG_DURATION, "12h", "how often expiry is looked at"},
    {"acme.renew_timeout", CONFIG_DURATION, "5m", "limit of one issue"},
};
const size_t gateway_key_count = sizeof gateway_keys / sizeof *gateway_keys;

static int check_port(const service_config *config, const char *key, dstack_error *err) {
    int64_t port = config_int(config, key);
    if (port < 0 || port > 65535) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s must be 0 to 65535, not %lld", key,
                         (long long)port);
    }
    return 0;
}

int gateway_check_config(const service_config *config, bool insecure_dev, dstack_error *err) {
    int rc = check_port(config, "wg.listen_port", err);
    rc = rc != 0 ? rc : check_port(config, "proxy.listen_port", err);
    rc = rc != 0 ? rc : check_port(config, "proxy.external_port", err);
    rc = rc != 0 ? rc : check_port(config, "proxy.agent_port", err);
    struct in_addr address;
    if (rc == 0 && inet_pton(AF_INET, config_str(config, "proxy.listen_addr"), &address) != 1) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "proxy.listen_addr must be an IPv4 address");
    }
    if (rc == 0 && strcmp(config_str(config, "acme.dns.provider"), "hook") != 0) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "acme.dns.provider: only \"hook\" is supported");
    }
    bool simulated = config_str(config, "attestation.sim_root")[0] != '\0' ||
                     strncmp(config_str(config, "tee.url"), "sim:", 4) == 0;
    if (rc == 0 && simulated && !insecure_dev) {
        rc = error_set(err, DSTACK_E_INSECURE, "a simulated TEE needs --insecure-dev");
    }
    return rc;
}
