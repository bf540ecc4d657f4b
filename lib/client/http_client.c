#include "client/http_client.h"

#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/tls.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_message.h"
#include "client/http_transport.h"

#define DEFAULT_CONNECT_MS 5000
#define DEFAULT_TOTAL_MS 60000
#define DEFAULT_BODY_LIMIT ((size_t)10 << 20)
#define BACKOFF_FIRST_MS 200
#define BACKOFF_LAST_MS 5000

struct http_client {
    http_url url;
    int connect_ms;
    int total_ms;
    unsigned attempts;
    size_t body_limit;
    char *connect_address;
    char *user_agent;
    char host_header[270];
    http_tls_client tls;
    http_transport transport;
};

static int copy_text(const char *from, char **to, dstack_error *err) {
    if (from != NULL && (*to = strdup(from)) == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

static void set_host_header(http_client *client) {
    const http_url *url = &client->url;
    bool usual = strcmp(url->port, url->scheme == HTTP_SCHEME_HTTPS ? "443" : "80") == 0;
    bool v6 = strchr(url->host, ':') != NULL;
    if (url->scheme == HTTP_SCHEME_UNIX) {
        strcpy(client->host_header, "localhost");
    } else {
        snprintf(client->host_header, sizeof client->host_header, "%s%s%s%s%s", v6 ? "[" : "",
                 url->host, v6 ? "]" : "", usual ? "" : ":", usual ? "" : url->port);
    }
}

http_client *http_client_new(const http_client_config *config, dstack_error *err) {
    http_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    client->transport = HTTP_TRANSPORT_CLOSED;
    client->connect_ms =
        config->connect_timeout_ms > 0 ? config->connect_timeout_ms : DEFAULT_CONNECT_MS;
    client->total_ms = config->total_timeout_ms > 0 ? config->total_timeout_ms : DEFAULT_TOTAL_MS;
    client->attempts = config->attempts > 0 ? config->attempts : 1;
    client->body_limit = config->body_limit > 0 ? config->body_limit : DEFAULT_BODY_LIMIT;
    int rc = http_url_parse(config->url, &client->url, err);
    rc = rc != 0 ? rc : copy_text(config->connect_address, &client->connect_address, err);
    rc = rc != 0 ? rc : copy_text(config->user_agent, &client->user_agent, err);
    if (rc == 0 && client->url.scheme == HTTP_SCHEME_HTTPS) {
        rc = http_tls_client_init(&client->tls, config, &client->url, err);
    }
    if (rc != 0) {
        http_client_free(client);
        return NULL;
    }
    set_host_header(client);
    return client;
}

void http_client_free(http_client *client) {
    if (client != NULL) {
        http_transport_close(&client->transport);
        http_tls_client_clear(&client->tls);
        free(client->connect_address);
        free(client->user_agent);
        free(client);
    }
}

dstack_bytes http_client_server_cert(const http_client *client) {
    unsigned count = 0;
    const gnutls_datum_t *list =
        client->transport.session != NULL
            ? gnutls_certificate_get_peers(client->transport.session, &count)
            : NULL;
    return count > 0 ? bytes_of(list[0].data, list[0].size) : (dstack_bytes){0};
}

int http_client_channel_binding(const http_client *client, uint8_t out[32], dstack_error *err) {
    return client->transport.session != NULL
               ? dstack_tls_channel_binding(client->transport.session, out, err)
               : error_set(err, DSTACK_E_STATE, "no TLS connection is open");
}

static int write_request(const http_client *client, const http_client_request *request,
                         dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    if (asprintf(&path, "%s%s", client->url.base, request->path) < 0) {
        path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    http_client_request whole = *request;
    whole.path = path;
    buf_reserve(out, request->body.len + 1024);
    return http_client_request_write(&whole, client->host_header, client->user_agent, out, err);
}

/* A connection the server has closed meanwhile reads as ready. */
static bool still_open(const http_transport *t) {
    struct pollfd p = {.fd = t->fd, .events = POLLIN | POLLRDHUP};
    return t->fd >= 0 && poll(&p, 1, 0) == 0;
}

/* `started` tells whether any of the answer came. */
static int attempt(http_client *client, const http_client_request *request, dstack_bytes message,
                   http_client_response *response, bool *started, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + client->total_ms;
    int rc = 0;
    if (!still_open(&client->transport)) {
        http_transport_close(&client->transport);
        int connect_ms =
            client->connect_ms < client->total_ms ? client->connect_ms : client->total_ms;
        rc = http_transport_open(&client->transport, &client->url, client->connect_address,
                                 client->url.scheme == HTTP_SCHEME_HTTPS ? &client->tls : NULL,
                                 connect_ms, err);
    }
    if (rc != 0) {
        return rc;
    }
    client->transport.deadline = deadline;
    http_reader reader = {.more = http_transport_more, .user = &client->transport};
    bool keep = false;
    rc = http_transport_write(&client->transport, message, err);
    rc = rc != 0 ? rc
                 : http_read_response(&reader, strcmp(request->method, "HEAD") == 0,
                                      client->body_limit, response, &keep, err);
    *started = reader.buf.len > 0 || reader.pos > 0;
    keep = keep && reader.pos == reader.buf.len;
    buf_wipe(&reader.buf);
    if (rc != 0 || !keep) {
        http_transport_close(&client->transport);
    }
    return rc;
}

static void back_off(unsigned round) {
    uint32_t wait = BACKOFF_FIRST_MS << (round < 5 ? round : 5);
    wait = wait < BACKOFF_LAST_MS ? wait : BACKOFF_LAST_MS;
    wait = wait / 2 + randombytes_uniform(wait / 2 + 1);
    poll(NULL, 0, (int)wait);
}

int http_client_send(http_client *client, const http_client_request *request,
                     http_client_response *response, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf message = {0};
    http_client_response_clear(response);
    int rc = write_request(client, request, &message, err);
    if (rc != 0) {
        return rc;
    }
    for (unsigned round = 0;; round++) {
        bool started = false;
        bool reused = client->transport.fd >= 0;
        rc = attempt(client, request, bytes_of_buf(&message), response, &started, err);
        bool network = rc == DSTACK_E_NETWORK || rc == DSTACK_E_TIMEOUT;
        if (rc == 0 || started || !network) {
            break;
        }
        /* A kept connection that died while idle is no failure of the peer: once more at once. */
        if (reused && rc == DSTACK_E_NETWORK && round == 0) {
            rc = attempt(client, request, bytes_of_buf(&message), response, &started, err);
            if (rc == 0 || started) {
                break;
            }
        }
        if (round + 1 >= client->attempts) {
            break;
        }
        back_off(round);
    }
    buf_wipe(&message);
    if (rc != 0) {
        http_client_response_clear(response);
    }
    return rc;
}

int http_client_send_ok(http_client *client, const http_client_request *request,
                        http_client_response *response, dstack_error *err) {
    int rc = http_client_send(client, request, response, err);
    if (rc == 0 && (response->status < 200 || response->status > 299)) {
        rc = error_set(err, DSTACK_E_PEER, "%s%s returned %d: %.*s", client->host_header,
                       request->path, response->status,
                       (int)(response->body.len < 256 ? response->body.len : 256),
                       response->body.data != NULL ? (const char *)response->body.data : "");
    }
    return rc;
}
