/* dstack-gateway: registers instances, routes TLS connections to them by server name, and keeps the
 * certificate of its base domain. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "gateway.h"
#include "service/log.h"

#define MANIFEST_MAX ((size_t)1 << 20)
#define HANDSHAKE_POLL_MS 10000
#define RENEW_RETRY_S 60

static int attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err) {
    gateway *g = user;
    return workload_attest(g->workload, report_data, out, err);
}

static int prepare_state(gateway *g, dstack_error *err) {
    const char *folder = config_str(g->config, "state_dir");
    int rc = file_make_dirs(folder, 0700, err);
    if (rc != 0) {
        return rc;
    }
    g->state_dir = realpath(folder, NULL);
    if (g->state_dir == NULL || asprintf(&g->inner_socket, "%s/pages.sock", g->state_dir) < 0) {
        g->inner_socket = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (strlen(g->inner_socket) > 100) {
        return error_set(err, DSTACK_E_ARGUMENT, "state_dir is too long for a unix socket in it");
    }
    return 0;
}

static int open_trust(gateway *g, dstack_error *err) {
    const char *const *files = NULL;
    size_t count = config_list(g->config, "attestation.collateral", &files);
    return trust_open(&g->trust, config_str(g->config, "attestation.sim_root"), files, count,
                      daemon_insecure(), err);
}

static int open_workload(gateway *g, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf manifest = {0};
    DSTACK_AUTO(buf) dstack_buf vm_config = {0};
    const char *vm_config_file = config_str(g->config, "tee.vm_config");
    int rc = file_read(config_str(g->config, "tee.manifest"), MANIFEST_MAX, &manifest, err);
    if (rc == 0 && vm_config_file[0] != '\0') {
        rc = file_read(vm_config_file, MANIFEST_MAX, &vm_config, err);
    }
    if (rc != 0) {
        return rc;
    }
    const workload_options options = {
        .tee_url = config_str(g->config, "tee.url"),
        .sim_root = bytes_of_buf(&g->trust.sim_root),
        .manifest = bytes_of_buf(&manifest),
        .vm_config = buf_text(&vm_config),
        .state_dir = g->state_dir,
    };
    return workload_open(&g->workload, &options, err);
}

static int open_kms(gateway *g, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf root = {0};
    const char *root_file = config_str(g->config, "kms.root_ca");
    const char *connect = config_str(g->config, "kms.connect");
    int rc = root_file[0] == '\0' ? 0 : file_read(root_file, MANIFEST_MAX, &root, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_kms_options options = {
        .url = config_str(g->config, "kms.url"),
        .root_ca = bytes_of_buf(&root),
        .verifier = g->trust.verifier,
        .require_attestation = true,
        .attest = attest,
        .user = g,
        .connect_address = connect[0] == '\0' ? NULL : connect,
    };
    return dstack_kms_new(&options, &g->kms, err);
}

static int load_addresses(const service_config *config, registry_addresses *out,
                          dstack_error *err) {
    const char *const *reserved = NULL;
    size_t count = config_list(config, "wg.reserved_net", &reserved);
    size_t max = sizeof out->reserved / sizeof *out->reserved;
    int rc = ipv4_net_parse(config_str(config, "wg.ip"), &out->own, err);
    rc =
        rc != 0 ? rc : ipv4_net_parse(config_str(config, "wg.client_ip_range"), &out->clients, err);
    if (rc == 0 && count > max) {
        rc = error_set(err, DSTACK_E_LIMIT, "more than %zu reserved nets", max);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = ipv4_net_parse(reserved[i], &out->reserved[i], err);
    }
    out->reserved_count = count;
    return rc;
}

static int open_instances(gateway *g, dstack_error *err) {
    registry_addresses addresses = {0};
    DSTACK_AUTO(str) char *path = NULL;
    int rc = load_addresses(g->config, &addresses, err);
    if (rc == 0 && asprintf(&path, "%s/instances.json", g->state_dir) < 0) {
        path = NULL;
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    rc = rc != 0 ? rc : registry_open(&g->instances, path, &addresses, err);
    const wireguard_config tunnel = {
        .interface = config_str(g->config, "wg.interface"),
        .listen_port = (uint16_t)config_int(g->config, "wg.listen_port"),
        .address = addresses.own,
        .state_dir = g->state_dir,
    };
    rc = rc != 0 ? rc : wireguard_start(&g->tunnel, &tunnel, err);
    return rc != 0 ? rc : wireguard_sync(g->tunnel, g->instances, err);
}

static int start_proxy(gateway *g, dstack_error *err) {
    const service_config *c = g->config;
    proxy_config config = {
        .listen = {.sin_family = AF_INET,
                   .sin_port = htons((uint16_t)config_int(c, "proxy.listen_port"))},
        .workers = (unsigned)config_int(c, "proxy.workers"),
        .max_connections = (unsigned)config_int(c, "proxy.max_connections"),
        .handshake_ms = config_duration_ms(c, "proxy.timeouts.handshake"),
        .connect_ms = config_duration_ms(c, "proxy.timeouts.connect"),
        .idle_ms = config_duration_ms(c, "proxy.timeouts.idle"),
        .shutdown_ms = config_duration_ms(c, "proxy.timeouts.shutdown"),
        .total_ms = config_duration_ms(c, "proxy.timeouts.total"),
        .route = gateway_route,
        .user = g,
    };
    inet_pton(AF_INET, config_str(c, "proxy.listen_addr"), &config.listen.sin_addr);
    return proxy_start(&g->proxy, &config, err);
}

/* Follows handshakes, and renews the RPC certificate at half of its life. */
static void *keep(void *user) {
    gateway *g = user;
    int64_t retry_after = 0;
    while (!gateway_wait_stop(g, HANDSHAKE_POLL_MS)) {
        dstack_error err = {0};
        if (wireguard_refresh_handshakes(g->tunnel, g->instances, &err) != 0) {
            LOG_WARN("handshakes are unknown", "reason", err.message);
        }
        int64_t now = clock_unix();
        if (g->rpc_not_after - now < DSTACK_RPC_CERT_LIFETIME / 2 && now >= retry_after) {
            if (gateway_renew_rpc_certificate(g, &err) != 0) {
                LOG_ERROR("the RPC certificate was not renewed", "reason", err.message);
                retry_after = now + RENEW_RETRY_S;
            }
        }
    }
    return NULL;
}

