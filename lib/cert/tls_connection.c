/* A TLS connection over a socket, every wait with a deadline. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cert/tls.h"

#define BINDING_SIZE 32

/* Waits until GnuTLS can go on. */
static int wait_fd(const dstack_tls *tls, int64_t deadline, dstack_error *err) {
    short events = gnutls_record_get_direction(tls->session) == 0 ? POLLIN : POLLOUT;
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0) {
            return error_set(err, DSTACK_E_TIMEOUT, "the peer did not answer in time");
        }
        struct pollfd waiting = {.fd = tls->fd, .events = events};
        int n = poll(&waiting, 1, left > 1000000 ? 1000000 : (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "waiting for the peer");
        }
    }
}

static bool may_go_on(int code) {
    return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED ||
           (code < 0 && gnutls_error_is_fatal(code) == 0);
}

static int handshake(dstack_tls *tls, int timeout_ms, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    int code, rc = 0;
    while (rc == 0 && (code = gnutls_handshake(tls->session)) != 0) {
        if (!may_go_on(code)) {
            rc = tls->refusal.status != DSTACK_OK
                     ? error_set(err, tls->refusal.status, "%s", tls->refusal.message)
                     : tls_fail(err, "TLS handshake", code);
        } else if (code == GNUTLS_E_AGAIN) {
            rc = wait_fd(tls, deadline, err);
        }
    }
    tls->established = rc == 0;
    return rc;
}

static dstack_tls *new_connection(int fd, unsigned flags, dstack_error *err) {
    dstack_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        close(fd);
        error_set(err, DSTACK_E_MEMORY, "no memory for a TLS connection");
        return NULL;
    }
    tls->fd = fd;
    int status = fcntl(fd, F_GETFL);
    if (status < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0) {
        error_set_errno(err, DSTACK_E_ARGUMENT, "the connection's socket");
    } else if (gnutls_init(&tls->session,
                           flags | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL) < 0) {
        tls->session = NULL;
        error_set(err, DSTACK_E_MEMORY, "no memory for a TLS session");
    } else {
        gnutls_transport_set_int(tls->session, fd);
        return tls;
    }
    dstack_tls_free(tls);
    return NULL;
}

void dstack_tls_free(dstack_tls *tls) {
    if (tls == NULL) {
        return;
    }
    if (tls->session != NULL) {
        if (tls->established) {
            gnutls_bye(tls->session, GNUTLS_SHUT_WR);
        }
        gnutls_deinit(tls->session);
    }
    if (tls->own_credentials != NULL) {
        gnutls_certificate_free_credentials(tls->own_credentials);
    }
    close(tls->fd);
    free(tls);
}

static int on_peer_certificate(gnutls_session_t session) {
    dstack_tls *tls = gnutls_session_get_ptr(session);
    int rc = tls->client != NULL ? tls_judge_server(session, tls->client, &tls->refusal)
                                 : tls_judge_client(session, tls->server, &tls->refusal);
    if (rc != 0 && tls->refusal.status == DSTACK_OK) {
        error_set(&tls->refusal, DSTACK_E_REFUSED, "the peer was refused");
    }
    return rc == 0 ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

static int set_up_client(dstack_tls *tls, const dstack_tls_client *client, dstack_error *err) {
    int rc = tls_set_up(tls->session, client->alpn, err);
    int code = 0;
    if (rc == 0 && client->identity == NULL) {
        code = gnutls_certificate_allocate_credentials(&tls->own_credentials);
    }
    if (rc == 0 && code == 0) {
        code = gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE,
                                      client->identity == NULL ? tls->own_credentials
                                                               : client->identity->credentials);
    }
    if (rc == 0 && code == 0 && client->host != NULL) {
        code = gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, client->host,
                                      strlen(client->host));
    }
    if (rc == 0 && code < 0) {
        rc = tls_fail(err, "preparing TLS", code);
    }
    gnutls_session_set_ptr(tls->session, tls);
    gnutls_session_set_verify_function(tls->session, on_peer_certificate);
    return rc;
}

