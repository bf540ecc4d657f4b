#include "client/http_url.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"

static int copy_part(const char *from, size_t len, char *to, size_t room, const char *what,
                     dstack_error *err) {
    if (len >= room) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s of a URL is longer than %zu", what, room - 1);
    }
    memcpy(to, from, len);
    to[len] = 0;
    return 0;
}

static bool text_is_clean(const char *text) {
    for (const char *p = text; *p != 0; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p == 0x7f) {
            return false;
        }
    }
    return true;
}

static int parse_unix(const char *text, http_url *out, dstack_error *err) {
    out->scheme = HTTP_SCHEME_UNIX;
    size_t len = strcspn(text, "#");
    if (len == 0 || len > 107) { /* sun_path holds 108 bytes, unix(7) */
        return error_set(err, DSTACK_E_ARGUMENT, "unix socket path must have 1 to 107 bytes");
    }
    int rc = copy_part(text, len, out->host, sizeof out->host, "path", err);
    if (rc == 0 && text[len] == '#') {
        rc = copy_part(text + len + 1, strlen(text + len + 1), out->base, sizeof out->base, "base",
                       err);
    }
    return rc;
}

static int parse_port(const char *text, size_t len, http_url *out, dstack_error *err) {
    unsigned long port = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || i >= 5) {
            return error_set(err, DSTACK_E_ARGUMENT, "port in URL is not a number up to 65535");
        }
        port = port * 10 + (unsigned long)(text[i] - '0');
    }
    if (len == 0 || port == 0 || port > 65535) {
        return error_set(err, DSTACK_E_ARGUMENT, "port in URL is not a number up to 65535");
    }
    return copy_part(text, len, out->port, sizeof out->port, "port", err);
}

static int parse_authority(const char *text, size_t len, http_url *out, dstack_error *err) {
    const char *host = text;
    size_t host_len = len;
    const char *port = NULL;
    size_t port_len = 0;
    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (end == NULL) {
            return error_set(err, DSTACK_E_ARGUMENT, "URL has an unclosed '['");
        }
        host = text + 1;
        host_len = (size_t)(end - host);
        size_t used = host_len + 2;
        if (used < len && text[used] == ':') {
            port = text + used + 1;
            port_len = len - used - 1;
        } else if (used != len) {
            return error_set(err, DSTACK_E_ARGUMENT, "URL has text after ']'");
        }
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon != NULL) {
            host_len = (size_t)(colon - text);
            port = colon + 1;
            port_len = len - host_len - 1;
        }
    }
    if (host_len == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "URL has no host");
    }
    int rc = copy_part(host, host_len, out->host, sizeof out->host, "host", err);
    if (rc == 0 && port != NULL) {
        rc = parse_port(port, port_len, out, err);
    }
    unsigned char address[16];
    out->host_is_ip =
        inet_pton(AF_INET, out->host, address) == 1 || inet_pton(AF_INET6, out->host, address) == 1;
    return rc;
}

int http_url_parse(const char *text, http_url *out, dstack_error *err) {
    *out = (http_url){0};
    if (!text_is_clean(text)) {
        return error_set(err, DSTACK_E_ARGUMENT, "URL holds blanks or control characters");
    }
    if (strncmp(text, "unix:", 5) == 0) {
        return parse_unix(text + 5, out, err);
    }
    if (strncmp(text, "http://", 7) == 0) {
        out->scheme = HTTP_SCHEME_HTTP;
        strcpy(out->port, "80");
        text += 7;
    } else if (strncmp(text, "https://", 8) == 0) {
        out->scheme = HTTP_SCHEME_HTTPS;
        strcpy(out->port, "443");
        text += 8;
    } else {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "URL '%.100s' is not http://, https:// or unix:", text);
    }
    if (strpbrk(text, "@?#") != NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "URL holds a user, query or fragment");
    }
    size_t authority = strcspn(text, "/");
    int rc = parse_authority(text, authority, out, err);
    if (rc != 0) {
        return rc;
    }
    size_t base_len = strlen(text + authority);
    while (base_len > 0 && text[authority + base_len - 1] == '/') {
        base_len--;
    }
    return copy_part(text + authority, base_len, out->base, sizeof out->base, "path", err);
}
