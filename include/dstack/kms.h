/**
 * @file kms.h
 * @brief Client of a dstack KMS: keys for an attested app, certificates, the key for environments.
 *
 * The server is judged inside each TLS handshake, before a byte of a request is sent: its
 * certificate must chain to the KMS root, carry the usage "kms:rpc" and, where a verifier is given,
 * evidence bound to its key. The root itself is pinned by the caller, or fetched on first contact
 * from a server that proves itself by evidence alone.
 *
 * One client serves one thread at a time. Every call blocks, at most for the time-outs given.
 */
#ifndef DSTACK_KMS_H
#define DSTACK_KMS_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/attestation.h>
#include <dstack/bytes.h>
#include <dstack/cert.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dstack_verifier;

/** What the evidence for one connection is bound with, and how a KMS asks for it. The report data is
 * dstack_report_data() of this tag over the connection's exporter (dstack_tls_channel_binding()). */
#define DSTACK_KMS_CHANNEL_TAG "kms-app-connection"
#define DSTACK_KMS_NEEDS_CHANNEL "evidence for this connection is required"

/** A client of one KMS. */
typedef struct dstack_kms dstack_kms;

/** Makes evidence of this very environment over 64 bytes; the caller of it frees the result. */
typedef int (*dstack_kms_attest)(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                                 dstack_attestation **out, dstack_error *err);

/** All strings and bytes are copied; the callbacks' `user` and the verifier must outlive the client. */
typedef struct dstack_kms_options {
    const char *url; /**< "https://host:port"; "/prpc" is added unless it ends so. */
    dstack_bytes
        root_ca; /**< PEM of the KMS root CA; empty: taken from the server at first contact,
                               where its evidence is then required. */
    struct dstack_verifier *verifier; /**< Judges the server's evidence; NULL: it is not judged, and
                                           `root_ca` must be given. */
    const dstack_attestation_options *attestation; /**< How to judge it, or NULL for the defaults;
                                                        borrowed. `now` and `report_data` are set by
                                                        the client. */
    bool require_attestation;                      /**< A server without evidence is refused. */
    dstack_kms_attest attest; /**< For dstack_kms_app_keys(); may be NULL otherwise. */
    void *user;
    int connect_timeout_ms; /**< 0: 5000. */
    int total_timeout_ms;   /**< Of one request; 0: 60000. */
    const char
        *connect_address; /**< "ip:port" to connect to instead of resolving the URL's host. */
} dstack_kms_options;

/** Checks the options; no connection is made yet. DSTACK_E_ARGUMENT. */
DSTACK_API int dstack_kms_new(const dstack_kms_options *options, dstack_kms **out,
                              dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_kms_free(dstack_kms *kms);

/** The URL that requests go to, ending in /prpc. Borrowed. */
DSTACK_API const char *dstack_kms_url(const dstack_kms *kms);

/** Makes sure of the root CA (first contact where it was not pinned) and gives its PEM text, owned
 * by the client. DSTACK_E_NETWORK, DSTACK_E_TIMEOUT, DSTACK_E_REFUSED, DSTACK_E_FORMAT. */
DSTACK_API int dstack_kms_root_ca(dstack_kms *kms, dstack_bytes *pem, dstack_error *err);

/** The answer to a request for an app's keys; `dstack_app_keys_clear()` wipes and releases. */
typedef struct dstack_app_keys {
    dstack_secret *disk_crypt_key; /**< 32 bytes. */
    dstack_secret *env_crypt_key;  /**< 32 bytes: X25519 secret key, or NULL. */
    dstack_secret *k256_key;       /**< 32 bytes. */
    dstack_buf k256_signature;     /**< 65 bytes: r, s, recovery id. */
    dstack_buf ca_cert;            /**< PEM of the KMS root CA. */
    char *gateway_app_id;          /**< Hex of the gateway's app id(s), "any" or "". */
    dstack_buf os_image_hash;      /**< 32 bytes, or empty. */
} dstack_app_keys;

/** Accepts NULL. */
DSTACK_API void dstack_app_keys_clear(dstack_app_keys *keys);

/**
 * Asks for the keys of the app that this environment's evidence names. A fresh RA-TLS client
 * certificate is made for the call; where the KMS asks for it, evidence for the connection is made
 * as well. `vm_config` is the text that tells the KMS what the evidence
 * must measure to; may be "". A refusal by policy is DSTACK_E_PEER with the KMS's own reason.
 */
DSTACK_API int dstack_kms_app_keys(dstack_kms *kms, const char *vm_config, dstack_app_keys *out,
                                   dstack_error *err);

/**
 * Has a certificate signed for a request made by dstack_csr_build() (version 2). Appends the PEM
 * chain: leaf, app CA, root CA.
 */
DSTACK_API int dstack_kms_sign_cert(dstack_kms *kms, dstack_bytes csr, dstack_bytes signature,
                                    const char *vm_config, dstack_buf *chain_pem,
                                    dstack_error *err);

/** The key that environments of an app are encrypted to, with its signatures. */
typedef struct dstack_kms_env_answer {
    uint8_t public_key[32];  /**< X25519. */
    dstack_buf signature;    /**< 65 bytes, older form. */
    uint64_t timestamp;      /**< UNIX seconds, part of the newer signature. */
    dstack_buf signature_v1; /**< 65 bytes over timestamp and key, or empty from old servers. */
} dstack_kms_env_answer;

/** Accepts NULL. */
DSTACK_API void dstack_kms_env_answer_clear(dstack_kms_env_answer *key);

/** Fetches the key for an app id of 20 bytes. The signatures are not checked here: the caller does,
 * against the KMS signer that it trusts. */
DSTACK_API int dstack_kms_env_key(dstack_kms *kms, dstack_bytes app_id, dstack_kms_env_answer *out,
                                  dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
