#include "kms.h"

#include <string.h>

#include <config.h>

#include <dstack/tpm.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/image_answers.h"
#include "service/log.h"

#define EVIDENCE_REMEMBERED 32768
#define VERSION_TEXT "v" DSTACK_PROJECT_VERSION " (" DSTACK_REVISION ")"

/* What evidence does not bring along: Intel's collateral, AMD's certificates, those of vTPM keys. */
static int open_fetchers(kms *k, dstack_error *err) {
    const char *const *urls;
    const char *folder = config_str(k->config, "core.attestation.collateral_cache");
    int64_t timeout_ms = config_duration_ms(k->config, "core.attestation.urls.timeout");
    size_t count = config_list(k->config, "core.attestation.urls.pccs", &urls);
    k->fetcher = collateral_fetcher_new(urls, count, timeout_ms);
    bool made = k->fetcher != NULL && collateral_fetcher_keep_in(k->fetcher, folder);
    count = config_list(k->config, "core.attestation.urls.amd_kds", &urls);
    k->snp_fetcher = snp_fetcher_new(urls, count, timeout_ms, folder);
    if (!made || k->snp_fetcher == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const dstack_tpm_fetcher_options tpm = {.timeout_ms = timeout_ms};
    return config_bool(k->config, "core.attestation.urls.tpm")
               ? dstack_tpm_fetcher_new(&k->tpm_fetcher, &tpm, err)
               : 0;
}

static int open_policy(kms *k, dstack_error *err) {
    char seen[4096];
    snprintf(seen, sizeof seen, "%s/chain-head.json", config_str(k->config, "core.cert_dir"));
    return kms_auth_open(&k->auth, k->config, "core.auth_api", seen, err);
}

int kms_open(kms *k, const service_config *config, bool insecure, dstack_error *err) {
    const char *const *bundles;
    *k = (kms){.config = config, .insecure = insecure, .store_lock = -1};
    size_t count = config_list(config, "core.attestation.collateral", &bundles);
    int rc = trust_open(&k->trust, config_str(config, "core.attestation.root_ca.tdx"), bundles,
                        count, insecure, err);
    rc = rc != 0 ? rc : open_fetchers(k, err);
    rc = rc != 0 ? rc : kms_images_open(k, err);
    if (rc == 0) {
        k->freshness = freshness_new(EVIDENCE_REMEMBERED);
        k->answers = image_answers_new();
        rc = k->freshness != NULL && k->answers != NULL
                 ? 0
                 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    rc = rc != 0 ? rc : kms_own_open(k, err);
    rc = rc != 0 ? rc : open_policy(k, err);
    return rc != 0 ? rc : kms_learn_self(k, err);
}

void kms_close(kms *k) {
    if (k->server != NULL) {
        http_server_drain(k->server, 5000);
        http_server_free(k->server);
    }
    collateral_watch_stop(k->watch);
    http_tls_free(k->tls);
    http_tls_free(k->admin_tls);
    measures_close(&k->measures);
    rate_limit_free(k->rate);
    kms_authority_clear(&k->authority);
    kms_signer_stop(k->signer);
    kms_store_clear(&k->store);
    kms_audit_close(k);
    kms_auth_free(k->auth);
    kms_images_close(k);
    freshness_free(k->freshness);
    image_answers_free(k->answers);
    workload_free(k->workload);
    collateral_fetcher_free(k->fetcher);
    snp_fetcher_free(k->snp_fetcher);
    dstack_tpm_fetcher_free(k->tpm_fetcher);
    trust_clear(&k->trust);
    dstack_buf_clear(&k->own_boot_info);
    if (k->store_lock >= 0) {
        close(k->store_lock);
    }
    *k = (kms){0};
}

/* ---- server certificate -----------------------------------------------------------------------
 */

static int own_attestation(kms *k, dstack_attestation **out, dstack_error *err) {
    *out = NULL;
    if (!config_bool(k->config, "core.attest_rpc_cert")) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_key_public(k->store.rpc_pem, &spki, err);
    rc = rc != 0 ? rc : dstack_cert_report_data(bytes_of_buf(&spki), report_data, err);
    return rc != 0 ? rc : kms_own_attest(k, report_data, out, err);
}

static int issue_rpc(kms *k, dstack_buf *pem, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    int64_t now = clock_unix();
    int rc = own_attestation(k, &evidence, err);
    rc = rc != 0 ? rc : kms_issue_rpc(&k->authority, &k->store, evidence, now, pem, err);
    if (rc == 0) {
        k->rpc_issued = now;
        metrics_set(k->measures.certificate_expiry, now + DSTACK_RPC_CERT_LIFETIME);
    }
    return rc != 0 ? error_prefix(err, rc, "issuing the server certificate") : 0;
}

static dstack_bytes rpc_key(const kms *k) {
    return bytes_of(dstack_secret_peek(k->store.rpc_pem), dstack_secret_len(k->store.rpc_pem));
}

int kms_renew(kms *k, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    if (clock_unix() < k->rpc_issued + DSTACK_RPC_CERT_LIFETIME / 2) {
        return 0;
    }
    int rc = issue_rpc(k, &pem, err);
    rc = rc != 0 ? rc : http_tls_replace(k->tls, bytes_of_buf(&pem), rpc_key(k), err);
    rc = rc == 0 && k->admin_tls != NULL
             ? http_tls_replace(k->admin_tls, bytes_of_buf(&pem), rpc_key(k), err)
             : rc;
    if (rc == 0) {
        LOG_INFO("server certificate renewed");
    }
    return rc;
}

int kms_check_client_cert(dstack_bytes leaf_der, int64_t now, void *user, dstack_error *err) {
    (void)user;
    return dstack_cert_check_client(leaf_der, now, err);
}

static int open_tls(kms *k, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    int rc = issue_rpc(k, &pem, err);
    if (rc != 0) {
        return rc;
    }
    http_tls_config config = {.certificate_pem = bytes_of_buf(&pem),
                              .key_pem = rpc_key(k),
                              .request_client_cert = true,
                              .check = kms_check_client_cert};
    k->tls = http_tls_new(&config, err);
    return k->tls != NULL ? 0 : err->status;
}

/* ---- main listener ----------------------------------------------------------------------------
 */

static void observe(const rpc_call *call, int status, int64_t microseconds) {
    const kms *k = call->app;
    measures_call(&k->measures, call->method, status, microseconds);
}

static void show_metrics(http_request *request, http_response *response, void *user) {
    kms *k = user;
    kms_auth_measure(k->auth, k->measures.registry, "dstack_kms");
    metrics_handle(request, response, k->measures.registry);
}

static int open_rate(kms *k, dstack_error *err) {
    k->rate = rate_limit_new((unsigned)config_int(k->config, "rpc.public_rate"),
                             (unsigned)config_int(k->config, "rpc.public_burst"));
    return k->rate != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static size_t fill_routes(kms *k) {
    size_t n = 0;
    k->binding =
        (rpc_binding){.service = &kms_rpc_service, .app = k, .rate = k->rate, .observe = observe};
    k->routes[n++] = (http_route){"*",         "/prpc/*",       rpc_handle,
                                  &k->binding, (size_t)4 << 20, HTTP_ROUTE_TAKES_OVERSIZE};
    k->routes[n++] = (http_route){"GET", "/log/**", kms_audit_serve, k, 4096, 0};
    k->routes[n++] = (http_route){"GET", "/health", kms_serve_health, NULL, 0, HTTP_ROUTE_INLINE};
    k->routes[n++] = (http_route){"GET", "/ready", kms_serve_ready, k, 0, 0};
    if (config_bool(k->config, "core.metrics.enabled")) {
        k->routes[n++] = (http_route){"GET", "/metrics", show_metrics, k, 0, HTTP_ROUTE_INLINE};
    }
    return n;
}

static int open_listener(kms *k, dstack_error *err) {
    char address[80];
    snprintf(address, sizeof address, "%s:%lld", config_str(k->config, "rpc.address"),
             (long long)config_int(k->config, "rpc.port"));
    http_listener_config listener = {.name = "rpc",
                                     .address = address,
                                     .tls = k->tls,
                                     .routes = k->routes,
                                     .route_count = fill_routes(k),
                                     .user = k,
                                     .version_header = VERSION_TEXT};
    config_http_limits(k->config, "rpc.limits", &listener.limits);
    http_server_config server = {.name = "dstack-kms",
                                 .metrics = k->measures.registry,
                                 .workers = (unsigned)config_int(k->config, "rpc.workers")};
    k->server = http_server_new(&server);
    return k->server != NULL ? http_server_listen(k->server, &listener, err)
                             : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

int kms_serve(kms *k, dstack_error *err) {
    int rc = measures_open(&k->measures, &kms_rpc_service, err);
    rc = rc != 0 ? rc
                 : kms_signer_start(&k->signer, config_str(k->config, "core.cert_dir"), k->insecure,
                                    err);
    rc = rc != 0 ? rc
                 : kms_store_load(&k->store, config_str(k->config, "core.cert_dir"),
                                  config_str(k->config, "core.onboard.auto_bootstrap_domain"),
                                  k->insecure, err);
    rc = rc != 0 ? rc
                 : kms_authority_open(&k->authority, &k->store, k->signer, k->insecure,
                                      clock_unix(), err);
    rc = rc != 0 ? rc : open_tls(k, err);
    rc = rc != 0 ? rc : kms_audit_attest(k, err);
    rc = rc != 0 ? rc
                 : collateral_watch_start(&k->watch, k->fetcher, k->trust.verifier, k->config,
                                          "core.attestation.renewal", k->measures.registry, err);
    rc = rc != 0 ? rc : open_rate(k, err);
    if (rc == 0) {
        metrics_set(k->measures.log_entries, (int64_t)tlog_store_size(k->log));
    }
    rc = rc != 0 ? rc : open_listener(k, err);
    return rc != 0 ? rc : kms_admin_open(k, err);
}
