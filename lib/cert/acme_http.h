/* Requests of the ACME protocol: nonces, signed POSTs, problem documents (RFC 8555 section 6). */
#ifndef CERT_ACME_HTTP_H
#define CERT_ACME_HTTP_H

#include <curl/curl.h>
#include <jansson.h>

#include <dstack/acme.h>

#include "crypto/ecdsa.h"

struct dstack_acme {
    CURL *curl;
    ecdsa_private *key;
    char *ca_file;
    char *account_url;
    char *nonce; /* from the last answer; NULL when one must be fetched */
    char *directory_url;
    char *new_nonce_url;
    char *new_account_url;
    char *new_order_url;
    int64_t request_timeout_ms;
    int64_t deadline; /* monotonic ms of the running call; 0: none */
};

/* One answer. Owned by the caller; cleared with acme_response_clear. */
typedef struct acme_response {
    long status;
    char *location;      /* Location header or NULL */
    int64_t retry_after; /* seconds from the Retry-After header, 0 when absent or a date */
    dstack_buf body;
} acme_response;

void acme_response_clear(acme_response *response);

/* GET without signature: the directory. */
int acme_get(dstack_acme *acme, const char *url, acme_response *out, dstack_error *err);

/* Signed POST; payload NULL is POST-as-GET. Fetches a nonce where none is at hand, and repeats twice
 * when the server calls a nonce bad. Statuses of 400 and above become DSTACK_E_PEER with the type and
 * detail of the problem document. */
int acme_post(dstack_acme *acme, const char *url, const char *payload, acme_response *out,
              dstack_error *err);

/* The body as a JSON object, owned by the caller; NULL on failure. */
json_t *acme_response_json(const acme_response *response, const char *what, dstack_error *err);

#endif
