/**
 * @file cert.h
 * @brief RA-TLS certificates and signing requests: create, read, verify.
 *
 * Keys are ECDSA P-256. A private key is passed as a dstack_secret that holds PEM text or DER
 * (PKCS#8 or SEC 1). Certificates are passed as PEM text (one or more blocks) or one DER
 * certificate; the form is detected.
 *
 * What a certificate says about its app (app id, app info, usage) is the issuer's word: it counts
 * only after the chain was verified to the KMS root. What its attestation says counts only after
 * the attestation was verified and bound to the certificate's key.
 */
#ifndef DSTACK_CERT_H
#define DSTACK_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/attestation.h>
#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Values of the usage extension. */
#define DSTACK_USAGE_KMS_RPC "kms:rpc"
#define DSTACK_USAGE_APP_CA "app:ca"
#define DSTACK_USAGE_APP_CUSTOM "app:custom"

/** Lifetimes in seconds. */
#define DSTACK_CA_LIFETIME ((int64_t)3650 * 86400)
#define DSTACK_RPC_CERT_LIFETIME ((int64_t)86400)

/* ---- keys ------------------------------------------------------------------------------------- */

/** A fresh P-256 key as PKCS#8 PEM text. */
DSTACK_API int dstack_cert_key_new(dstack_secret **pem, dstack_error *err);
/** Appends the SubjectPublicKeyInfo (91 bytes) of a private key. */
DSTACK_API int dstack_cert_key_public(const dstack_secret *key, dstack_buf *spki,
                                      dstack_error *err);
/** The report data that binds a SubjectPublicKeyInfo: tag "ratls-cert", SHA-512. */
DSTACK_API int dstack_cert_report_data(dstack_bytes spki, uint8_t out[DSTACK_REPORT_DATA_SIZE],
                                       dstack_error *err);

/* ---- making ----------------------------------------------------------------------------------- */

/** What goes into a certificate. Zeroed fields are left out or take the default named. */
typedef struct dstack_cert_spec {
    const char *org;              /**< O, or NULL. */
    const char *unit;             /**< OU, or NULL. "dstack insecure-dev" marks insecure modes. */
    const char *subject;          /**< CN. */
    const char *const *alt_names; /**< Host names and IP addresses. */
    size_t alt_name_count;
    bool server_auth;
    bool client_auth;
    bool is_ca;
    int path_len;                          /**< For a CA. */
    int64_t not_before;                    /**< UNIX seconds; 0: 1975-01-01. */
    int64_t not_after;                     /**< UNIX seconds; required. */
    dstack_bytes app_id;                   /**< Extension, 20 bytes or empty. */
    const dstack_identity *app_info;       /**< Extension, or NULL. */
    const char *usage;                     /**< Extension, or NULL. */
    const dstack_attestation *attestation; /**< Extension; written stripped. NULL: none. */
} dstack_cert_spec;

/** Appends a self-signed certificate as PEM. */
DSTACK_API int dstack_cert_self_signed(const dstack_cert_spec *spec, const dstack_secret *key,
                                       dstack_buf *pem, dstack_error *err);

/** A certificate authority: a certificate and its private key. */
typedef struct dstack_ca dstack_ca;

/** Loads a CA. DSTACK_E_ARGUMENT when the key does not belong to the certificate, DSTACK_E_REFUSED
 * when it is no CA certificate. */
