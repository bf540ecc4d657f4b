#include "net/gateway_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "evidence.h"
#include "net/gateway.h"
#include "net/wireguard.h"
#include "proc.h"

#define CACHE_MAX ((size_t)256 << 10)
/* A certificate is replaced this long before it ends. */
#define RENEW_BEFORE_S 600

/* Large: its peers. */
DSTACK_AUTO_DEFINE(wg, wg_config, free)

void gateway_cache_clear(gateway_cache *cache) {
    dstack_secret_free(cache->wg_key);
    dstack_secret_free(cache->tls_key);
    free(cache->chain);
    memset(cache, 0, sizeof *cache);
}

int gateway_cache_load(const char *path, gateway_cache *out, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf text = {0};
    DSTACK_AUTO(wiped) dstack_buf wg = {0};
    buf_reserve(&text, CACHE_MAX + 65536);
    buf_reserve(&wg, 64);
    int rc = file_read(path, CACHE_MAX, &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *root = json_parse(bytes_of_buf(&text), CACHE_MAX, "cache", NULL);
    const char *key = json_string_value(json_object_get(root, "client_key"));
    const char *chain = json_string_value(json_object_get(root, "client_cert"));
    const char *wg_sk = json_string_value(json_object_get(root, "wg_sk"));
    if (key == NULL || key[0] == '\0' || chain == NULL || wg_sk == NULL ||
        base64_decode(bytes_of_str(wg_sk), BASE64_STANDARD, &wg, NULL) != 0 ||
        wg.len != WG_KEY_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "%s cannot be used", path);
    }
    out->not_after = json_integer_value(json_object_get(root, "cert_not_after"));
    out->wg_key = dstack_secret_copy(wg.data, wg.len);
    out->tls_key = dstack_secret_copy((const uint8_t *)key, strlen(key));
    out->chain = strdup(chain);
    return out->wg_key == NULL || out->tls_key == NULL || out->chain == NULL
               ? error_set(err, DSTACK_E_MEMORY, "out of memory")
               : 0;
}

int gateway_cache_save(const gateway_cache *cache, const char *path, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf wg = {0};
    DSTACK_AUTO(wiped) dstack_buf text = {0};
    buf_reserve(&wg, 64);
    buf_reserve(&text, CACHE_MAX);
    base64_encode(bytes_of(dstack_secret_peek(cache->wg_key), WG_KEY_SIZE), BASE64_STANDARD, &wg);
    DSTACK_AUTO(json) json_t *root = json_object();
    json_object_set_new(root, "client_cert", json_string(cache->chain));
    json_object_set_new(root, "client_key",
                        json_stringn((const char *)dstack_secret_peek(cache->tls_key),
                                     dstack_secret_len(cache->tls_key)));
    json_object_set_new(root, "cert_not_after", json_integer(cache->not_after));
    json_object_set_new(root, "wg_sk", json_stringn((const char *)wg.data, wg.len));
    int rc = json_object_size(root) == 4 ? json_write(root, false, &text, err)
                                         : error_set(err, DSTACK_E_MEMORY, "out of memory");
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}

/* A certificate that carries this guest's evidence: the gateway judges it by itself. */
static int certificate_make(const gateway_link *link, int64_t now, gateway_cache *cache,
                            dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf joined = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    DSTACK_AUTO(cert_chain) cert_chain chain = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    const cert_client client = {
        .keys = link->keys, .vm_config = link->vm_config, .insecure_dev = link->insecure_dev};
    const dstack_csr_spec spec = {
        .subject = "dstack-guest-agent",
        .client_auth = true,
        .with_quote = true,
        .with_app_info = true,
        .has_not_after = true,
        .not_after = (uint64_t)(now + GATEWAY_CERT_LIFETIME),
    };
    int rc;
    if ((rc = dstack_cert_key_new(&key, err)) != 0 ||
        (rc = dstack_cert_key_public(key, &spki, err)) != 0 ||
        (rc = dstack_cert_report_data(bytes_of_buf(&spki), report_data, err)) != 0 ||
        (rc = link->attest(link->user, report_data, &attestation, err)) != 0 ||
        (rc = cert_client_sign(&client, &spec, key, bytes_of_buf(&spki), attestation,
                               DSTACK_ATTESTATION_LEGACY_CHOICE, now, &chain, err)) != 0 ||
        (rc = cert_chain_join(&chain, &joined, err)) != 0) {
        return rc;
    }
    dstack_secret_free(cache->tls_key);
    free(cache->chain);
    cache->tls_key = key;
    key = NULL;
    cache->chain = buf_detach_text(&joined);
    cache->not_after = now + GATEWAY_CERT_LIFETIME;
    return cache->chain == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

/* Saved before the first try to register, so that an outage of the gateway costs the KMS nothing. */
static int cache_prepare(const gateway_link *link, gateway_cache *cache, dstack_error *err) {
    int64_t now = clock_unix();
    if (gateway_cache_load(link->cache_path, cache, NULL) != 0) {
        gateway_cache_clear(cache);
        cache->wg_key = dstack_secret_new(WG_KEY_SIZE);
        if (cache->wg_key == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        random_fill(dstack_secret_data(cache->wg_key), WG_KEY_SIZE);
    }
    if (cache->tls_key != NULL && now + RENEW_BEFORE_S < cache->not_after) {
        return 0;
    }
    int rc = certificate_make(link, now, cache, err);
    return rc != 0 ? rc : gateway_cache_save(cache, link->cache_path, err);
}

static int firewall_apply(const wg_config *wg, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf rules = {0};
    int rc = gateway_firewall_text(wg, &rules, err);
    const char *argv[] = {"/usr/sbin/nft", "-f", "-", NULL};
    return rc != 0
               ? rc
               : proc_run(
                     &(proc_spec){.argv = argv, .input = bytes_of_buf(&rules), .timeout_ms = 15000},
                     err);
}

int gateway_link_refresh(const gateway_link *link, dstack_error *err) {
    if (link->keys->provider != DSTACK_KEY_PROVIDER_KMS) {
        return error_set(err, DSTACK_E_STATE, "a gateway needs keys from a KMS");
    }
    DSTACK_AUTO(gateway_cache) gateway_cache cache = {0};
    DSTACK_AUTO(wg) wg_config *wg = calloc(1, sizeof *wg);
    uint8_t public_key[WG_KEY_SIZE];
    int rc;
    if (wg == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if ((rc = cache_prepare(link, &cache, err)) != 0 ||
        (rc = x25519_public(dstack_secret_peek(cache.wg_key), public_key, err)) != 0) {
        return rc;
    }
    const gateway_request request = {
        .urls = link->urls,
        .url_count = link->url_count,
        .allowed_app_ids = link->keys->gateway_app_id,
        .insecure_dev = link->insecure_dev,
        .root_pem = link->keys->ca_cert,
        .client_chain = bytes_of_str(cache.chain),
        .client_key = cache.tls_key,
        .public_key = public_key,
        .app = link->app,
    };
    wg->name = GATEWAY_INTERFACE;
    wg->private_key = cache.wg_key;
    wg->listen_port = GATEWAY_LISTEN_PORT;
    if ((rc = gateway_register(&request, wg, err)) != 0 || (rc = wg_apply(wg, err)) != 0) {
        return rc;
    }
    return firewall_apply(wg, err);
}
