/* Certificates for `*.<base>` from an ACME server. The key is made here for every issue and is
 * stored only sealed. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/ecdsa.h"
#include "dns_hook.h"
#include "gateway.h"
#include "service/log.h"
#include "x509/csr.h"

#define RETRY_FIRST_MS 2000
#define RETRY_MAX_MS 600000

DSTACK_AUTO_DEFINE(acme, dstack_acme, dstack_acme_free)
DSTACK_AUTO_DEFINE(cert_entry, cert_entry, cert_entry_unref)

bool gateway_wait_stop(gateway *g, int64_t milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&g->stop_lock);
    int rc = 0;
    while (!g->stopping && rc == 0) {
        rc = pthread_cond_timedwait(&g->stop_signal, &g->stop_lock, &until);
    }
    bool stopping = g->stopping;
    pthread_mutex_unlock(&g->stop_lock);
    return stopping;
}

/* Serves a certificate and attests its key. chain and key are PEM. */
static int use_certificate(gateway *g, const char *domain, dstack_bytes chain,
                           const dstack_secret *key, dstack_error *err) {
    int rc = cert_store_set(g->certificates, domain, chain, key, clock_unix(), err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(cert_entry) cert_entry *entry = cert_store_find(g->certificates, domain);
    return gateway_quote_key(g, cert_entry_spki(entry), err);
}

/* Stored form: the PEM key, then the PEM chain, sealed as one, so that they never part. */
static int load_certificate(gateway *g, const char *domain, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *stored = NULL;
    char name[300];
    snprintf(name, sizeof name, "cert-%s", domain);
    int rc = zt_store_load(g, name, &stored, err);
    if (rc != 0) {
        return rc;
    }
    static const char end[] = "-----END PRIVATE KEY-----\n";
    const char *text = (const char *)dstack_secret_peek(stored);
    size_t len = dstack_secret_len(stored);
    const char *cut = memmem(text, len, end, sizeof end - 1);
    if (cut == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "stored certificate of %s has no key", domain);
    }
    size_t key_len = (size_t)(cut - text) + sizeof end - 1;
    DSTACK_AUTO(secret) dstack_secret *key = dstack_secret_copy((const uint8_t *)text, key_len);
    if (key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return use_certificate(g, domain, bytes_of(text + key_len, len - key_len), key, err);
}

static int save_certificate(gateway *g, const char *domain, dstack_bytes chain,
                            const dstack_secret *key, dstack_error *err) {
    DSTACK_AUTO(secret)
    dstack_secret *both = dstack_secret_new(dstack_secret_len(key) + chain.len);
    if (both == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    memcpy(dstack_secret_data(both), dstack_secret_peek(key), dstack_secret_len(key));
    memcpy(dstack_secret_data(both) + dstack_secret_len(key), chain.data, chain.len);
    char name[300];
    snprintf(name, sizeof name, "cert-%s", domain);
    return zt_store_save(g, name, bytes_of(dstack_secret_peek(both), dstack_secret_len(both)), err);
}

/* The account key: one per gateway, made at first use, stored sealed. */
static int account_key(gateway *g, dstack_secret **der, dstack_error *err) {
    int rc = zt_store_load(g, "acme-account", der, err);
    if (rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    rc = ecdsa_private_generate(&key, ECDSA_P256, err);
    rc = rc != 0 ? rc : ecdsa_private_pkcs8(key, der, err);
    return rc != 0
               ? rc
               : zt_store_save(g, "acme-account",
                               bytes_of(dstack_secret_peek(*der), dstack_secret_len(*der)), err);
}

static int open_acme(gateway *g, dstack_acme **out, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *der = NULL;
    int rc = account_key(g, &der, err);
    if (rc != 0) {
        return rc;
    }
    const char *ca_file = config_str(g->config, "acme.ca_file");
    const dstack_acme_options options = {
        .directory_url = config_str(g->config, "acme.url"),
        .ca_file = ca_file[0] == '\0' ? NULL : ca_file,
        .account_key = bytes_of(dstack_secret_peek(der), dstack_secret_len(der)),
    };
    rc = dstack_acme_new(out, &options, err);
    return rc != 0 ? rc : gateway_quote_account(g, dstack_acme_account_url(*out), err);
}

static int issue(gateway *g, const char *domain, dstack_error *err) {
    DSTACK_AUTO(acme) dstack_acme *acme = NULL;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *key_pem = NULL;
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    dstack_acme_dns01 dns = {0};
    char wildcard[260];
    snprintf(wildcard, sizeof wildcard, "*.%s", domain);
    const char *names[] = {wildcard};
    int rc = dns_hook_init(&dns, config_str(g->config, "acme.dns.hook"), err);
    rc = rc != 0 ? rc : open_acme(g, &acme, err);
    rc = rc != 0 ? rc : ecdsa_private_generate(&key, ECDSA_P256, err);
    rc = rc != 0 ? rc : ecdsa_private_pem(key, &key_pem, err);
    rc = rc != 0 ? rc : x509_csr_build(key, NULL, names, 1, &csr, err);
    rc = rc != 0
             ? rc
             : dstack_acme_issue(acme, names, 1, bytes_of_buf(&csr), &dns,
                                 config_duration_ms(g->config, "acme.renew_timeout"), &chain, err);
    rc = rc != 0 ? rc : save_certificate(g, domain, bytes_of_buf(&chain), key_pem, err);
    rc = rc != 0 ? rc : use_certificate(g, domain, bytes_of_buf(&chain), key_pem, err);
    if (rc == 0) {
        LOG_INFO("certificate issued", "domain", wildcard);
    }
    return error_prefix(err, rc, "certificate for %s", wildcard);
}

static bool due(gateway *g, const char *domain) {
    DSTACK_AUTO(cert_entry) cert_entry *entry = cert_store_find(g->certificates, domain);
    int64_t margin = config_duration_ms(g->config, "acme.renew_before") / 1000;
    return entry == NULL || cert_entry_not_after(entry) - clock_unix() < margin;
}

static void *keep_issued(void *user) {
    gateway *g = user;
    const char *domain = config_str(g->config, "acme.domain");
    int64_t wait = RETRY_FIRST_MS;
    for (bool failed = false;;) {
        dstack_error err = {0};
        failed = due(g, domain) && issue(g, domain, &err) != 0;
        if (failed) {
            LOG_ERROR("no certificate", "reason", err.message);
        }
        wait = !failed ? RETRY_FIRST_MS : wait * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : wait * 2;
        if (gateway_wait_stop(g, failed ? wait
                                        : config_duration_ms(g->config, "acme.renew_interval"))) {
            return NULL;
        }
    }
}

int gateway_start_issuer(gateway *g, dstack_error *err) {
    const char *domain = config_str(g->config, "acme.domain");
    dstack_error problem = {0};
    int rc = load_certificate(g, domain, &problem);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        LOG_WARN("the stored certificate is not used", "reason", problem.message);
    }
    if (pthread_create(&g->issuer, NULL, keep_issued, g) != 0) {
        return error_set(err, DSTACK_E_IO, "cannot start the certificate thread");
    }
    g->issuer_running = true;
    return 0;
}