DSTACK_API int dstack_ca_new(dstack_bytes cert, const dstack_secret *key, dstack_ca **out,
                             dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_ca_free(dstack_ca *ca);
/** Appends the CA's own certificate as PEM. */
DSTACK_API int dstack_ca_certificate(const dstack_ca *ca, dstack_buf *pem, dstack_error *err);
/** Signs a certificate for a SubjectPublicKeyInfo and appends it as PEM. */
DSTACK_API int dstack_ca_sign(const dstack_ca *ca, const dstack_cert_spec *spec, dstack_bytes spki,
                              dstack_buf *pem, dstack_error *err);

/* ---- reading ---------------------------------------------------------------------------------- */

/** A parsed certificate; immutable. */
typedef struct dstack_cert dstack_cert;

/** Parses the first certificate of PEM text, or one DER certificate, with its RA-TLS extensions.
 * A repeated extension or a malformed value is DSTACK_E_FORMAT. */
DSTACK_API int dstack_cert_parse(dstack_bytes encoded, dstack_cert **out, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_cert_free(dstack_cert *cert);
/** DER, borrowed. */
DSTACK_API dstack_bytes dstack_cert_der(const dstack_cert *cert);
/** SubjectPublicKeyInfo, DER, borrowed. */
DSTACK_API dstack_bytes dstack_cert_spki(const dstack_cert *cert);
/** Validity, UNIX seconds, both inclusive. */
DSTACK_API int64_t dstack_cert_not_before(const dstack_cert *cert);
DSTACK_API int64_t dstack_cert_not_after(const dstack_cert *cert);
/** Usage extension, or NULL. Borrowed. */
DSTACK_API const char *dstack_cert_usage(const dstack_cert *cert);
/** App id extension, or empty. Borrowed. */
DSTACK_API dstack_bytes dstack_cert_app_id(const dstack_cert *cert);
/** App info extension, or NULL. Borrowed. */
DSTACK_API const dstack_identity *dstack_cert_app_info(const dstack_cert *cert);
/** Attestation extension (or the older pair of extensions), or NULL. Borrowed. */
DSTACK_API const dstack_attestation *dstack_cert_attestation(const dstack_cert *cert);
/** Whether the certificate names this host: exact, or a wildcard for one leftmost label. */
DSTACK_API bool dstack_cert_matches_host(const dstack_cert *cert, const char *host);
/** Appends a JSON rendering: subject, issuer, serial, validity, names, extensions. */
DSTACK_API int dstack_cert_to_json(const dstack_cert *cert, dstack_buf *out, dstack_error *err);

/* ---- verifying -------------------------------------------------------------------------------- */

typedef struct dstack_cert_check {
    int64_t now; /**< UNIX seconds. */
    /** Root certificate(s) to chain to (PEM or DER); empty: no chain is asked for, and nothing that
     * an issuer claims counts. */
    dstack_bytes root;
    dstack_bytes intermediates; /**< PEM or empty. */
    const char *host;           /**< Name that must be covered, or NULL. */
    const char *usage;          /**< Required value of the usage extension, or NULL. */
    dstack_bytes app_id;        /**< Required app id (issuer's claim), or empty. */
    bool require_attestation;   /**< Absence is a refusal. A present one is verified always when a
                                      verifier is given. */
    const dstack_attestation_options *attestation; /**< Passed on; its report_data and now are set
                                                        here. */
} dstack_cert_check;

/**
 * Verifies a certificate: validity, chain, name, usage, app id, and its attestation bound to its
 * key. `verifier` may be NULL when no attestation is to be verified. `*out` (may be NULL) receives
 * the verified attestation, or NULL when the certificate carries none.
 *
 * A usage requirement without a root is DSTACK_E_ARGUMENT: it would be anybody's word.
 */
DSTACK_API int dstack_cert_verify(struct dstack_verifier *verifier, const dstack_cert *cert,
                                  const dstack_cert_check *check, dstack_verified **out,
                                  dstack_error *err);

/** Verifies only the attestation of a certificate, bound to its key. DSTACK_E_REFUSED when it has
 * none. */
DSTACK_API int dstack_cert_verify_attestation(struct dstack_verifier *verifier,
                                              const dstack_cert *cert,
                                              const dstack_attestation_options *options,
                                              dstack_verified **out, dstack_error *err);

/**
 * What a server asks of a client certificate within the handshake, where anybody can make it run:
 * within its validity, and an attestation that decodes. Issuer and key usage do not matter. The
 * attestation itself is verified after the handshake.
 */
DSTACK_API int dstack_cert_check_client(dstack_bytes der, int64_t now, dstack_error *err);

/* ---- signing requests ------------------------------------------------------------------------- */

/** What a request asks for. On input zeroed fields are "not asked". After parsing, texts belong to
 * the request. */
typedef struct dstack_csr_spec {
    const char *org; /**< NULL: none. */
    const char *subject;
    const char *const *alt_names;
    size_t alt_name_count;
    bool server_auth;
    bool client_auth;
    bool with_quote;
    bool with_app_info;
    bool has_not_before;
    uint64_t not_before; /**< UNIX seconds. */
    bool has_not_after;
    uint64_t not_after;
} dstack_csr_spec;

/** A parsed request. */
typedef struct dstack_csr dstack_csr;

/** Appends the version 2 encoding and its DER signature by the key. The attestation must be bound to
 * that key; it is written whole. */
DSTACK_API int dstack_csr_build(const dstack_csr_spec *spec, const dstack_secret *key,
                                const dstack_attestation *attestation, dstack_attestation_form form,
                                dstack_buf *csr, dstack_buf *signature, dstack_error *err);
/** Parses version 1 or 2 and verifies the signature over the received bytes, and the confirmation
 * text. DSTACK_E_FORMAT, DSTACK_E_CRYPTO. The attestation inside is not verified. */
DSTACK_API int dstack_csr_parse(unsigned version, dstack_bytes csr, dstack_bytes signature,
                                dstack_csr **out, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_csr_free(dstack_csr *csr);
DSTACK_API const dstack_csr_spec *dstack_csr_get(const dstack_csr *csr);
/** SubjectPublicKeyInfo, borrowed. */
DSTACK_API dstack_bytes dstack_csr_spki(const dstack_csr *csr);
/** Borrowed. */
DSTACK_API const dstack_attestation *dstack_csr_attestation(const dstack_csr *csr);
/** Refuses (DSTACK_E_REFUSED) a request for a name that the issuer keeps for itself: one of
 * `reserved`, in any case, or a wildcard that covers one. Names that are neither host names nor IP
 * addresses are refused too. */
DSTACK_API int dstack_csr_check_names(const dstack_csr *csr, const char *const *reserved,
                                      size_t reserved_count, dstack_error *err);
/** Verifies the request's attestation, bound to its key. */
DSTACK_API int dstack_csr_verify_attestation(struct dstack_verifier *verifier,
                                             const dstack_csr *csr,
                                             const dstack_attestation_options *options,
                                             dstack_verified **out, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
