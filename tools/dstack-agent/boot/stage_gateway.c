/* Ingress: a certificate, a WireGuard key, and the gateway's word where its nodes are. */
#include "boot/boot.h"

#include <dstack/cert.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "evidence.h"
#include "keys/cert_client.h"
#include "net/gateway.h"
#include "paths.h"
#include "proc.h"

static int client_cert(boot *b, dstack_secret **key, dstack_buf *chain, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    DSTACK_AUTO(cert_chain) cert_chain signed_chain = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int64_t now = clock_unix();
    const cert_client client = {
        .keys = &b->keys,
        .vm_config = b->config.vm_config,
        .insecure_dev = dstack_tee_is_simulated(b->tee),
    };
    const dstack_csr_spec spec = {
        .subject = "dstack-guest-agent",
        /* The gateway believes evidence, not what a certificate said earlier. */
        .with_quote = true,
        .client_auth = true,
        .with_app_info = true,
        .has_not_after = true,
        .not_after = (uint64_t)(now + GATEWAY_CERT_LIFETIME),
    };
    int rc;
    if ((rc = dstack_cert_key_new(key, err)) != 0 ||
        (rc = dstack_cert_key_public(*key, &spki, err)) != 0 ||
        (rc = dstack_cert_report_data(bytes_of_buf(&spki), report_data, err)) != 0 ||
        (rc = evidence_take(b->tee, AGENT_EVENT_DIR, b->config.vm_config, report_data, &attestation,
                            err)) != 0 ||
        (rc = cert_client_sign(&client, &spec, *key, attestation, DSTACK_ATTESTATION_LEGACY_CHOICE,
                               now, &signed_chain, err)) != 0) {
        return rc;
    }
    return cert_chain_join(&signed_chain, chain, err);
}

static int firewall_apply(const wg_config *wg, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf rules = {0};
    int rc = gateway_firewall_text(wg, &rules, err);
    const char *argv[] = {"/usr/sbin/nft", "-f", "-", NULL};
    return rc != 0 ? rc
                   : proc_run(&(proc_spec){.argv = argv,
                                           .input = bytes_of_buf(&rules),
                                           .timeout_ms = 15000},
                              err);
}

int stage_gateway(void *context, dstack_error *err) {
    boot *b = context;
    if (!b->app->gateway_enabled) {
        return 0;
    }
    host_api_notify(b->host, "boot.progress", "setting up dstack-gateway");
    if (b->keys.provider != DSTACK_KEY_PROVIDER_KMS) {
        return error_set(err, DSTACK_E_STATE, "a gateway needs keys from a KMS");
    }
    DSTACK_AUTO(secret) dstack_secret *tls_key = NULL;
    DSTACK_AUTO(secret) dstack_secret *wg_key = dstack_secret_new(WG_KEY_SIZE);
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    uint8_t public_key[WG_KEY_SIZE];
    if (wg_key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    random_fill(dstack_secret_data(wg_key), WG_KEY_SIZE);
    int rc;
    if ((rc = x25519_public(dstack_secret_peek(wg_key), public_key, err)) != 0 ||
        (rc = client_cert(b, &tls_key, &chain, err)) != 0) {
        return rc;
    }
    const gateway_request request = {
        .urls = b->config.gateway_urls,
        .url_count = b->config.gateway_url_count,
        .allowed_app_ids = b->keys.gateway_app_id,
        .insecure_dev = dstack_tee_is_simulated(b->tee),
        .root_pem = b->keys.ca_cert,
        .client_chain = bytes_of_buf(&chain),
        .client_key = tls_key,
        .public_key = public_key,
        .app = b->app,
    };
    static wg_config wg; /* large; one boot, one thread */
    wg.name = GATEWAY_INTERFACE;
    wg.private_key = wg_key;
    wg.listen_port = GATEWAY_LISTEN_PORT;
    if ((rc = gateway_register(&request, &wg, err)) != 0 || (rc = wg_apply(&wg, err)) != 0) {
        return rc;
    }
    return firewall_apply(&wg, err);
}
