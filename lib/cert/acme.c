#include <dstack/acme.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cert/acme_http.h"
#include "cert/acme_jws.h"

#define NAMES_MAX 100
#define POLL_MS 1000
#define POLL_MAX_MS 10000

static inline void auto_response(acme_response *response) {
    acme_response_clear(response);
}

void dstack_acme_free(dstack_acme *acme) {
    if (acme == NULL) {
        return;
    }
    if (acme->curl != NULL) {
        curl_easy_cleanup(acme->curl);
    }
    ecdsa_private_free(acme->key);
    free(acme->ca_file);
    free(acme->account_url);
    free(acme->nonce);
    free(acme->directory_url);
    free(acme->new_nonce_url);
    free(acme->new_account_url);
    free(acme->new_order_url);
    free(acme);
}

DSTACK_AUTO_DEFINE(acme, dstack_acme, dstack_acme_free)

const char *dstack_acme_account_url(const dstack_acme *acme) {
    return acme->account_url;
}

static int copy_member(const json_t *object, const char *key, char **out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(object, key, &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = strdup(text);
    return *out == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

static int load_directory(dstack_acme *acme, dstack_error *err) {
    DSTACK_AUTO(response) acme_response answer = {0};
    int rc = acme_get(acme, acme->directory_url, &answer, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *doc = acme_response_json(&answer, "ACME directory", err);
    if (doc == NULL) {
        return DSTACK_E_FORMAT;
    }
    rc = copy_member(doc, "newNonce", &acme->new_nonce_url, err);
    rc = rc != 0 ? rc : copy_member(doc, "newAccount", &acme->new_account_url, err);
    rc = rc != 0 ? rc : copy_member(doc, "newOrder", &acme->new_order_url, err);
    return error_prefix(err, rc, "ACME directory %s", acme->directory_url);
}

/* newAccount gives the existing account for a key that is known already (RFC 8555 7.3.1). */
static int need_account(dstack_acme *acme, dstack_error *err) {
    if (acme->account_url != NULL) {
        return 0;
    }
    DSTACK_AUTO(response) acme_response answer = {0};
    int rc =
        acme_post(acme, acme->new_account_url, "{\"termsOfServiceAgreed\":true}", &answer, err);
    if (rc != 0) {
        return rc;
    }
    if (answer.location == NULL) {
        return error_set(err, DSTACK_E_PEER, "ACME server gave no account URL");
    }
    acme->account_url = answer.location;
    answer.location = NULL;
    return 0;
}

static int copy_options(dstack_acme *acme, const dstack_acme_options *options, dstack_error *err) {
    acme->request_timeout_ms =
        options->request_timeout_ms > 0 ? options->request_timeout_ms : 30000;
    acme->curl = curl_easy_init();
    acme->directory_url = strdup(options->directory_url);
    acme->ca_file = options->ca_file == NULL ? NULL : strdup(options->ca_file);
    acme->account_url = options->account_url == NULL ? NULL : strdup(options->account_url);
    if (acme->curl == NULL || acme->directory_url == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return ecdsa_private_from_der(&acme->key, options->account_key, err);
}

int dstack_acme_new(dstack_acme **out, const dstack_acme_options *options, dstack_error *err) {
    if (options->directory_url == NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "ACME directory URL is missing");
    }
    DSTACK_AUTO(acme) dstack_acme *acme = calloc(1, sizeof *acme);
    if (acme == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = copy_options(acme, options, err);
    rc = rc != 0 ? rc : load_directory(acme, err);
    rc = rc != 0 ? rc : need_account(acme, err);
    if (rc == 0) {
        *out = acme;
        acme = NULL;
    }
    return rc;
}

/* Waits before the next look at an order, but not past the deadline. */
static int pause_poll(const dstack_acme *acme, const acme_response *answer, dstack_error *err) {
    int64_t wait = answer->retry_after > 0 ? answer->retry_after * 1000 : POLL_MS;
    wait = wait > POLL_MAX_MS ? POLL_MAX_MS : wait;
    if (clock_monotonic_ms() + wait >= acme->deadline) {
        return error_set(err, DSTACK_E_TIMEOUT, "ACME: the order did not finish in time");
    }
    struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
    nanosleep(&pause, NULL);
    return 0;
}

static int new_order(dstack_acme *acme, const char *const *names, size_t count, char **order_url,
                     json_t **order, dstack_error *err) {
    DSTACK_AUTO(json) json_t *identifiers = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(identifiers,
                              json_pack("{s:s,s:s}", "type", "dns", "value", names[i]));
    }
    DSTACK_AUTO(json) json_t *request = json_pack("{s:O}", "identifiers", identifiers);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = json_write(request, false, &text, err);
    DSTACK_AUTO(response) acme_response answer = {0};
    rc = rc != 0 ? rc : acme_post(acme, acme->new_order_url, buf_text(&text), &answer, err);
    if (rc != 0) {
        return rc;
    }
    *order = acme_response_json(&answer, "ACME order", err);
    if (*order == NULL) {
        return DSTACK_E_FORMAT;
    }
    if (answer.location == NULL) {
        return error_set(err, DSTACK_E_PEER, "ACME server gave no order URL");
    }
    *order_url = answer.location;
    answer.location = NULL;
    return 0;
}

/* One authorization: what must be placed, and where the server is told that it is. */
struct challenge {
    char *url;    /* NULL: already valid, nothing to do */
    char *record; /* name of the TXT record */
    dstack_buf value;
    bool placed;
};

static void challenge_clear(struct challenge *challenge) {
    free(challenge->url);
    free(challenge->record);
    dstack_buf_clear(&challenge->value);
}

static int find_dns01(const json_t *authorization, const char **url, const char **token,
                      dstack_error *err) {
    json_t *challenges = NULL;
    int rc = json_need_array(authorization, "challenges", &challenges, err);
    if (rc != 0) {
        return rc;
    }
    size_t i;
    json_t *one;
    json_array_foreach(challenges, i, one) {
        const char *type = "";
        json_str_or(one, "type", "", &type, NULL);
        if (strcmp(type, "dns-01") == 0) {
            rc = json_need_str(one, "url", url, err);
            return rc != 0 ? rc : json_need_str(one, "token", token, err);
        }
    }
    return error_set(err, DSTACK_E_PEER, "ACME server offers no dns-01 challenge");
}

static int load_challenge(dstack_acme *acme, const char *authorization_url,
                          struct challenge *challenge, dstack_error *err) {
    DSTACK_AUTO(response) acme_response answer = {0};
    int rc = acme_post(acme, authorization_url, NULL, &answer, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *doc = acme_response_json(&answer, "ACME authorization", err);
    const char *status = NULL;
    json_t *identifier = NULL;
    const char *name = NULL;
    rc = doc == NULL ? DSTACK_E_FORMAT : json_need_str(doc, "status", &status, err);
    rc = rc != 0 ? rc : json_need_object(doc, "identifier", &identifier, err);
    rc = rc != 0 ? rc : json_need_str(identifier, "value", &name, err);
    if (rc != 0 || strcmp(status, "valid") == 0) {
        return rc;
    }
    if (strcmp(status, "pending") != 0) {
        return error_set(err, DSTACK_E_PEER, "ACME authorization of %s is %s", name, status);
    }
    const char *url = NULL;
    const char *token = NULL;
    rc = find_dns01(doc, &url, &token, err);
    if (rc != 0) {
        return rc;
    }
    challenge->url = strdup(url);
    if (challenge->url == NULL || asprintf(&challenge->record, "_acme-challenge.%s", name) < 0) {
        challenge->record = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    rc = acme_dns01_value(ecdsa_private_public(acme->key), token, &challenge->value, err);
    return rc != 0 || buf_text(&challenge->value) != NULL
               ? rc
               : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

/* Places every record first and only then tells the server, so that two names which share a record
 * name (a domain and its wildcard) are both there when the server looks. */
static int prove(dstack_acme *acme, struct challenge *challenges, size_t count,
                 const dstack_acme_dns01 *dns, dstack_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (challenges[i].url != NULL) {
            challenges[i].placed = true; /* also a failed attempt is cleaned up */
            int rc = dns->present(dns->user, challenges[i].record,
                                  (const char *)challenges[i].value.data, err);
            if (rc != 0) {
                return error_prefix(err, rc, "placing %s", challenges[i].record);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (challenges[i].url != NULL) {
            DSTACK_AUTO(response) acme_response answer = {0};
            int rc = acme_post(acme, challenges[i].url, "{}", &answer, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int order_problem(const json_t *order, dstack_error *err) {
    const char *detail = "the server gave no reason";
    const json_t *problem = json_object_get(order, "error");
    json_str_or(problem, "detail", detail, &detail, NULL);
    return error_set(err, DSTACK_E_PEER, "ACME order is invalid: %s", detail);
}

/* Looks at the order until it has left the states `while_a` and `while_b`. */
static int wait_order(dstack_acme *acme, const char *order_url, const char *while_a,
                      const char *while_b, json_t **order, dstack_error *err) {
    for (;;) {
        DSTACK_AUTO(response) acme_response answer = {0};
        int rc = acme_post(acme, order_url, NULL, &answer, err);
        if (rc != 0) {
            return rc;
        }
        json_decref(*order);
        *order = acme_response_json(&answer, "ACME order", err);
        const char *status = NULL;
        rc = *order == NULL ? DSTACK_E_FORMAT : json_need_str(*order, "status", &status, err);
        if (rc != 0) {
            return rc;
        }
        if (strcmp(status, "invalid") == 0) {
            return order_problem(*order, err);
        }
        if (strcmp(status, while_a) != 0 && strcmp(status, while_b) != 0) {
            return 0;
        }
        rc = pause_poll(acme, &answer, err);
        if (rc != 0) {
            return rc;
        }
    }
}

static int finalize(dstack_acme *acme, const char *order_url, dstack_bytes csr_der, json_t **order,
                    dstack_buf *chain_pem, dstack_error *err) {
    const char *url = NULL;
    int rc = json_need_str(*order, "finalize", &url, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf request = {0};
    buf_put_str(&request, "{\"csr\":\"");
    base64_encode(csr_der, BASE64_URL_NOPAD, &request);
    buf_put_str(&request, "\"}");
    rc = buf_check(&request, err);
    DSTACK_AUTO(response) acme_response answer = {0};
    rc = rc != 0 ? rc : acme_post(acme, url, buf_text(&request), &answer, err);
    rc = rc != 0 ? rc : wait_order(acme, order_url, "processing", "ready", order, err);
    const char *certificate_url = NULL;
    rc = rc != 0 ? rc : json_need_str(*order, "certificate", &certificate_url, err);
    rc = rc != 0 ? rc : acme_post(acme, certificate_url, NULL, &answer, err);
    if (rc == 0) {
        buf_put_bytes(chain_pem, bytes_of_buf(&answer.body));
        rc = buf_check(chain_pem, err);
    }
    return rc;
}

static int authorize_and_finalize(dstack_acme *acme, const char *order_url, json_t **order,
                                  struct challenge *challenges, size_t count, dstack_bytes csr_der,
                                  const dstack_acme_dns01 *dns, dstack_buf *chain_pem,
                                  dstack_error *err) {
    json_t *urls = NULL;
    int rc = json_need_array(*order, "authorizations", &urls, err);
    if (rc == 0 && json_array_size(urls) != count) {
        rc = error_set(err, DSTACK_E_PEER, "ACME order has %zu authorizations for %zu names",
                       json_array_size(urls), count);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *url = json_string_value(json_array_get(urls, i));
        rc = url == NULL ? error_set(err, DSTACK_E_FORMAT, "ACME authorization is not a URL")
                         : load_challenge(acme, url, &challenges[i], err);
    }
    rc = rc != 0 ? rc : prove(acme, challenges, count, dns, err);
    rc = rc != 0 ? rc : wait_order(acme, order_url, "pending", "pending", order, err);
    return rc != 0 ? rc : finalize(acme, order_url, csr_der, order, chain_pem, err);
}

int dstack_acme_issue(dstack_acme *acme, const char *const *names, size_t name_count,
                      dstack_bytes csr_der, const dstack_acme_dns01 *dns, int64_t deadline_ms,
                      dstack_buf *chain_pem, dstack_error *err) {
    if (name_count == 0 || name_count > NAMES_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "an order takes 1 to %d names, not %zu", NAMES_MAX,
                         name_count);
    }
    struct challenge *challenges = calloc(name_count, sizeof *challenges);
    if (challenges == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    acme->deadline = clock_monotonic_ms() + deadline_ms;
    DSTACK_AUTO(str) char *order_url = NULL;
    DSTACK_AUTO(json) json_t *order = NULL;
    int rc = new_order(acme, names, name_count, &order_url, &order, err);
    if (rc == 0) {
        rc = authorize_and_finalize(acme, order_url, &order, challenges, name_count, csr_der, dns,
                                    chain_pem, err);
    }
    for (size_t i = 0; i < name_count; i++) {
        if (challenges[i].placed) {
            dns->cleanup(dns->user, challenges[i].record, (const char *)challenges[i].value.data,
                         NULL);
        }
        challenge_clear(&challenges[i]);
    }
    free(challenges);
    acme->deadline = 0;
    return rc;
}
