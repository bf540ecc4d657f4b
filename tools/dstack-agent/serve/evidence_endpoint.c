/* GET /.well-known/dstack/evidence?nonce=<hex>: proof for anybody that this very guest runs this app.
 * Answer: {"attestation": hex, "certificate": PEM chain}; report data is tag "dstack-evidence" over
 * nonce ‖ SHA-256(SubjectPublicKeyInfo of the leaf). */
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "evidence.h"
#include "serve/agent.h"
#include "serve/shared_evidence.h"

#define NONCE_MIN 16
#define NONCE_MAX 64
/* A quote holds the device for a while, and anybody can ask. */
#define BURST 5.0
#define PER_SECOND 2.0
#define SHARE_MS 1000

bool evidence_budget_take(agent *a, int64_t now_ms) {
    int64_t *at = &a->public_evidence.tokens_at_ms;
    double *tokens = &a->public_evidence.tokens;
    if (*at == 0) {
        *tokens = BURST;
    } else {
        *tokens += (double)(now_ms - *at) / 1000.0 * PER_SECOND;
        *tokens = *tokens > BURST ? BURST : *tokens;
    }
    *at = now_ms;
    if (*tokens < 1.0) {
        return false;
    }
    *tokens -= 1.0;
    return true;
}

static int leaf_of(agent *a, char **pem, uint8_t spki_hash[32], dstack_error *err) {
    int rc = agent_app_cert_make(a, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    pthread_mutex_lock(&a->info_lock);
    rc = cert_chain_join(&a->app_cert, &chain, err);
    hash_sha256(bytes_of_buf(&a->app_cert_spki), spki_hash);
    pthread_mutex_unlock(&a->info_lock);
    *pem = rc == 0 ? buf_detach_text(&chain) : NULL;
    return rc;
}

static int answer_make(agent *a, dstack_bytes nonce, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(str) char *pem = NULL;
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    uint8_t content[NONCE_MAX + 32], report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = leaf_of(a, &pem, content + nonce.len, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(content, nonce.data, nonce.len);
    if ((rc = dstack_report_data("dstack-evidence", NULL, bytes_of(content, nonce.len + 32),
                                 report_data, err)) != 0 ||
        (rc = shared_evidence_get(a, report_data, &evidence, err)) != 0 ||
        (rc = dstack_attestation_encode(shared_evidence_peek(evidence),
                                        DSTACK_ATTESTATION_LEGACY_CHOICE, &encoded, err)) != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *root = json_object();
    json_object_set_new(root, "attestation", json_hex(bytes_of_buf(&encoded)));
    json_object_set_new(root, "certificate", json_string(pem));
    return json_write(root, false, out, err);
}

/* Holds the lock: public requests wait for each other, callers on the sockets do not. */
static int answer_locked(agent *a, dstack_bytes nonce, bool *limited, dstack_error *err) {
    int64_t now = clock_monotonic_ms();
    dstack_buf *body = &a->public_evidence.body;
    bool same = body->len > 0 && nonce.len == a->public_evidence.nonce_len &&
                memcmp(nonce.data, a->public_evidence.nonce, nonce.len) == 0;
    if (same && now - a->public_evidence.answered_at_ms < SHARE_MS) {
        return 0;
    }
    if (!evidence_budget_take(a, now)) {
        *limited = true;
        return error_set(err, DSTACK_E_LIMIT, "too many requests for evidence, ask again later");
    }
    buf_reset(body);
    int rc = answer_make(a, nonce, body, err);
    memcpy(a->public_evidence.nonce, nonce.data, nonce.len);
    a->public_evidence.nonce_len = nonce.len;
    a->public_evidence.answered_at_ms = clock_monotonic_ms();
    if (rc != 0) {
        buf_reset(body);
    }
    return rc;
}

void evidence_endpoint(http_request *request, http_response *response, void *user) {
    agent *a = user;
    const char *text = http_request_arg(request, "nonce");
    DSTACK_AUTO(buf) dstack_buf nonce = {0};
    if (text == NULL || hex_decode(bytes_of_str(text), &nonce, NULL) != 0 ||
        nonce.len < NONCE_MIN || nonce.len > NONCE_MAX) {
        http_response_error(response, 400, "nonce must be 16 to 64 bytes in hex");
        return;
    }
    dstack_error err = {0};
    bool limited = false;
    pthread_mutex_lock(&a->public_lock);
    int rc = answer_locked(a, bytes_of_buf(&nonce), &limited, &err);
    if (rc == 0) {
        http_response_bytes(response, 200, "application/json",
                            bytes_of_buf(&a->public_evidence.body));
    }
    pthread_mutex_unlock(&a->public_lock);
    if (rc != 0) {
        http_response_error(response, limited ? 429 : 503, err.message);
        http_response_header(response, "Retry-After", "1");
    }
    http_response_header(response, "Cache-Control", "no-store");
}
