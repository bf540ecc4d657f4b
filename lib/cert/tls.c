/* TLS sessions: own certificate, parameters, and what is asked of clients. */
#include <gnutls/x509.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "cert/tls.h"

/* Nothing older than TLS 1.2, forward secrecy and AEAD alone. */
#define PRIORITIES                                                                                 \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"                  \
    "-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
#define ALPN_MAX 8

int tls_fail(dstack_error *err, const char *what, int code) {
    return error_set(err, DSTACK_E_NETWORK, "%s: %s", what, gnutls_strerror(code));
}

static gnutls_datum_t datum_of(dstack_bytes bytes) {
    return (gnutls_datum_t){(unsigned char *)bytes.data, (unsigned)bytes.len};
}

static int load(dstack_tls_identity *identity, dstack_bytes chain, const dstack_secret *key,
                dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *private_key = NULL;
    DSTACK_AUTO(secret) dstack_secret *pem = NULL;
    int rc = cert_key_load(key, &private_key, err);
    if (rc == 0) {
        rc = ecdsa_private_pem(private_key, &pem, err);
    }
    if (rc != 0) {
        return rc;
    }
    gnutls_datum_t certificates = datum_of(chain);
    gnutls_datum_t secret = datum_of(bytes_of(dstack_secret_peek(pem), dstack_secret_len(pem)));
    int code = gnutls_certificate_set_x509_key_mem2(identity->credentials, &certificates, &secret,
                                                    GNUTLS_X509_FMT_PEM, NULL, 0);
    return code < 0
               ? error_set(err, DSTACK_E_ARGUMENT, "certificate and key: %s", gnutls_strerror(code))
               : 0;
}

int dstack_tls_identity_new(dstack_bytes chain, const dstack_secret *key, dstack_tls_identity **out,
                            dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(tls_identity) dstack_tls_identity *identity = calloc(1, sizeof *identity);
    if (identity == NULL || gnutls_certificate_allocate_credentials(&identity->credentials) < 0) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a TLS identity");
    }
    int rc = load(identity, chain, key, err);
    if (rc == 0) {
        *out = identity;
        identity = NULL;
    }
    return rc;
}

void dstack_tls_identity_free(dstack_tls_identity *identity) {
    if (identity != NULL) {
        if (identity->credentials != NULL) {
            gnutls_certificate_free_credentials(identity->credentials);
        }
        free(identity);
    }
}

int tls_set_up(gnutls_session_t session, const char *const *alpn, dstack_error *err) {
    static const char *const http[] = {"http/1.1", NULL};
    gnutls_datum_t protocols[ALPN_MAX];
    unsigned count = 0;
    for (const char *const *name = alpn == NULL ? http : alpn; *name != NULL && count < ALPN_MAX;
         name++) {
        protocols[count++] = datum_of(bytes_of_str(*name));
    }
    int code = gnutls_priority_set_direct(session, PRIORITIES, NULL);
    if (code == 0) {
        code = gnutls_alpn_set_protocols(session, protocols, count, 0);
    }
    return code < 0 ? tls_fail(err, "preparing TLS", code) : 0;
}

/* ---- the peer's certificates ------------------------------------------------------------------
 */

int dstack_tls_peer_cert(struct gnutls_session_int *session, dstack_cert **out, dstack_error *err) {
    *out = NULL;
    unsigned count = 0;
    const gnutls_datum_t *certs = gnutls_certificate_type_get(session) == GNUTLS_CRT_X509
                                      ? gnutls_certificate_get_peers(session, &count)
                                      : NULL;
    if (certs == NULL || count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "the peer sent no certificate");
    }
    return dstack_cert_parse(bytes_of(certs[0].data, certs[0].size), out, err);
}

/* ---- clients, as a server sees them -----------------------------------------------------------
 */

int tls_judge_client(gnutls_session_t session, const dstack_tls_server *server,
                     dstack_error *refusal) {
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int64_t now = server->now == NULL ? clock_unix() : server->now();
    int rc = dstack_tls_peer_cert(session, &cert, refusal);
    if (rc == DSTACK_E_NOT_FOUND) {
        if (server->client_certs == DSTACK_TLS_CLIENT_REQUIRED) {
            return rc;
        }
        rc = 0;
    } else if (rc == 0 && server->client_certs == DSTACK_TLS_CLIENT_ROOT) {
        const dstack_cert_check check = {.now = now, .root = server->root};
        rc = dstack_cert_verify(NULL, cert, &check, NULL, refusal);
    } else if (rc == 0) {
        rc = dstack_cert_check_client(dstack_cert_der(cert), now, refusal);
    }
    return rc == 0 && server->verify != NULL ? server->verify(server->user, cert, refusal) : rc;
}

