/* Server side TLS: a certificate that can be replaced while running, and client certificates that
 * are asked for without naming any authority, because what they prove is in their evidence. */
#include <gnutls/abstract.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/http_internal.h"
#include "service/log.h"

#define CHAIN_MAX 8

/* Counted by its tls object and by each connection whose handshake took it. */
struct http_credential {
    unsigned references;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned count;
    gnutls_privkey_t key;
};

struct http_tls {
    http_credential *current;
    bool request_client_cert;
    http_client_cert_check *check;
    void *user;
};

/* One lock for all: it is held for a few instructions per handshake. */
static pthread_mutex_t credential_lock = PTHREAD_MUTEX_INITIALIZER;

const char *http_tls_priorities(void) {
    return "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";
}

static void credential_free(http_credential *credential) {
    for (unsigned i = 0; i < credential->count; i++) {
        gnutls_pcert_deinit(&credential->chain[i]);
    }
    if (credential->key != NULL) {
        gnutls_privkey_deinit(credential->key);
    }
    free(credential);
}

void http_credential_release(http_credential *credential) {
    if (credential == NULL) {
        return;
    }
    pthread_mutex_lock(&credential_lock);
    bool last = --credential->references == 0;
    pthread_mutex_unlock(&credential_lock);
    if (last) {
        credential_free(credential);
    }
}

static gnutls_datum_t datum_of(dstack_bytes bytes) {
    return (gnutls_datum_t){(unsigned char *)bytes.data, (unsigned)bytes.len};
}

static int load_chain(http_credential *credential, dstack_bytes pem) {
    gnutls_datum_t text = datum_of(pem);
    unsigned count = CHAIN_MAX;
    int code =
        gnutls_pcert_list_import_x509_raw(credential->chain, &count, &text, GNUTLS_X509_FMT_PEM, 0);
    credential->count = code < 0 ? 0 : count;
    return code;
}

static int load_key(http_credential *credential, dstack_bytes pem) {
    gnutls_datum_t text = datum_of(pem);
    int code = gnutls_privkey_init(&credential->key);
    return code < 0 ? code
                    : gnutls_privkey_import_x509_raw(credential->key, &text, GNUTLS_X509_FMT_PEM,
                                                     NULL, 0);
}

/* A leaf whose key is another one would only show as failing handshakes. */
static bool key_fits(const http_credential *credential) {
    gnutls_pubkey_t own = NULL;
    unsigned char ids[2][64];
    size_t sizes[2] = {sizeof ids[0], sizeof ids[1]};
    bool fits = credential->count > 0 && gnutls_pubkey_init(&own) == 0 &&
                gnutls_pubkey_import_privkey(own, credential->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(own, GNUTLS_KEYID_USE_SHA256, ids[0], &sizes[0]) == 0 &&
                gnutls_pubkey_get_key_id(credential->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256,
                                         ids[1], &sizes[1]) == 0 &&
                sizes[0] == sizes[1] && memcmp(ids[0], ids[1], sizes[0]) == 0;
    if (own != NULL) {
        gnutls_pubkey_deinit(own);
    }
    return fits;
}

static http_credential *credential_new(dstack_bytes certificate, dstack_bytes key,
                                       dstack_error *err) {
    http_credential *credential = calloc(1, sizeof *credential);
    if (credential == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    credential->references = 1;
    int code = load_chain(credential, certificate);
    if (code < 0) {
        error_set(err, DSTACK_E_FORMAT, "server certificate: %s", gnutls_strerror(code));
    } else if ((code = load_key(credential, key)) < 0) {
        error_set(err, DSTACK_E_FORMAT, "server key: %s", gnutls_strerror(code));
    } else if (!key_fits(credential)) {
        error_set(err, DSTACK_E_CRYPTO, "server certificate is not for the key given");
    } else {
        return credential;
    }
    credential_free(credential);
    return NULL;
}

http_tls *http_tls_new(const http_tls_config *config, dstack_error *err) {
    http_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    tls->request_client_cert = config->request_client_cert;
    tls->check = config->check;
    tls->user = config->user;
    tls->current = credential_new(config->certificate_pem, config->key_pem, err);
    if (tls->current == NULL) {
        free(tls);
        return NULL;
    }
    return tls;
}

int http_tls_replace(http_tls *tls, dstack_bytes certificate_pem, dstack_bytes key_pem,
                     dstack_error *err) {
    dstack_error own = {0};
    http_credential *fresh = credential_new(certificate_pem, key_pem, &own);
    if (fresh == NULL) {
        return error_set(err, own.status, "%s", own.message);
    }
    pthread_mutex_lock(&credential_lock);
    http_credential *old = tls->current;
    tls->current = fresh;
    pthread_mutex_unlock(&credential_lock);
    http_credential_release(old);
    return 0;
}

void http_tls_free(http_tls *tls) {
    if (tls != NULL) {
        http_credential_release(tls->current);
        free(tls);
    }
}

/* ---- in the handshake -------------------------------------------------------------------------
 */

int http_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                      gnutls_pcert_st **certs, unsigned *count, gnutls_ocsp_data_st **ocsp,
                      unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags) {
    (void)info;
    http_connection *connection = gnutls_session_get_ptr(session);
    http_tls *tls = connection->listener->config.tls;
    pthread_mutex_lock(&credential_lock);
    http_credential *credential = connection->credential;
    if (credential == NULL) {
        credential = tls->current;
        credential->references++;
        connection->credential = credential;
    }
    pthread_mutex_unlock(&credential_lock);
    *certs = credential->chain;
    *count = credential->count;
    *key = credential->key;
    *ocsp = NULL;
    *ocsp_count = 0;
    *flags = 0;
    return 0;
}

static int on_client_cert(gnutls_session_t session) {
    http_connection *connection = gnutls_session_get_ptr(session);
    http_tls *tls = connection->listener->config.tls;
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    if (list == NULL || count == 0 || tls->check == NULL) {
        return 0;
    }
    dstack_error err = {0};
    if (tls->check(bytes_of(list[0].data, list[0].size), clock_unix(), tls->user, &err) == 0) {
        return 0;
    }
    LOG_WARN("client certificate refused", "listener", connection->listener->name, "peer",
             connection->peer.address, "reason", err.message);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

void http_tls_setup_session(http_tls *tls, gnutls_session_t session, http_connection *connection) {
    gnutls_session_set_ptr(session, connection);
    if (tls->request_client_cert) {
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
        gnutls_certificate_send_x509_rdn_sequence(session, 1);
        gnutls_session_set_verify_function(session, on_client_cert);
    }
}
