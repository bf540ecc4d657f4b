/* Addresses and connections of `dstack verify`. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_client.h"
#include "verify_url.h"

#define BODY_LIMIT ((size_t)16 << 20)
#define TIMEOUT_MS 30000

int target_parse(const char *url, struct target *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    if (strncmp(url, "https://", 8) != 0) {
        return cli_usage(err, "%s: expected https://HOST[:PORT]", url);
    }
    const char *host = url + 8;
    size_t len = strcspn(host, ":/?#");
    out->port = 443;
    if (host[len] == ':') {
        char *end = NULL;
        unsigned long port = strtoul(host + len + 1, &end, 10);
        if (end == host + len + 1 || port == 0 || port > 65535 || (*end != 0 && *end != '/')) {
            return cli_usage(err, "%s: bad port", url);
        }
        out->port = (unsigned)port;
    }
    if (len == 0 || len >= sizeof out->host) {
        return cli_usage(err, "%s: bad host name", url);
    }
    memcpy(out->host, host, len);
    const char *dot = strchr(out->host, '.');
    size_t label = strcspn(out->host, ".-");
    if (dot != NULL && label > 0 && label < sizeof out->id) {
        memcpy(out->id, out->host, label);
        snprintf(out->base, sizeof out->base, "%s", dot + 1);
    }
    return 0;
}

void fetched_clear(struct fetched *fetched) {
    dstack_buf_clear(&fetched->body);
    dstack_buf_clear(&fetched->leaf);
}

/* Keeps the leaf that this handshake proved the peer to hold; who that is, is judged later. */
static int keep_leaf(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    dstack_buf *leaf = user;
    buf_reset(leaf);
    if (count > 0) {
        buf_put_bytes(leaf, chain[0]);
    }
    return buf_check(leaf, err);
}

int verify_fetch(const struct verify_setup *setup, const char *host, unsigned port, const char *path,
                 bool trusted, struct fetched *out, dstack_error *err) {
    char url[512];
    dstack_error local = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    memset(out, 0, sizeof *out);
    snprintf(url, sizeof url, "https://%s:%u", host, port);
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(
        &(http_client_config){.url = url, .total_timeout_ms = TIMEOUT_MS, .body_limit = BODY_LIMIT,
                              .trust = !trusted               ? HTTP_CLIENT_TRUST_NONE
                                       : setup->ca.len > 0 ? HTTP_CLIENT_TRUST_CA
                                                              : HTTP_CLIENT_TRUST_SYSTEM,
                              .ca_pem = bytes_of_buf(&setup->ca),
                              .verify = keep_leaf, .user = &out->leaf,
                              .connect_address = setup->connect},
        &local);
    if (client == NULL) {
        return error_set(err, local.status, "%s: %s", url, local.message);
    }
    int rc = http_client_send(client, &(http_client_request){.method = "GET", .path = path}, &response,
                              err);
    if (rc != 0) {
        return error_prefix(err, rc, "%s%s", url, path);
    }
    out->status = response.status;
    buf_put(&out->body, response.body.data, response.body.len);
    rc = buf_check(&out->body, err);
    if (rc == 0 && out->leaf.len == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s showed no certificate", url);
    }
    return rc;
}
