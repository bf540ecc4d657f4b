/**
 * @file acme.h
 * @brief Certificates from an ACME server (RFC 8555) for keys that never leave the process.
 *
 * The client signs with ES256, checks that the server's answers stay within stated sizes, and
 * leaves the placing of challenges to callbacks, so that any DNS provider can be used. One thread
 * at a time per client. Every call that uses the network blocks, at most until its deadline.
 */
#ifndef DSTACK_ACME_H
#define DSTACK_ACME_H

#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An ACME client bound to one directory and one account key. */
typedef struct dstack_acme dstack_acme;

/**
 * Where challenges are placed. `name` is the full record name without a final dot
 * ("_acme-challenge.example.org"), `value` the text of the TXT record (RFC 8555 section 8.4).
 * Both return 0 or a negative status with `err` filled. `cleanup` is called for every record that
 * `present` was asked to place, also when issuing failed.
 */
typedef struct dstack_acme_dns01 {
    int (*present)(void *user, const char *name, const char *value, dstack_error *err);
    int (*cleanup)(void *user, const char *name, const char *value, dstack_error *err);
    void *user;
} dstack_acme_dns01;

/** What a client needs; all strings are copied. */
typedef struct dstack_acme_options {
    const char *directory_url;  /**< https URL of the directory object. */
    const char *ca_file;        /**< PEM file with the roots to trust for it; NULL: system roots. */
    dstack_bytes account_key;   /**< PKCS#8 DER of a P-256 key; the caller keeps it secret. */
    const char *account_url;    /**< Known account URL, or NULL to register (or look up) one. */
    int64_t request_timeout_ms; /**< Per request; 0 means 30 s. */
} dstack_acme_options;

/**
 * Fetches the directory and makes sure of the account (terms of service are agreed to, no contact).
 * DSTACK_E_NETWORK, DSTACK_E_TIMEOUT, DSTACK_E_PEER (the server's problem document is in the
 * message), DSTACK_E_FORMAT, DSTACK_E_CRYPTO.
 */
DSTACK_API int dstack_acme_new(dstack_acme **out, const dstack_acme_options *options,
                               dstack_error *err);
DSTACK_API void dstack_acme_free(dstack_acme *acme);

/** URL of the account; owned by the client. */
DSTACK_API const char *dstack_acme_account_url(const dstack_acme *acme);

/**
 * Orders one certificate for `names` (DNS names, wildcards allowed), proves control by dns-01, and
 * appends the PEM chain, leaf first, to `chain_pem`. `csr_der` is a PKCS#10 request for exactly
 * these names. `deadline_ms` bounds the whole call (monotonic milliseconds from its start).
 */
DSTACK_API int dstack_acme_issue(dstack_acme *acme, const char *const *names, size_t name_count,
                                 dstack_bytes csr_der, const dstack_acme_dns01 *dns,
                                 int64_t deadline_ms, dstack_buf *chain_pem, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
