#include "client/http_transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"

#define READ_SIZE 16384
#define CHAIN_MAX 8

/* ---- sockets ----------------------------------------------------------------------------------
 */

static int wait_fd(const http_transport *t, short events, dstack_error *err) {
    for (;;) {
        int64_t left = t->deadline - clock_monotonic_ms();
        if (left <= 0) {
            return error_set(err, DSTACK_E_TIMEOUT, "no answer in time");
        }
        struct pollfd p = {.fd = t->fd, .events = events};
        int n = poll(&p, 1, left > 1000000 ? 1000000 : (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "poll");
        }
    }
}

static int connect_to(http_transport *t, const struct sockaddr *address, socklen_t len,
                      const char *name, dstack_error *err) {
    t->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "socket");
    }
    if (connect(t->fd, address, len) != 0) {
        if (errno != EINPROGRESS && errno != EAGAIN) {
            return error_set_errno(err, DSTACK_E_NETWORK, "connecting to %s", name);
        }
        int rc = wait_fd(t, POLLOUT, err);
        if (rc != 0) {
            return error_prefix(err, rc, "connecting to %s", name);
        }
        int failure = 0;
        socklen_t size = sizeof failure;
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &failure, &size);
        if (failure != 0) {
            errno = failure;
            return error_set_errno(err, DSTACK_E_NETWORK, "connecting to %s", name);
        }
    }
    int on = 1;
    if (address->sa_family != AF_UNIX) {
        setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return 0;
}

static int connect_unix(http_transport *t, const char *path, dstack_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strnlen(path, sizeof address.sun_path - 1));
    return connect_to(t, (struct sockaddr *)&address, sizeof address, path, err);
}

static int connect_tcp(http_transport *t, const char *host, const char *port, int flags,
                       dstack_error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    if (flags != 0) {
        hints.ai_flags = flags;
    }
    int failure = getaddrinfo(host, port, &hints, &list);
    if (failure != 0) {
        return error_set(err, DSTACK_E_NETWORK, "resolving %s: %s", host, gai_strerror(failure));
    }
    int rc = DSTACK_E_NETWORK;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        char name[320];
        snprintf(name, sizeof name, "%s:%s", host, port);
        rc = connect_to(t, a->ai_addr, a->ai_addrlen, name, err);
        if (rc == 0 || rc == DSTACK_E_TIMEOUT) {
            break;
        }
        http_transport_close(t);
    }
    freeaddrinfo(list);
    return rc;
}

static int connect_url(http_transport *t, const http_url *url, const char *connect_address,
                       dstack_error *err) {
    if (url->scheme == HTTP_SCHEME_UNIX) {
        return connect_unix(t, url->host, err);
    }
    if (connect_address == NULL) {
        return connect_tcp(t, url->host, url->port, url->host_is_ip ? AI_NUMERICHOST : 0, err);
    }
    http_url at;
    char text[300];
    snprintf(text, sizeof text, "http://%s", connect_address);
    int rc = http_url_parse(text, &at, err);
    return rc != 0 ? rc : connect_tcp(t, at.host, at.port, AI_NUMERICHOST, err);
}

/* ---- TLS --------------------------------------------------------------------------------------
 */

static int tls_error(dstack_error *err, const char *what, int code) {
    return error_set(err, DSTACK_E_NETWORK, "%s: %s", what, gnutls_strerror(code));
}

static gnutls_datum_t datum_of(dstack_bytes bytes) {
    return (gnutls_datum_t){(unsigned char *)bytes.data, (unsigned)bytes.len};
}

