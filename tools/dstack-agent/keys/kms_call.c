#include "keys/kms_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "client/http_client.h"
#include "keys/app_keys.h"
#include "x509/pem.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define CONNECT_TIMEOUT_MS 5000
#define TOTAL_TIMEOUT_MS 60000

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

char *kms_call_base(const char *url) {
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    bool has = len >= 5 && strncmp(url + len - 5, "/prpc", 5) == 0;
    char *out = NULL;
    return asprintf(&out, "%.*s%s", (int)len, url, has ? "" : "/prpc") < 0 ? NULL : out;
}

/* Runs inside the handshake: a server that is no KMS of this root never sees the request. */
static int server_verify(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    const kms_trust *trust = user;
    if (count == 0) {
        return error_set(err, DSTACK_E_REFUSED, "the KMS showed no certificate");
    }
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    DSTACK_AUTO(buf) dstack_buf intermediates = {0};
    int rc = dstack_cert_parse(chain[0], &cert, err);
    for (size_t i = 1; rc == 0 && i < count; i++) {
        rc = pem_append(&intermediates, "CERTIFICATE", chain[i], err);
    }
    if (rc != 0) {
        return rc;
    }
    int64_t now = clock_unix();
    const dstack_attestation_options options = {
        .now = now,
        .collateral = trust->collateral,
        .collateral_user = trust->collateral_user,
    };
    const dstack_cert_check check = {
        .now = now,
        .root = trust->root,
        .intermediates = bytes_of_buf(&intermediates),
        .usage = DSTACK_USAGE_KMS_RPC,
        .require_attestation = trust->require_attestation && trust->verifier != NULL,
        .attestation = trust->verifier != NULL ? &options : NULL,
    };
    rc = dstack_cert_verify(trust->verifier, cert, &check, NULL, err);
    return rc != 0 ? error_prefix(err, rc, "the KMS's certificate") : 0;
}

int kms_call_run(const kms_call *call, const char *method, const json_t *request, json_t **answer,
                 dstack_error *err) {
    DSTACK_AUTO(str) char *base = kms_call_base(call->url);
    char path[80];
    snprintf(path, sizeof path, "/%s?json", method);
    DSTACK_AUTO(wiped) dstack_buf body = {0};
    int rc = 0;
    if (request != NULL) {
        rc = json_write(request, false, &body, err);
    } else {
        buf_put_str(&body, "null");
    }
    if (rc != 0 || base == NULL || (rc = buf_check(&body, err)) != 0) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    http_client_config config = {
        .url = base,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .total_timeout_ms = TOTAL_TIMEOUT_MS,
        .body_limit = ANSWER_MAX,
        .trust = HTTP_CLIENT_TRUST_NONE,
        .certificate_pem = call->client_chain,
    };
    if (call->client_key != NULL) {
        config.key_pem =
            bytes_of(dstack_secret_peek(call->client_key), dstack_secret_len(call->client_key));
    }
    if (call->trust != NULL) {
        config.verify = server_verify;
        config.user = (void *)(uintptr_t)call->trust;
    }
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    const http_client_request http = {
        .method = "POST",
        .path = path,
        .content_type = "application/json",
        .body = bytes_of_buf(&body),
    };
    if (client == NULL) {
        return err != NULL ? (int)err->status : DSTACK_E_ARGUMENT;
    }
    if ((rc = http_client_send_ok(client, &http, &response, err)) != 0) {
        return error_prefix(err, rc, "KMS %s", method);
    }
    *answer = json_parse(bytes_of_buf(&response.body), ANSWER_MAX, "the KMS's answer", NULL);
    return *answer != NULL ? 0
                           : error_set(err, DSTACK_E_FORMAT, "KMS %s: the answer is not JSON", method);
}