static int start(gateway *g, dstack_error *err) {
    static int (*const steps[])(gateway *, dstack_error *) = {
        prepare_state,  open_trust,           open_workload,
        open_kms,       gateway_obtain_keys,  gateway_renew_rpc_certificate,
        open_instances, gateway_start_issuer, gateway_start_listeners,
        start_proxy,
    };
    g->certificates = cert_store_new();
    if (g->certificates == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int rc = steps[i](g, err);
        if (rc != 0) {
            return rc;
        }
    }
    g->keeper_running = pthread_create(&g->keeper, NULL, keep, g) == 0;
    return g->keeper_running ? 0 : error_set(err, DSTACK_E_IO, "cannot start a thread");
}

static void stop(gateway *g) {
    pthread_mutex_lock(&g->stop_lock);
    g->stopping = true;
    pthread_cond_broadcast(&g->stop_signal);
    pthread_mutex_unlock(&g->stop_lock);
    if (g->keeper_running) {
        pthread_join(g->keeper, NULL);
    }
    if (g->issuer_running) {
        pthread_join(g->issuer, NULL);
    }
    proxy_stop(g->proxy, 5000);
    if (g->http != NULL) {
        http_server_drain(g->http, 5000);
        http_server_free(g->http);
    }
    http_tls_free(g->rpc_tls);
    wireguard_stop(g->tunnel);
    registry_free(g->instances);
    cert_store_free(g->certificates);
    dstack_kms_free(g->kms);
    dstack_secret_free(g->store_key);
    workload_free(g->workload);
    trust_clear(&g->trust);
    free(g->inner_socket);
    free(g->state_dir);
}

int main(int argc, char **argv) {
    const daemon_description description = {
        .name = "dstack-gateway",
        .summary = "routes TLS connections to confidential apps",
        .keys = gateway_keys,
        .key_count = gateway_key_count,
        .check = gateway_check_config,
    };
    daemon_options options = {0};
    int rc = daemon_start(&description, argc, argv, &options);
    if (rc != DAEMON_RUN) {
        return rc;
    }
    static gateway g;
    g.config = options.config;
    pthread_mutex_init(&g.zt.lock, NULL);
    pthread_mutex_init(&g.stop_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&g.stop_signal, &monotonic);
    dstack_error err = {0};
    if (start(&g, &err) == 0) {
        daemon_ready("routing");
        while (daemon_wait(-1) != DAEMON_STOP) {
        }
    } else {
        LOG_ERROR("cannot start", "reason", err.message);
    }
    stop(&g);
    config_free(options.config);
    return err.status == DSTACK_OK ? 0 : 3;
}
