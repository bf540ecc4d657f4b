#include "net/gateway.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "client/http_client.h"
#include "x509/pem.h"

#define ANSWER_MAX ((size_t)256 << 10)

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(addrinfo, struct addrinfo, freeaddrinfo)

bool gateway_app_id_allowed(const char *list, dstack_bytes app_id) {
    char want[2 * 64 + 1];
    if (app_id.len == 0 || app_id.len > 64) {
        return false;
    }
    hex_encode(app_id, want);
    for (const char *at = list; *at != '\0';) {
        at += strspn(at, " ,\t\n");
        const char *item = strncasecmp(at, "0x", 2) == 0 ? at + 2 : at;
        size_t len = strcspn(item, " ,\t\n");
        if (len == strlen(want) && strncasecmp(item, want, len) == 0) {
            return true;
        }
        at = item + len;
    }
    return false;
}

/* Runs inside the handshake. */
static int server_verify(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    const gateway_request *request = user;
    if (strcmp(request->allowed_app_ids, "any") == 0 && request->insecure_dev) {
        return 0;
    }
    if (count == 0) {
        return error_set(err, DSTACK_E_REFUSED, "the gateway showed no certificate");
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
    const dstack_cert_check check = {
        .now = clock_unix(),
        .root = bytes_of_str(request->root_pem),
        .intermediates = bytes_of_buf(&intermediates),
    };
    if ((rc = dstack_cert_verify(NULL, cert, &check, NULL, err)) != 0) {
        return error_prefix(err, rc, "the gateway's certificate");
    }
    return gateway_app_id_allowed(request->allowed_app_ids, dstack_cert_app_id(cert))
               ? 0
               : error_set(err, DSTACK_E_REFUSED,
                           "the gateway is not an app that the KMS names as gateway");
}

static json_t *request_body(const gateway_request *request) {
    DSTACK_AUTO(buf) dstack_buf key = {0};
    base64_encode(bytes_of(request->public_key, WG_KEY_SIZE), BASE64_STANDARD, &key);
    json_t *ports = json_array();
    for (size_t i = 0; request->app != NULL && i < request->app->port_count; i++) {
        json_array_append_new(ports,
                              json_pack("{s:i,s:b}", "port", (int)request->app->ports[i].port, "pp",
                                        request->app->ports[i].proxy_protocol ? 1 : 0));
    }
    json_t *policy = json_object();
    json_object_set_new(policy, "ports", ports);
    json_object_set_new(policy, "restrict_mode",
                        json_boolean(request->app != NULL && request->app->port_restrict_mode));
    json_t *body = json_object();
    json_object_set_new(body, "client_public_key", json_string(buf_text(&key)));
    json_object_set_new(body, "port_policy", policy);
    if (request->app != NULL && request->app->health_check) {
        json_object_set_new(body, "health_check", json_true());
    }
    return body;
}

static int endpoint_resolve(const char *text, struct sockaddr_storage *out, dstack_error *err) {
    char host[256];
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    if (len == 0 || len >= sizeof host || colon[1] == '\0') {
        return error_set(err, DSTACK_E_FORMAT, "a gateway's endpoint must be host:port");
    }
    bool bracketed = text[0] == '[' && text[len - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len), text + bracketed);
    DSTACK_AUTO(addrinfo) struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0 || found->ai_addrlen > sizeof *out) {
        return error_set(err, DSTACK_E_NETWORK, "a gateway's endpoint does not resolve: %s",
                         rc != 0 ? gai_strerror(rc) : "address too long");
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    return 0;
}

static int ip_read(const char *text, struct in_addr *out, const char *what, dstack_error *err) {
    char ip[INET_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    snprintf(ip, sizeof ip, "%.*s", (int)(len < sizeof ip ? len : sizeof ip - 1), text);
    return len < sizeof ip && inet_pton(AF_INET, ip, out) == 1
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "%s must be an IPv4 address", what);
}

static int peer_read(const json_t *server, wg_peer *peer, dstack_error *err) {
    const char *pk = NULL, *ip = NULL, *endpoint = NULL;
    DSTACK_AUTO(buf) dstack_buf key = {0};
    int rc;
    if ((rc = json_need_str(server, "pk", &pk, err)) != 0 ||
        (rc = json_need_str(server, "ip", &ip, err)) != 0 ||
        (rc = json_need_str(server, "endpoint", &endpoint, err)) != 0 ||
        (rc = base64_decode(bytes_of_str(pk), BASE64_STANDARD, &key, err)) != 0) {
        return rc;
    }
    if (key.len != WG_KEY_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "a gateway's WireGuard key must have 32 bytes");
    }
    memcpy(peer->public_key, key.data, WG_KEY_SIZE);
    peer->keepalive_s = GATEWAY_KEEPALIVE_S;
    rc = ip_read(ip, &peer->allowed_ip, "a gateway's address", err);
    return rc != 0 ? rc : endpoint_resolve(endpoint, &peer->endpoint, err);
}