int http_tls_client_init(http_tls_client *tls, const http_client_config *config,
                         const http_url *url, dstack_error *err) {
    *tls = (http_tls_client){.trust = config->trust,
                             .verify = config->verify,
                             .user = config->user,
                             .host = url->host,
                             .host_is_ip = url->host_is_ip};
    int code = gnutls_certificate_allocate_credentials(&tls->credentials);
    if (code < 0) {
        return error_set(err, DSTACK_E_MEMORY, "%s", gnutls_strerror(code));
    }
    if (config->trust == HTTP_CLIENT_TRUST_SYSTEM) {
        code = gnutls_certificate_set_x509_system_trust(tls->credentials);
        if (code < 0) {
            return error_set(err, DSTACK_E_IO, "loading the machine's certificate store: %s",
                             gnutls_strerror(code));
        }
    } else if (config->trust == HTTP_CLIENT_TRUST_CA) {
        gnutls_datum_t ca = datum_of(config->ca_pem);
        code = gnutls_certificate_set_x509_trust_mem(tls->credentials, &ca, GNUTLS_X509_FMT_PEM);
        if (code <= 0) {
            return error_set(err, DSTACK_E_ARGUMENT, "no CA certificate in the PEM given");
        }
    }
    if (config->certificate_pem.len > 0) {
        gnutls_datum_t certificate = datum_of(config->certificate_pem);
        gnutls_datum_t key = datum_of(config->key_pem);
        code = gnutls_certificate_set_x509_key_mem(tls->credentials, &certificate, &key,
                                                   GNUTLS_X509_FMT_PEM);
        if (code < 0) {
            return error_set(err, DSTACK_E_ARGUMENT, "client certificate and key: %s",
                             gnutls_strerror(code));
        }
    }
    return 0;
}

void http_tls_client_clear(http_tls_client *tls) {
    if (tls->credentials != NULL) {
        gnutls_certificate_free_credentials(tls->credentials);
    }
    *tls = (http_tls_client){0};
}

static int verify_chain(http_tls_client *tls, gnutls_session_t session) {
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    if (list == NULL || count == 0 || count > CHAIN_MAX) {
        return error_set(&tls->refusal, DSTACK_E_CRYPTO, "server shows %u certificates", count);
    }
    if (tls->trust != HTTP_CLIENT_TRUST_NONE) {
        unsigned status = 0;
        int code = gnutls_certificate_verify_peers3(session, tls->host, &status);
        if (code < 0) {
            return error_set(&tls->refusal, DSTACK_E_CRYPTO, "server certificate: %s",
                             gnutls_strerror(code));
        }
        if (status != 0) {
            gnutls_datum_t text = {0};
            gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
            error_set(&tls->refusal, DSTACK_E_CRYPTO, "server certificate for %s: %s", tls->host,
                      text.data != NULL ? (const char *)text.data : "not trusted");
            gnutls_free(text.data);
            return DSTACK_E_CRYPTO;
        }
    }
    if (tls->verify == NULL) {
        return 0;
    }
    dstack_bytes chain[CHAIN_MAX];
    for (unsigned i = 0; i < count; i++) {
        chain[i] = bytes_of(list[i].data, list[i].size);
    }
    return tls->verify(chain, count, tls->user, &tls->refusal);
}

static int on_verify(gnutls_session_t session) {
    http_tls_client *tls = gnutls_session_get_ptr(session);
    int rc = verify_chain(tls, session);
    if (rc != 0 && tls->refusal.status == 0) {
        error_set(&tls->refusal, (dstack_status)rc, "server certificate refused");
    }
    return rc == 0 ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

static int session_setup(http_transport *t, http_tls_client *tls) {
    static const gnutls_datum_t alpn = {(unsigned char *)"http/1.1", 8};
    int code = gnutls_init(&t->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                                            GNUTLS_FORCE_CLIENT_CERT);
    if (code < 0) {
        t->session = NULL;
        return code;
    }
    gnutls_session_set_ptr(t->session, tls);
    gnutls_transport_set_int(t->session, t->fd);
    gnutls_handshake_set_timeout(t->session, GNUTLS_INDEFINITE_TIMEOUT); /* deadline is ours */
    gnutls_session_set_verify_function(t->session, on_verify);
    code = gnutls_set_default_priority_append(t->session, "-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
                                              NULL, 0);
    code = code < 0 ? code : gnutls_alpn_set_protocols(t->session, &alpn, 1, 0);
    code = code < 0 ? code
                    : gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, tls->credentials);
    if (code >= 0 && !tls->host_is_ip) {
        code = gnutls_server_name_set(t->session, GNUTLS_NAME_DNS, tls->host, strlen(tls->host));
    }
    return code;
}

