/**
 * @file tls.h
 * @brief TLS that demands and gives evidence: GnuTLS sessions for servers and clients.
 *
 * The peer's certificate is judged inside the handshake, before a byte of a request is sent. TLS 1.2
 * and 1.3, ECDHE with AEAD ciphers. The type `struct gnutls_session_int *` is gnutls_session_t.
 */
#ifndef DSTACK_TLS_H
#define DSTACK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <dstack/bytes.h>
#include <dstack/cert.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gnutls_session_int;

/** A certificate chain and its private key, loaded once, shared by many sessions and threads. */
typedef struct dstack_tls_identity dstack_tls_identity;

/** `chain`: PEM, leaf first. DSTACK_E_ARGUMENT when the key is not the leaf's. */
DSTACK_API int dstack_tls_identity_new(dstack_bytes chain, const dstack_secret *key,
                                       dstack_tls_identity **out, dstack_error *err);
/** Accepts NULL. Sessions made from it must be closed before. */
DSTACK_API void dstack_tls_identity_free(dstack_tls_identity *identity);

/**
 * Judges the peer's leaf certificate within the handshake; a non-zero return ends the handshake.
 * `cert` is NULL when a client sent none. Runs in the thread that drives the handshake.
 */
typedef int (*dstack_tls_verify)(void *user, const dstack_cert *cert, dstack_error *err);

/* ---- server ----------------------------------------------------------------------------------- */

typedef enum dstack_tls_client_certs {
    DSTACK_TLS_CLIENT_NONE,     /**< Not asked for. */
    DSTACK_TLS_CLIENT_ATTESTED, /**< Asked for, optional, no CA names sent; one that comes must be
                                     within its validity and carry a decodable attestation. */
    DSTACK_TLS_CLIENT_REQUIRED, /**< The same, and it must come. */
    DSTACK_TLS_CLIENT_ROOT,     /**< Asked for, optional; one that comes must chain to `root`. */
} dstack_tls_client_certs;

typedef struct dstack_tls_server {
    dstack_tls_client_certs client_certs;
    dstack_bytes root;        /**< For DSTACK_TLS_CLIENT_ROOT: PEM; must outlive the sessions. */
    dstack_tls_verify verify; /**< Further judgement, or NULL. */
    void *user;
    const char *const *alpn; /**< Offered protocols, NULL-terminated; NULL: "http/1.1". */
    int64_t (*now)(void);    /**< Clock; NULL: the system's. */
} dstack_tls_server;

/**
 * Prepares a fresh server session: priorities, ALPN, request for and judgement of client
 * certificates. The session's user pointer is taken for `server`, which must outlive it. Usable for
 * sessions that another library created (call it from that library's certificate callback, before
 * the certificate request is written): then `identity` is NULL and the credentials are left alone.
 */
DSTACK_API int dstack_tls_server_setup(struct gnutls_session_int *session,
                                       const dstack_tls_server *server,
                                       const dstack_tls_identity *identity, dstack_error *err);

/** The peer's leaf certificate after the handshake. DSTACK_E_NOT_FOUND when it sent none. The caller
 * frees it. */
DSTACK_API int dstack_tls_peer_cert(struct gnutls_session_int *session, dstack_cert **out,
                                    dstack_error *err);

/* ---- connections ------------------------------------------------------------------------------ */

typedef struct dstack_tls_client {
    const char *host;     /**< Server name sent and checked against the certificate. */
    bool skip_host_check; /**< Evidence alone decides who the server is. */
    dstack_bytes root;    /**< PEM of the only accepted root; empty: no chain is checked, and
                                `verify` must be given or `insecure` set. */
    bool system_roots;    /**< Chain to the system's trust store instead. */
    bool insecure;        /**< Accept any server: only for fetching what is verified otherwise. */
    const char *usage;    /**< Required usage extension (needs a root), or NULL. */
    const dstack_tls_identity *identity; /**< Client certificate, or NULL. */
    dstack_tls_verify verify;            /**< Further judgement, or NULL. */
    void *user;
    const char *const *alpn; /**< NULL-terminated; NULL: "http/1.1". */
    int64_t now;             /**< UNIX seconds; 0: the system's clock. */
} dstack_tls_client;

/** A TLS connection over a connected stream socket. One thread at a time. */
typedef struct dstack_tls dstack_tls;

/**
 * Handshake as a client on a connected socket, within `timeout_ms`. The connection owns `fd` from
 * here on, also on failure. DSTACK_E_TIMEOUT, DSTACK_E_NETWORK, DSTACK_E_REFUSED with the reason for
 * which the server was refused.
 */
DSTACK_API int dstack_tls_connect(int fd, const dstack_tls_client *client, int timeout_ms,
                                  dstack_tls **out, dstack_error *err);
/** Handshake as a server on an accepted socket. As above. */
DSTACK_API int dstack_tls_accept(int fd, const dstack_tls_server *server,
                                 const dstack_tls_identity *identity, int timeout_ms,
                                 dstack_tls **out, dstack_error *err);
/** Closes and frees. Accepts NULL. */
DSTACK_API void dstack_tls_free(dstack_tls *tls);
/** At least one byte, or 0 at an orderly end, or a status. */
DSTACK_API ssize_t dstack_tls_read(dstack_tls *tls, void *buf, size_t len, int timeout_ms,
                                   dstack_error *err);
/** Writes everything. */
DSTACK_API int dstack_tls_write(dstack_tls *tls, dstack_bytes data, int timeout_ms,
                                dstack_error *err);
/** The session beneath. Borrowed. */
DSTACK_API struct gnutls_session_int *dstack_tls_session(dstack_tls *tls);

/** 32 bytes bound to this very connection (RFC 9266 "EXPORTER-Channel-Binding"): evidence over them
 * cannot be carried to another connection. TLS 1.3 only, DSTACK_E_UNSUPPORTED otherwise. */
DSTACK_API int dstack_tls_channel_binding(struct gnutls_session_int *session, uint8_t out[32],
                                          dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