static int on_client_certificate(gnutls_session_t session) {
    const dstack_tls_server *server = gnutls_session_get_ptr(session);
    return tls_judge_client(session, server, NULL) == 0 ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

int dstack_tls_server_setup(struct gnutls_session_int *session, const dstack_tls_server *server,
                            const dstack_tls_identity *identity, dstack_error *err) {
    if (server->client_certs == DSTACK_TLS_CLIENT_ROOT && server->root.len == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "client certificates are to chain to no root");
    }
    int rc = tls_set_up(session, server->alpn, err);
    if (rc == 0 && identity != NULL) {
        int code = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, identity->credentials);
        rc = code < 0 ? tls_fail(err, "preparing TLS", code) : 0;
    }
    if (rc == 0 && server->client_certs != DSTACK_TLS_CLIENT_NONE) {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
        gnutls_certificate_send_x509_rdn_sequence(session, 1); /* 1: no names */
        gnutls_session_set_ptr(session, (void *)server);
        gnutls_session_set_verify_function(session, on_client_certificate);
    }
    return rc;
}

/* ---- servers, as a client sees them -----------------------------------------------------------
 */

static int check_system_roots(const gnutls_datum_t *certs, unsigned count,
                              const dstack_tls_client *client, dstack_error *err) {
    gnutls_x509_trust_list_t list = NULL;
    gnutls_x509_crt_t chain[CERT_LIST_MAX];
    unsigned loaded = 0, status = GNUTLS_CERT_INVALID;
    int code = gnutls_x509_trust_list_init(&list, 0);
    if (code == 0) {
        code = gnutls_x509_trust_list_add_system_trust(list, 0, 0);
    }
    while (code >= 0 && loaded < count && loaded < CERT_LIST_MAX) {
        code = gnutls_x509_crt_init(&chain[loaded]);
        if (code >= 0) {
            code = gnutls_x509_crt_import(chain[loaded], &certs[loaded], GNUTLS_X509_FMT_DER);
            loaded++;
        }
    }
    gnutls_typed_vdata_st host = {.type = GNUTLS_DT_DNS_HOSTNAME,
                                  .data = (unsigned char *)client->host};
    bool named = client->host != NULL && !client->skip_host_check;
    if (code >= 0) {
        code = gnutls_x509_trust_list_verify_crt2(list, chain, loaded, &host, named ? 1 : 0, 0,
                                                  &status, NULL);
    }
    for (unsigned i = 0; i < loaded; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_x509_trust_list_deinit(list, 1);
    if (code < 0) {
        return tls_fail(err, "the system's certificate store", code);
    }
    gnutls_datum_t text = {0};
    if (status != 0 &&
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0) {
        error_set(err, DSTACK_E_REFUSED, "%s", (const char *)text.data);
        gnutls_free(text.data);
    } else if (status != 0) {
        error_set(err, DSTACK_E_REFUSED, "the server's certificate is not trusted");
    }
    return status == 0 ? 0 : DSTACK_E_REFUSED;
}

static int put_intermediates(const gnutls_datum_t *certs, unsigned count, dstack_buf *pem,
                             dstack_error *err) {
    int rc = 0;
    for (unsigned i = 1; rc == 0 && i < count && i < CERT_LIST_MAX; i++) {
        gnutls_datum_t text = {0};
        int code = gnutls_pem_base64_encode2("CERTIFICATE", &certs[i], &text);
        if (code < 0) {
            rc = tls_fail(err, "certificate chain", code);
        } else {
            buf_put(pem, text.data, text.size);
            gnutls_free(text.data);
        }
    }
    return rc == 0 ? buf_check(pem, err) : rc;
}

static int check_root(const gnutls_datum_t *certs, unsigned count, const dstack_cert *cert,
                      const dstack_tls_client *client, int64_t now, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf intermediates = {0};
    int rc = put_intermediates(certs, count, &intermediates, err);
    const dstack_cert_check check = {
        .now = now,
        .root = client->root,
        .intermediates = bytes_of_buf(&intermediates),
        .host = client->skip_host_check ? NULL : client->host,
        .usage = client->usage,
    };
    return rc == 0 ? dstack_cert_verify(NULL, cert, &check, NULL, err) : rc;
}

int tls_judge_server(gnutls_session_t session, const dstack_tls_client *client,
                     dstack_error *refusal) {
    if (client->insecure) {
        return 0;
    }
    unsigned count = 0;
    const gnutls_datum_t *certs = gnutls_certificate_get_peers(session, &count);
    int64_t now = client->now == 0 ? clock_unix() : client->now;
    if (certs == NULL || count == 0) {
        return error_set(refusal, DSTACK_E_REFUSED, "the server sent no certificate");
    }
    int rc = client->system_roots ? check_system_roots(certs, count, client, refusal) : 0;
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    if (rc == 0 && (client->root.len > 0 || client->verify != NULL)) {
        rc = dstack_tls_peer_cert(session, &cert, refusal);
    }
    if (rc == 0 && client->root.len > 0) {
        rc = check_root(certs, count, cert, client, now, refusal);
    }
    return rc == 0 && client->verify != NULL ? client->verify(client->user, cert, refusal) : rc;
}