static short wanted(gnutls_session_t session) {
    return gnutls_record_get_direction(session) == 1 ? POLLOUT : POLLIN;
}

static int handshake(http_transport *t, http_tls_client *tls, dstack_error *err) {
    tls->refusal = (dstack_error){0};
    int code = session_setup(t, tls);
    if (code < 0) {
        return tls_error(err, "TLS set-up", code);
    }
    while ((code = gnutls_handshake(t->session)) < 0) {
        if (tls->refusal.status != 0) {
            return error_set(err, tls->refusal.status, "%s", tls->refusal.message);
        }
        if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) {
            return error_set(err, DSTACK_E_NETWORK, "TLS handshake refused by the server: %s",
                             gnutls_alert_get_name(gnutls_alert_get(t->session)));
        }
        if (gnutls_error_is_fatal(code)) {
            return tls_error(err, "TLS handshake", code);
        }
        int rc = wait_fd(t, wanted(t->session), err);
        if (rc != 0) {
            return error_prefix(err, rc, "TLS handshake");
        }
    }
    return 0;
}

/* ---- both -------------------------------------------------------------------------------------
 */

int http_transport_open(http_transport *t, const http_url *url, const char *connect_address,
                        http_tls_client *tls, int connect_ms, dstack_error *err) {
    *t = HTTP_TRANSPORT_CLOSED;
    t->deadline = clock_monotonic_ms() + connect_ms;
    int rc = connect_url(t, url, connect_address, err);
    if (rc == 0 && tls != NULL) {
        rc = handshake(t, tls, err);
    }
    if (rc != 0) {
        http_transport_close(t);
    }
    return rc;
}

/* A read or write that a TLS alert ended says which: a server that refuses our certificate under
 * TLS 1.3 does so after our side of the handshake was done. */
static int record_error(http_transport *t, const char *what, int code, dstack_error *err) {
    if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        return error_set(err, DSTACK_E_NETWORK, "TLS connection refused by the server: %s",
                         gnutls_alert_get_name(gnutls_alert_get(t->session)));
    }
    return tls_error(err, what, code);
}

int http_transport_write(http_transport *t, dstack_bytes data, dstack_error *err) {
    size_t done = 0;
    while (done < data.len) {
        ssize_t n;
        short events = POLLOUT;
        if (t->session != NULL) {
            n = gnutls_record_send(t->session, data.data + done, data.len - done);
            if (n < 0 && n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED) {
                return record_error(t, "sending", (int)n, err);
            }
            events = wanted(t->session);
        } else {
            n = send(t->fd, data.data + done, data.len - done, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                return error_set_errno(err, DSTACK_E_NETWORK, "sending");
            }
        }
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        int rc = wait_fd(t, events, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int http_transport_more(void *user, dstack_buf *buf, bool *eof, dstack_error *err) {
    http_transport *t = user;
    buf_reserve(buf, READ_SIZE);
    int rc = buf_check(buf, err);
    while (rc == 0) {
        ssize_t n;
        if (t->session != NULL) {
            n = gnutls_record_recv(t->session, buf->data + buf->len, READ_SIZE);
            if (n == GNUTLS_E_PREMATURE_TERMINATION) {
                return error_set(err, DSTACK_E_NETWORK, "connection was cut off");
            }
            if (n < 0 && gnutls_error_is_fatal((int)n)) {
                return record_error(t, "receiving", (int)n, err);
            }
        } else {
            n = recv(t->fd, buf->data + buf->len, READ_SIZE, 0);
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                return error_set_errno(err, DSTACK_E_NETWORK, "receiving");
            }
        }
        if (n >= 0) {
            buf->len += (size_t)n;
            *eof = n == 0;
            return 0;
        }
        rc = wait_fd(t, t->session != NULL ? wanted(t->session) : POLLIN, err);
    }
    return rc;
}

void http_transport_close(http_transport *t) {
    if (t->session != NULL) {
        gnutls_bye(t->session, GNUTLS_SHUT_WR);
        gnutls_deinit(t->session);
    }
    if (t->fd >= 0) {
        close(t->fd);
    }
    *t = HTTP_TRANSPORT_CLOSED;
}
