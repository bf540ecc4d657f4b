/* Evidence that the keys of public certificates were born in this TEE: an attestation whose report
 * data names the key (or the ACME account), kept with its key and served to anybody. */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "gateway.h"

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

static void quoted_key_clear(quoted_key *key) {
    dstack_buf_clear(&key->spki);
    free(key->quote);
    free(key->attestation);
    *key = (quoted_key){0};
}

/* The two JSON texts that the guest agent's GetQuote and Attest would answer. */
static int render(const gateway *g, const dstack_attestation *evidence, dstack_bytes report_data,
                  quoted_key *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    DSTACK_AUTO(buf) dstack_buf log = {0};
    int rc = dstack_attestation_encode(evidence, DSTACK_ATTESTATION_LEGACY_CHOICE, &encoded, err);
    rc = rc != 0 ? rc : dstack_event_log_to_json(dstack_attestation_event_log(evidence), &log, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *quote =
        json_pack("{s:o,s:s,s:o,s:s,s:o}", "quote", json_hex(dstack_attestation_evidence(evidence)),
                  "event_log", buf_text(&log), "report_data", json_hex(report_data), "vm_config",
                  workload_vm_config(g->workload), "attestation", json_hex(bytes_of_buf(&encoded)));
    DSTACK_AUTO(json)
    json_t *attestation = json_pack("{s:o}", "attestation", json_hex(bytes_of_buf(&encoded)));
    DSTACK_AUTO(buf) dstack_buf quote_text = {0};
    DSTACK_AUTO(buf) dstack_buf attestation_text = {0};
    rc = json_write(quote, false, &quote_text, err);
    rc = rc != 0 ? rc : json_write(attestation, false, &attestation_text, err);
    if (rc == 0) {
        out->quote = buf_detach_text(&quote_text);
        out->attestation = buf_detach_text(&attestation_text);
        out->made = clock_unix();
    }
    return rc;
}

static int quote(gateway *g, const char *tag, dstack_bytes content, quoted_key *out,
                 dstack_error *err) {
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    int rc = dstack_report_data(tag, NULL, content, report_data, err);
    rc = rc != 0 ? rc : workload_attest(g->workload, report_data, &evidence, err);
    rc = rc != 0 ? rc : render(g, evidence, bytes_of(report_data, sizeof report_data), out, err);
    return error_prefix(err, rc, "evidence for %s", tag);
}

int gateway_quote_key(gateway *g, dstack_bytes spki, dstack_error *err) {
    quoted_key made = {0};
    int rc = quote(g, "zt-cert", spki, &made, err);
    buf_put_bytes(&made.spki, spki);
    rc = rc != 0 ? rc : buf_check(&made.spki, err);
    if (rc != 0) {
        quoted_key_clear(&made);
        return rc;
    }
    pthread_mutex_lock(&g->zt.lock);
    if (g->zt.key_count == QUOTED_KEYS_MAX) {
        quoted_key_clear(&g->zt.keys[--g->zt.key_count]); /* the oldest */
    }
    memmove(g->zt.keys + 1, g->zt.keys, g->zt.key_count * sizeof *g->zt.keys);
    g->zt.keys[0] = made; /* newest first */
    g->zt.key_count++;
    pthread_mutex_unlock(&g->zt.lock);
    return 0;
}

int gateway_quote_account(gateway *g, const char *account_url, dstack_error *err) {
    quoted_key made = {0};
    int rc = quote(g, "acme-account", bytes_of_str(account_url), &made, err);
    char *copy = rc == 0 ? strdup(account_url) : NULL;
    if (rc == 0 && copy == NULL) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (rc != 0) {
        quoted_key_clear(&made);
        return rc;
    }
    pthread_mutex_lock(&g->zt.lock);
    quoted_key_clear(&g->zt.account);
    free(g->zt.account_url);
    g->zt.account = made;
    g->zt.account_url = copy;
    pthread_mutex_unlock(&g->zt.lock);
    return 0;
}

void gateway_acme_info_json(gateway *g, dstack_buf *out) {
    pthread_mutex_lock(&g->zt.lock);
    json_t *keys = json_array();
    for (size_t i = 0; i < g->zt.key_count; i++) {
        const quoted_key *key = &g->zt.keys[i];
        json_array_append_new(keys, json_pack("{s:o,s:s,s:s}", "public_key",
                                              json_hex(bytes_of_buf(&key->spki)), "quote",
                                              key->quote, "attestation", key->attestation));
    }
    const char *account = g->zt.account_url == NULL ? "" : g->zt.account_url;
    const char *account_quote = g->zt.account.quote == NULL ? "" : g->zt.account.quote;
    const char *account_attestation =
        g->zt.account.attestation == NULL ? "" : g->zt.account.attestation;
    DSTACK_AUTO(json)
    json_t *doc =
        json_pack("{s:s,s:o,s:s,s:s}", "account_uri", account, "quoted_hist_keys", keys,
                  "account_quote", account_quote, "account_attestation", account_attestation);
    pthread_mutex_unlock(&g->zt.lock);
    (void)json_write(doc, false, out, NULL);
}
