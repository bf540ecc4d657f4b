#include "cert/acme_http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cert/acme_jws.h"
#include "config.h"

#define ANSWER_MAX ((size_t)1 << 20) /* chains are a few KiB */
#define BAD_NONCE_RETRIES 2

void acme_response_clear(acme_response *response) {
    free(response->location);
    dstack_buf_clear(&response->body);
    *response = (acme_response){0};
}

struct exchange {
    dstack_acme *acme;
    acme_response *response;
};

static size_t take_body(char *data, size_t size, size_t count, void *user) {
    struct exchange *exchange = user;
    size_t len = size * count;
    if (len > ANSWER_MAX - exchange->response->body.len) {
        return 0; /* curl ends the transfer */
    }
    buf_put(&exchange->response->body, data, len);
    return exchange->response->body.failed ? 0 : len;
}

/* The value of "Name: value\r\n" as a new string, or NULL when the line has another name. */
static char *header_value(const char *line, size_t len, const char *name) {
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0) {
        return NULL;
    }
    const char *start = line + name_len + 1;
    const char *end = line + len;
    while (start < end && (*start == ' ' || *start == '\t')) {
        start++;
    }
    while (end > start && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ')) {
        end--;
    }
    return strndup(start, (size_t)(end - start));
}

static void replace(char **slot, char *value) {
    free(*slot);
    *slot = value;
}

static size_t take_header(char *data, size_t size, size_t count, void *user) {
    struct exchange *exchange = user;
    size_t len = size * count;
    char *value = header_value(data, len, "Replay-Nonce");
    if (value != NULL) {
        replace(&exchange->acme->nonce, value);
        return len;
    }
    value = header_value(data, len, "Location");
    if (value != NULL) {
        replace(&exchange->response->location, value);
        return len;
    }
    value = header_value(data, len, "Retry-After");
    if (value != NULL) {
        char *end = NULL;
        long seconds = strtol(value, &end, 10);
        exchange->response->retry_after = end != value && *end == '\0' && seconds > 0 ? seconds : 0;
        free(value);
    }
    return len;
}

/* What is left of the call's deadline, and never more than the limit of one request. */
static int remaining_ms(const dstack_acme *acme, long *out, dstack_error *err) {
    int64_t left = acme->request_timeout_ms;
    if (acme->deadline != 0) {
        int64_t total = acme->deadline - clock_monotonic_ms();
        left = total < left ? total : left;
    }
    if (left <= 0) {
        return error_set(err, DSTACK_E_TIMEOUT, "ACME: deadline passed");
    }
    *out = (long)left;
    return 0;
}

static int perform(dstack_acme *acme, const char *url, bool head, const dstack_buf *post,
                   acme_response *out, dstack_error *err) {
    long timeout = 0;
    int rc = remaining_ms(acme, &timeout, err);
    if (rc != 0) {
        return rc;
    }
    acme_response_clear(out);
    struct exchange exchange = {acme, out};
    char reason[CURL_ERROR_SIZE] = "";
    CURL *curl = acme->curl;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout < 10000 ? timeout : 10000L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "dstack/" DSTACK_PROJECT_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    if (acme->ca_file != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, acme->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    struct curl_slist *headers = NULL;
    if (head) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    }
    if (post != NULL) {
        headers = curl_slist_append(NULL, "Content-Type: application/jose+json");
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)post->len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post->data);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    curl_slist_free_all(headers);
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return error_set(err, DSTACK_E_TIMEOUT, "ACME: %s did not answer within %ld ms", url,
                         timeout);
    }
    if (code != CURLE_OK) {
        return error_set(err, DSTACK_E_NETWORK, "ACME: %s: %s", url,
                         reason[0] != '\0' ? reason : curl_easy_strerror(code));
    }
    return 0;
}

json_t *acme_response_json(const acme_response *response, const char *what, dstack_error *err) {
    json_t *value = json_parse(bytes_of_buf(&response->body), ANSWER_MAX, what, err);
    if (value != NULL && !json_is_object(value)) {
        json_decref(value);
        error_set(err, DSTACK_E_FORMAT, "%s is not a JSON object", what);
        return NULL;
    }
    return value;
}

/* Turns an error answer into an error; tells whether it was a bad nonce (RFC 8555 section 6.5). */
static int problem(const char *url, const acme_response *response, bool *bad_nonce,
                   dstack_error *err) {
    DSTACK_AUTO(json) json_t *doc = acme_response_json(response, "problem document", NULL);
    const char *type = "";
    const char *detail = "no problem document";
    json_str_or(doc, "type", "", &type, NULL);
    json_str_or(doc, "detail", detail, &detail, NULL);
    *bad_nonce = strcmp(type, "urn:ietf:params:acme:error:badNonce") == 0;
    return error_set(err, DSTACK_E_PEER, "ACME server answered %ld to %s: %s%s%s", response->status,
                     url, type, type[0] != '\0' ? ": " : "", detail);
}

int acme_get(dstack_acme *acme, const char *url, acme_response *out, dstack_error *err) {
    int rc = perform(acme, url, false, NULL, out, err);
    bool bad_nonce = false;
    if (rc == 0 && out->status != 200) {
        rc = problem(url, out, &bad_nonce, err);
    }
    return rc;
}

static int need_nonce(dstack_acme *acme, dstack_error *err) {
    if (acme->nonce != NULL) {
        return 0;
    }
    acme_response answer = {0};
    int rc = perform(acme, acme->new_nonce_url, true, NULL, &answer, err);
    acme_response_clear(&answer);
    if (rc == 0 && acme->nonce == NULL) {
        rc = error_set(err, DSTACK_E_PEER, "ACME server gave no nonce at %s", acme->new_nonce_url);
    }
    return rc;
}

int acme_post(dstack_acme *acme, const char *url, const char *payload, acme_response *out,
              dstack_error *err) {
    for (int attempt = 0;; attempt++) {
        int rc = need_nonce(acme, err);
        if (rc != 0) {
            return rc;
        }
        DSTACK_AUTO(str) char *nonce = acme->nonce;
        acme->nonce = NULL; /* each nonce serves once */
        DSTACK_AUTO(buf) dstack_buf body = {0};
        rc = acme_jws_sign(acme->key, acme->account_url, nonce, url, payload, &body, err);
        if (rc == 0) {
            rc = perform(acme, url, false, &body, out, err);
        }
        if (rc != 0) {
            return rc;
        }
        if (out->status < 400) {
            return 0;
        }
        bool bad_nonce = false;
        rc = problem(url, out, &bad_nonce, err);
        if (!bad_nonce || attempt >= BAD_NONCE_RETRIES) {
            return rc;
        }
    }
}