static int check_client(const dstack_tls_client *client, dstack_error *err) {
    bool judged = client->root.len > 0 || client->system_roots || client->verify != NULL;
    if (judged == client->insecure) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a server is judged by roots or a callback, or accepted as insecure");
    }
    if (client->usage != NULL && client->root.len == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "usage is the issuer's word and needs a root");
    }
    return 0;
}

int dstack_tls_connect(int fd, const dstack_tls_client *client, int timeout_ms, dstack_tls **out,
                       dstack_error *err) {
    *out = NULL;
    dstack_error own = {0};
    DSTACK_AUTO(tls) dstack_tls *tls = new_connection(fd, GNUTLS_CLIENT, &own);
    int rc =
        tls == NULL ? error_set(err, own.status, "%s", own.message) : check_client(client, err);
    if (rc == 0) {
        tls->client = client;
        rc = set_up_client(tls, client, err);
    }
    if (rc == 0) {
        rc = handshake(tls, timeout_ms, err);
    }
    if (rc == 0) {
        tls->client = NULL;
        gnutls_session_set_verify_function(tls->session, NULL);
        *out = tls;
        tls = NULL;
    }
    return rc;
}

int dstack_tls_accept(int fd, const dstack_tls_server *server, const dstack_tls_identity *identity,
                      int timeout_ms, dstack_tls **out, dstack_error *err) {
    *out = NULL;
    dstack_error own = {0};
    DSTACK_AUTO(tls) dstack_tls *tls = new_connection(fd, GNUTLS_SERVER, &own);
    int rc = tls == NULL ? error_set(err, own.status, "%s", own.message) : 0;
    if (rc == 0 && identity == NULL) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "a server needs a certificate");
    }
    if (rc == 0) {
        tls->server = server;
        rc = dstack_tls_server_setup(tls->session, server, identity, err);
    }
    if (rc == 0 && server->client_certs != DSTACK_TLS_CLIENT_NONE) {
        gnutls_session_set_ptr(tls->session, tls); /* so that the refusal is kept */
        gnutls_session_set_verify_function(tls->session, on_peer_certificate);
    }
    if (rc == 0) {
        rc = handshake(tls, timeout_ms, err);
    }
    if (rc == 0) {
        *out = tls;
        tls = NULL;
    }
    return rc;
}

ssize_t dstack_tls_read(dstack_tls *tls, void *buf, size_t len, int timeout_ms, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        ssize_t n = gnutls_record_recv(tls->session, buf, len);
        if (n >= 0) {
            return n;
        }
        if (!may_go_on((int)n) || n == GNUTLS_E_REHANDSHAKE) {
            return tls_fail(err, "reading from the peer", (int)n);
        }
        int rc = n == GNUTLS_E_AGAIN ? wait_fd(tls, deadline, err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
}

int dstack_tls_write(dstack_tls *tls, dstack_bytes data, int timeout_ms, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    int rc = 0;
    while (rc == 0 && data.len > 0) {
        ssize_t n = gnutls_record_send(tls->session, data.data, data.len);
        if (n >= 0) {
            data = bytes_of(data.data + n, data.len - (size_t)n);
        } else if (!may_go_on((int)n)) {
            rc = tls_fail(err, "writing to the peer", (int)n);
        } else if (n == GNUTLS_E_AGAIN) {
            rc = wait_fd(tls, deadline, err);
        }
    }
    return rc;
}

struct gnutls_session_int *dstack_tls_session(dstack_tls *tls) {
    return tls->session;
}

int dstack_tls_channel_binding(struct gnutls_session_int *session, uint8_t out[32],
                               dstack_error *err) {
    gnutls_datum_t binding = {0};
    if (gnutls_protocol_get_version(session) != GNUTLS_TLS1_3) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "channel binding needs TLS 1.3");
    }
    int code = gnutls_session_channel_binding(session, GNUTLS_CB_TLS_EXPORTER, &binding);
    if (code < 0) {
        return tls_fail(err, "channel binding", code);
    }
    bool fits = binding.size == BINDING_SIZE;
    if (fits) {
        memcpy(out, binding.data, BINDING_SIZE);
    }
    gnutls_free(binding.data);
    return fits ? 0 : error_set(err, DSTACK_E_INTERNAL, "channel binding of another size");
}