int gateway_answer_parse(const json_t *answer, wg_config *wg, dstack_error *err) {
    json_t *section = NULL, *servers = NULL;
    const char *client_ip = NULL;
    int rc;
    if ((rc = json_need_object(answer, "wg", &section, err)) != 0 ||
        (rc = json_need_str(section, "client_ip", &client_ip, err)) != 0 ||
        (rc = json_need_array(section, "servers", &servers, err)) != 0 ||
        (rc = ip_read(client_ip, &wg->address, "client_ip", err)) != 0) {
        return error_prefix(err, rc, "RegisterCvm");
    }
    size_t count = json_array_size(servers);
    if (count == 0 || count > WG_PEERS_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "RegisterCvm: 1 to %d servers are expected",
                         WG_PEERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if ((rc = peer_read(json_array_get(servers, i), &wg->peers[i], err)) != 0) {
            return error_prefix(err, rc, "RegisterCvm");
        }
    }
    wg->peer_count = count;
    return 0;
}

/* The URL ending in /prpc, to be freed. */
static char *url_base(const char *url) {
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    bool has = len >= 5 && strncmp(url + len - 5, "/prpc", 5) == 0;
    char *out = NULL;
    return asprintf(&out, "%.*s%s", (int)len, url, has ? "" : "/prpc") < 0 ? NULL : out;
}

static int register_one(const gateway_request *request, const char *url, wg_config *wg,
                        dstack_error *err) {
    DSTACK_AUTO(str) char *base = url_base(url);
    DSTACK_AUTO(json) json_t *body = request_body(request);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    int rc = json_write(body, false, &text, err);
    if (rc != 0) {
        return rc;
    }
    const http_client_config config = {
        .url = base,
        .connect_timeout_ms = 5000,
        .total_timeout_ms = 60000,
        .body_limit = ANSWER_MAX,
        .trust = HTTP_CLIENT_TRUST_NONE,
        .certificate_pem = request->client_chain,
        .key_pem = bytes_of(dstack_secret_peek(request->client_key),
                            dstack_secret_len(request->client_key)),
        .verify = server_verify,
        .user = (void *)(uintptr_t)request,
    };
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, err);
    const http_client_request http = {
        .method = "POST",
        .path = "/RegisterCvm?json",
        .content_type = "application/json",
        .body = bytes_of_buf(&text),
    };
    if (client == NULL) {
        return err != NULL ? (int)err->status : DSTACK_E_ARGUMENT;
    }
    if ((rc = http_client_send_ok(client, &http, &response, err)) != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *answer = json_parse(bytes_of_buf(&response.body), ANSWER_MAX, "the answer", err);
    return answer == NULL ? DSTACK_E_FORMAT : gateway_answer_parse(answer, wg, err);
}

int gateway_register(const gateway_request *request, wg_config *wg, dstack_error *err) {
    if (request->allowed_app_ids == NULL || request->allowed_app_ids[0] == '\0') {
        return error_set(err, DSTACK_E_REFUSED, "the KMS names no gateway");
    }
    int first = error_set(err, DSTACK_E_NOT_FOUND, "no gateway URL is configured");
    for (size_t i = 0; i < request->url_count; i++) {
        dstack_error one = {0};
        int rc = register_one(request, request->urls[i], wg, &one);
        if (rc == 0) {
            return 0;
        }
        if (i == 0) {
            first = error_set(err, rc, "%s", one.message);
        }
    }
    return first;
}

int gateway_firewall_text(const wg_config *wg, dstack_buf *out, dstack_error *err) {
    buf_put_str(out, "table inet dstack_wg\ndelete table inet dstack_wg\n"
                     "table inet dstack_wg {\n chain input {\n"
                     "  type filter hook input priority -10; policy accept;\n");
    for (size_t i = 0; i < wg->peer_count; i++) {
        const struct sockaddr_storage *endpoint = &wg->peers[i].endpoint;
        char ip[INET6_ADDRSTRLEN];
        bool v6 = endpoint->ss_family == AF_INET6;
        const void *address =
            v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)endpoint)->sin6_addr
               : (const void *)&((const struct sockaddr_in *)(const void *)endpoint)->sin_addr;
        if (inet_ntop(endpoint->ss_family, address, ip, sizeof ip) == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "a gateway's endpoint has no address");
        }
        buf_put_fmt(out, "  udp dport %u %s saddr %s accept\n", wg->listen_port, v6 ? "ip6" : "ip",
                    ip);
    }
    buf_put_fmt(out, "  udp dport %u drop\n }\n}\n", wg->listen_port);
    return buf_check(out, err);
}
