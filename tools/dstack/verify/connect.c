/* Taking the answers: the connection that is judged, the gateway's acme-info, the guest's evidence.
 * Transport is trusted with nothing here: what comes is judged by its own signatures. */
#include <poll.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_transport.h"
#include "crypto/random.h"
#include "verify/verify.h"

#define EVIDENCE_PORT 8090
#define RETRY_MS 1000

/* ---- the connection itself ---- */

static int keep_chain(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    verify_answers *answers = user;
    if (count > VERIFY_CHAIN_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the server shows %zu certificates", count);
    }
    answers->chain_count = count;
    for (size_t i = 0; i < count; i++) {
        buf_reset(&answers->chain[i]);
        buf_put_bytes(&answers->chain[i], chain[i]);
        if (buf_check(&answers->chain[i], err) != 0) {
            return DSTACK_E_MEMORY;
        }
    }
    return 0;
}

static void describe(gnutls_session_t session, char *out, size_t room) {
    snprintf(out, room, "%s with %s",
             gnutls_protocol_get_name(gnutls_protocol_get_version(session)),
             gnutls_cipher_get_name(gnutls_cipher_get(session)));
}

static int look_at(const http_url *url, const verify_target *target, verify_answers *answers,
                   dstack_error *err) {
    const http_client_config config = {
        .url = target->url, .trust = HTTP_CLIENT_TRUST_NONE, .verify = keep_chain, .user = answers};
    http_tls_client tls;
    http_transport transport = HTTP_TRANSPORT_CLOSED;
    int rc = http_tls_client_init(&tls, &config, url, err);
    if (rc == 0) {
        rc = http_transport_open(&transport, url, target->connect, &tls, target->timeout_ms, err);
        if (rc == 0) {
            describe(transport.session, answers->tls, sizeof answers->tls);
        }
        http_transport_close(&transport);
    }
    http_tls_client_clear(&tls);
    return rc;
}

/* ---- further answers ---- */

typedef struct question {
    const char *host;
    const char *port;
    const char *path;
    size_t limit;
    int64_t deadline; /* clock_monotonic_ms() */
} question;

/* From within the handshake: a server that closes after its answer leaves none to look at. */
static int keep_leaf(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    dstack_buf *leaf = user;
    buf_reset(leaf);
    if (count > 0) {
        buf_put_bytes(leaf, chain[0]);
    }
    return buf_check(leaf, err);
}

static bool asks_for_patience(int status) {
    return status == 429 || status == 503;
}

static int check_status(const question *q, const http_client_response *response,
                        dstack_error *err) {
    if (response->status == 200) {
        return 0;
    }
    size_t len = response->body.len < 200 ? response->body.len : 200;
    return error_set(err, DSTACK_E_PEER, "https://%s%s answered %d: %.*s", q->host, q->path,
                     response->status, (int)len, len > 0 ? (const char *)response->body.data : "");
}

/* Asks, and again while the server says that it is busy and there is time. */
static int ask(const verify_target *target, const question *q, dstack_buf *body, dstack_buf *leaf,
               dstack_error *err) {
    char url[320];
    snprintf(url, sizeof url, "https://%s:%s", q->host, q->port);
    const http_client_config config = {.url = url,
                                       .connect_timeout_ms = target->timeout_ms,
                                       .total_timeout_ms = target->timeout_ms,
                                       .body_limit = q->limit,
                                       .trust = HTTP_CLIENT_TRUST_NONE,
                                       .verify = keep_leaf,
                                       .user = leaf,
                                       .connect_address = target->connect};
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    const http_client_request request = {.method = "GET", .path = q->path};
    int rc = client == NULL ? (int)DSTACK_E_ARGUMENT : 0;
    bool again = rc == 0;
    while (again) {
        rc = http_client_send(client, &request, &response, err);
        again = rc == 0 && asks_for_patience(response.status) &&
                clock_monotonic_ms() + RETRY_MS < q->deadline;
        if (again) {
            poll(NULL, 0, RETRY_MS);
        }
    }
    rc = rc != 0 ? rc : check_status(q, &response, err);
    if (rc == 0) {
        *body = response.body;
        response.body = (dstack_buf){0};
    }
    return error_prefix(err, rc, "asking %s for evidence", q->host);
}

static void ask_gateway(const verify_target *target, const char *port, verify_answers *answers) {
    char host[300];
    DSTACK_AUTO(buf) dstack_buf leaf = {0};
    snprintf(host, sizeof host, "gateway.%s", answers->name.base);
    const question q = {host, port, "/.dstack/acme-info", VERIFY_ACME_INFO_MAX,
                        clock_monotonic_ms() + target->timeout_ms};
    (void)ask(target, &q, &answers->acme_info, &leaf, &answers->acme_error);
}

static void ask_guest(const verify_target *target, const char *port, verify_answers *answers) {
    char host[320];
    DSTACK_AUTO(buf) dstack_buf path = {0};
    snprintf(host, sizeof host, "%s-%d.%s", answers->name.id, EVIDENCE_PORT, answers->name.base);
    random_fill(answers->nonce, sizeof answers->nonce);
    buf_put_str(&path, "/.well-known/dstack/evidence?nonce=");
    buf_put_hex(&path, bytes_of(answers->nonce, sizeof answers->nonce));
    const char *text = buf_text(&path);
    if (text == NULL) {
        error_set(&answers->evidence_error, DSTACK_E_MEMORY, "out of memory");
        return;
    }
    const question q = {host, port, text, VERIFY_EVIDENCE_MAX,
                        clock_monotonic_ms() + target->timeout_ms};
    (void)ask(target, &q, &answers->evidence, &answers->evidence_leaf, &answers->evidence_error);
}

static bool carries_evidence(const verify_answers *answers) {
    DSTACK_AUTO(dstack_cert) dstack_cert *leaf = NULL;
    return answers->chain_count > 0 &&
           dstack_cert_parse(bytes_of_buf(&answers->chain[0]), &leaf, NULL) == 0 &&
           dstack_cert_attestation(leaf) != NULL;
}

int verify_connect(const verify_target *target, verify_answers *answers, dstack_error *err) {
    http_url url;
    int rc = http_url_parse(target->url, &url, err);
    if (rc == 0 && url.scheme != HTTP_SCHEME_HTTPS) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "an https:// address is needed");
    }
    if (rc != 0) {
        return rc;
    }
    verify_name_split(url.host, &answers->name);
    rc = look_at(&url, target, answers, err);
    if (rc == DSTACK_E_NETWORK && *answers->name.id != '\0') {
        error_prefix(err, rc, "%s (a gateway closes connections for names it does not serve)",
                     url.host);
    }
    if (rc == 0 && *answers->name.id != '\0' && !carries_evidence(answers)) {
        ask_gateway(target, url.port, answers);
        if (!verify_name_is_gateway(&answers->name)) {
            ask_guest(target, url.port, answers);
        }
    }
    return rc;
}
