/* Addresses that an http_client can reach. */
#ifndef CLIENT_HTTP_URL_H
#define CLIENT_HTTP_URL_H

#include "base/auto.h"

#include <dstack/bytes.h>

typedef enum http_scheme { HTTP_SCHEME_HTTP, HTTP_SCHEME_HTTPS, HTTP_SCHEME_UNIX } http_scheme;

typedef struct http_url {
    http_scheme scheme;
    char host[256]; /* without brackets; the socket's path for unix */
    char port[6];
    char base[512]; /* path without its final slash, "" for none */
    bool host_is_ip;
} http_url;

/* "http[s]://host[:port][/base]" or "unix:<path>[#/base]"; no user, query or fragment. */
int http_url_parse(const char *text, http_url *out, dstack_error *err);

#endif
