/* What the files about TLS sessions share. */
#ifndef CERT_TLS_H
#define CERT_TLS_H

#include <gnutls/gnutls.h>

#include <dstack/tls.h>

#include "cert/cert.h"

struct dstack_tls_identity {
    gnutls_certificate_credentials_t credentials;
};

DSTACK_AUTO_DEFINE(tls_identity, dstack_tls_identity, dstack_tls_identity_free)

struct dstack_tls {
    gnutls_session_t session;
    gnutls_certificate_credentials_t own_credentials; /* of a client without a certificate */
    int fd;
    bool established;                /* the handshake is over: closing says so to the peer */
    const dstack_tls_client *client; /* one of the two, for the time of the handshake */
    const dstack_tls_server *server;
    dstack_error refusal; /* why the peer was refused within the handshake */
};

DSTACK_AUTO_DEFINE(tls, dstack_tls, dstack_tls_free)

/* DSTACK_E_NETWORK with GnuTLS's words. */
int tls_fail(dstack_error *err, const char *what, int code);
/* Versions, ciphers and protocols of a fresh session. */
int tls_set_up(gnutls_session_t session, const char *const *alpn, dstack_error *err);
/* Judges the client within the handshake. */
int tls_judge_client(gnutls_session_t session, const dstack_tls_server *server,
                     dstack_error *refusal);
/* Judges the server within the handshake. 0, or non-zero with the refusal set. */
int tls_judge_server(gnutls_session_t session, const dstack_tls_client *client,
                     dstack_error *refusal);

#endif
