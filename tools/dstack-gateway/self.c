/* The gateway's own keys and certificate. Both come from the KMS after it verified the gateway's
 * evidence; nothing of them is on disk in clear. */
#include <string.h>

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "gateway.h"
#include "service/log.h"

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

#define STORE_PATH "gateway/cert-store"

int gateway_obtain_keys(gateway *g, dstack_error *err) {
    dstack_app_keys keys = {0};
    int rc = dstack_kms_app_keys(g->kms, workload_vm_config(g->workload), &keys, err);
    if (rc == 0) {
        const dstack_bytes context[] = {bytes_of_str(STORE_PATH)};
        rc = dstack_key_derive(keys.k256_key, context, 1, 32, &g->store_key, err);
    }
    dstack_app_keys_clear(&keys);
    return error_prefix(err, rc, "own keys from the KMS");
}

/* Has a certificate signed for a fresh key; the key stays in this process. */
static int request_certificate(gateway *g, dstack_secret **key, dstack_buf *chain, int64_t now,
                               dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_key_new(key, err);
    rc = rc != 0 ? rc : dstack_cert_key_public(*key, &spki, err);
    rc = rc != 0 ? rc : dstack_cert_report_data(bytes_of_buf(&spki), report_data, err);
    rc = rc != 0 ? rc : workload_attest(g->workload, report_data, &evidence, err);
    const char *names[] = {config_str(g->config, "rpc.domain")};
    const dstack_csr_spec spec = {
        .subject = "dstack-gateway",
        .alt_names = names,
        .alt_name_count = 1,
        .server_auth = true,
        .client_auth = true,
        .with_quote = true,
        .with_app_info = true,
        .has_not_before = true,
        .not_before = (uint64_t)(now - 300), /* clocks of guests may be a little behind */
        .has_not_after = true,
        .not_after = (uint64_t)(now + DSTACK_RPC_CERT_LIFETIME),
    };
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    rc = rc != 0 ? rc
                 : dstack_csr_build(&spec, *key, evidence, DSTACK_ATTESTATION_LEGACY_CHOICE, &csr,
                                    &signature, err);
    return rc != 0 ? rc
                   : dstack_kms_sign_cert(g->kms, bytes_of_buf(&csr), bytes_of_buf(&signature),
                                          workload_vm_config(g->workload), chain, err);
}

int gateway_renew_rpc_certificate(gateway *g, dstack_error *err) {
    int64_t now = clock_unix();
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    int rc = request_certificate(g, &key, &chain, now, err);
    if (rc != 0) {
        return error_prefix(err, rc, "RPC certificate");
    }
    dstack_bytes key_pem = bytes_of(dstack_secret_peek(key), dstack_secret_len(key));
    if (g->rpc_tls != NULL) {
        rc = http_tls_replace(g->rpc_tls, bytes_of_buf(&chain), key_pem, err);
    } else {
        const http_tls_config config = {.certificate_pem = bytes_of_buf(&chain),
                                        .key_pem = key_pem,
                                        .request_client_cert = true};
        g->rpc_tls = http_tls_new(&config, err);
        rc = g->rpc_tls == NULL ? DSTACK_E_FORMAT : 0;
    }
    if (rc == 0) {
        g->rpc_not_after = now + DSTACK_RPC_CERT_LIFETIME;
        LOG_INFO("RPC certificate in use", "domain", config_str(g->config, "rpc.domain"));
    }
    return error_prefix(err, rc, "RPC certificate");
}
