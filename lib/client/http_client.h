/* HTTP/1.1 client for calls between dstack's own parts: http, https and unix sockets.
 *
 * Not libcurl, because RA-TLS needs the peer's evidence judged inside the handshake, before a
 * single byte is sent: libcurl's GnuTLS backend offers no such hook. One client = one origin = at
 * most one connection, kept open between calls; one thread at a time. Every call has a connect and
 * a total deadline and a limit on the answer. */
#ifndef CLIENT_HTTP_CLIENT_H
#define CLIENT_HTTP_CLIENT_H

#include "base/auto.h"

#include <dstack/bytes.h>

typedef struct http_client http_client;

/* Judges the server inside the handshake; non-zero (with err) breaks it off. `chain` is DER, leaf
 * first. The handshake proves that the peer holds the leaf's key. */
typedef int http_client_verify(const dstack_bytes *chain, size_t count, void *user,
                               dstack_error *err);

typedef enum http_client_trust {
    HTTP_CLIENT_TRUST_SYSTEM = 0, /* the machine's certificate store, host name checked */
    HTTP_CLIENT_TRUST_CA,         /* only ca_pem, host name checked */
    HTTP_CLIENT_TRUST_NONE,       /* encryption without identity: first contact only. `verify` may
                                     still judge */
} http_client_trust;

typedef struct http_client_config {
    /* "https://host[:port][/base]", "http://…", "unix:<path>" (optionally "unix:<path>#/base"). */
    const char *url;
    int connect_timeout_ms; /* 0: 5000 */
    int total_timeout_ms;   /* 0: 60000, for one attempt */
    unsigned attempts;      /* 0: 1. Retried, with jittered back-off, only while nothing of the
                               answer has come and the failure is the network's */
    size_t body_limit;      /* of an answer, 0: 10 MiB */
    http_client_trust trust;
    dstack_bytes ca_pem;
    dstack_bytes certificate_pem; /* own client certificate chain; empty: none */
    dstack_bytes key_pem;
    http_client_verify *verify; /* runs after the trust check; may be NULL */
    void *user;
    const char *connect_address; /* "ip:port" to connect to instead of resolving; NULL: resolve */
    const char *user_agent;      /* NULL: "dstack/<version>" */
} http_client_config;

typedef struct http_client_request {
    const char *method;       /* "GET", "POST", ... */
    const char *path;         /* appended to the URL's base: "/prpc/GetMeta?json" */
    const char *content_type; /* NULL: none */
    const char *headers;      /* further "Name: value\r\n" lines; NULL: none */
    dstack_bytes body;
} http_client_request;

typedef struct http_client_response {
    int status;
    char *headers; /* raw header lines, zero-terminated */
    dstack_buf body;
} http_client_response;

/* Copies the configuration. No connection is made yet. DSTACK_E_ARGUMENT for a bad URL, certificate
 * or key. */
http_client *http_client_new(const http_client_config *config, dstack_error *err);
/* One exchange; any HTTP status is a success of this call. DSTACK_E_NETWORK, _TIMEOUT, _LIMIT,
 * _FORMAT, or what `verify` gave. The response is cleared first; the caller clears it at the end.
 */
int http_client_send(http_client *client, const http_client_request *request,
                     http_client_response *response, dstack_error *err);
/* As http_client_send, but a status outside 200..299 is DSTACK_E_PEER with the start of the body.
 */
int http_client_send_ok(http_client *client, const http_client_request *request,
                        http_client_response *response, dstack_error *err);
/* DER of the server's leaf on the present connection; empty when there is none or it is plain. */
dstack_bytes http_client_server_cert(const http_client *client);
/* 32 bytes that only the two ends of the present TLS connection know (RFC 9266, tls-exporter).
 * DSTACK_E_STATE without a connection, DSTACK_E_UNSUPPORTED before TLS 1.3. */
int http_client_channel_binding(const http_client *client, uint8_t out[32], dstack_error *err);
void http_client_free(http_client *client);

/* Copies the value of a response header; false when it is absent or does not fit. */
bool http_client_response_header(const http_client_response *response, const char *name, char *out,
                                 size_t room);
/* Wipes the body: it may hold keys. */
void http_client_response_clear(http_client_response *response);

/* Parses a complete response held in memory (a link's frame, a fuzzer's input). */
int http_client_response_parse(dstack_bytes text, size_t body_limit, http_client_response *response,
                               dstack_error *err);
/* Writes a complete request. `host` for the Host header. */
int http_client_request_write(const http_client_request *request, const char *host,
                              const char *user_agent, dstack_buf *out, dstack_error *err);

DSTACK_AUTO_DEFINE(http_client, http_client, http_client_free)
DSTACK_AUTO_DEFINE_CLEAR(http_client_response, http_client_response, http_client_response_clear)

#endif
