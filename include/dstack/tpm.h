/**
 * @file tpm.h
 * @brief TPM 2.0 quotes: reading and verifying them, and the firmware's boot log beside them.
 *
 * A quote is a TPMS_ATTEST (Trusted Platform Module Library, part 2, "Attestation Structures") signed
 * by an attestation key, whose certificate chains to the TPM vendor's or the cloud's root. The SHA-256
 * bank alone is taken.
 */
#ifndef DSTACK_TPM_H
#define DSTACK_TPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/verifier.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_TPM_MAX_PCRS 24
#define DSTACK_TPM_PCR_SIZE 32
#define DSTACK_TPM_MAX_CERTS 8
#define DSTACK_TPM_MAX_EVENTS 4096

/** A TPMS_ATTEST of type quote; bytes are borrowed from it. */
typedef struct dstack_tpm_attest {
    dstack_bytes signer;     /**< Qualified name of the key. */
    dstack_bytes extra_data; /**< What the caller gave to be signed. */
    uint64_t clock;
    uint32_t reset_count, restart_count;
    bool safe;
    uint64_t firmware_version;
    size_t pcr_count; /**< Of the SHA-256 bank, in the order of the selection. */
    uint8_t pcrs[DSTACK_TPM_MAX_PCRS];
    dstack_bytes pcr_digest;
} dstack_tpm_attest;

/** Reads a quote structure; nothing may follow it. DSTACK_E_FORMAT; DSTACK_E_UNSUPPORTED for another
 * PCR bank than SHA-256. */
DSTACK_API int dstack_tpm_attest_parse(dstack_tpm_attest *out, dstack_bytes message,
                                       dstack_error *err);

/** The value of one PCR as the prover states it. */
typedef struct dstack_tpm_pcr {
    uint32_t index;
    dstack_bytes value; /**< 32 bytes. */
} dstack_tpm_pcr;

/** One entry of a boot log: what a PCR was extended by. */
typedef struct dstack_tpm_event {
    uint32_t pcr;
    uint8_t digest[DSTACK_TPM_PCR_SIZE];
} dstack_tpm_event;

/** A quote and what belongs to it; everything is borrowed. */
typedef struct dstack_tpm_quote {
    dstack_bytes message, signature; /**< TPMS_ATTEST, TPMT_SIGNATURE. */
    const dstack_tpm_pcr *pcrs;      /**< In the order of the selection. */
    size_t pcr_count;
    dstack_bytes ak_cert;           /**< DER. */
    const dstack_tpm_event *events; /**< May be empty. */
    size_t event_count;
} dstack_tpm_quote;

/** Start with all members zero. */
typedef struct dstack_tpm_options {
    int64_t now;                    /**< UNIX seconds. */
    dstack_bytes root;              /**< DER; empty: Google Cloud's. */
    const dstack_bytes *chain;      /**< Intermediates, DER, in any order. */
    size_t chain_count;             /**< At most DSTACK_TPM_MAX_CERTS. */
    const dstack_bytes *crls;       /**< DER; consulted where their issuer is on the path. */
    size_t crl_count;               /**< At most DSTACK_TPM_MAX_CERTS. */
    dstack_bytes root_crl;          /**< The root's own list, or empty. */
    const dstack_bytes *extra_data; /**< Must have been signed; NULL: any. */
    bool
        need_crls; /**< Refuse when a certificate of the path names a distribution point and none of
                       the lists is its issuer's. */
} dstack_tpm_options;

/** What a path needs beside the quote, DER; owned. Zero-initialise. */
typedef struct dstack_tpm_collateral {
    dstack_buf chain[DSTACK_TPM_MAX_CERTS]; /**< Intermediates. */
    size_t chain_count;
    dstack_buf crls[DSTACK_TPM_MAX_CERTS];
    size_t crl_count;
    dstack_buf root_crl; /**< May be empty. */
} dstack_tpm_collateral;

/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_tpm_collateral_clear(dstack_tpm_collateral *collateral);

/** Fetches the collateral of vTPM keys from the addresses that their certificates name, and keeps it
 * for an hour (for half a minute, that it could not be had). May be shared among threads; one fetch
 * runs at a time. */
typedef struct dstack_tpm_fetcher dstack_tpm_fetcher;

/** Start with all members zero. */
typedef struct dstack_tpm_fetcher_options {
    const char *const *hosts; /**< Who may be asked: ".example.com" for hosts below that name at the
                                 usual port, or "host:port". */
    size_t host_count;        /**< 0: Google Cloud's storage of certificates alone. */
    int64_t timeout_ms;       /**< Of one request; 0: 10 seconds. */
} dstack_tpm_fetcher_options;

/** `options` may be NULL. DSTACK_E_MEMORY. */
DSTACK_API int dstack_tpm_fetcher_new(dstack_tpm_fetcher **out,
                                      const dstack_tpm_fetcher_options *options, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_tpm_fetcher_free(dstack_tpm_fetcher *fetcher);
/** A dstack_tpm_collateral_source (dstack/attestation.h) whose user is a dstack_tpm_fetcher. Issuers
 * are followed for at most 6 steps; certificates may have 64 KiB, lists 4 MiB; redirects are not
 * followed. Each certificate that names lists must get one of them. Nothing is verified here. */
DSTACK_API int dstack_tpm_collateral_fetch(void *fetcher, dstack_bytes ak_cert,
                                           dstack_tpm_collateral *out, dstack_error *err);

/** What was verified: a plain value. */
typedef struct dstack_tpm_verdict {
    uint32_t pcr_mask; /**< Bit n: PCR n was quoted. */
    uint8_t pcrs[DSTACK_TPM_MAX_PCRS][DSTACK_TPM_PCR_SIZE];
    uint32_t replayed_mask; /**< Bit n: the events given replay to PCR n. */
    uint32_t reset_count, restart_count;
    bool safe;
    uint8_t ak_spki_sha256[32];
    dstack_anchor_info anchor;
    int64_t valid_until;
} dstack_tpm_verdict;

/**
 * Verifies a quote: form; the stated PCRs against the selection and the signed digest; replay of the
 * events that belong to quoted PCRs; certificate path of the attestation key with dates, purposes
 * (2.23.133.8.1 or .8.3 where any is named) and revocation lists; signature; extra data.
 */
DSTACK_API int dstack_tpm_verify(const dstack_tpm_quote *quote, const dstack_tpm_options *options,
                                 dstack_tpm_verdict *out, dstack_error *err);

/** What a boot log holds. */
typedef struct dstack_tpm_log {
    size_t count;
    dstack_tpm_event *events; /**< Those with a SHA-256 digest that extend a PCR. */
    bool has_startup_locality;
    uint8_t startup_locality; /**< PCR 0 then starts from it. */
} dstack_tpm_log;

/** Reads binary_bios_measurements (TCG PC Client Platform Firmware Profile, crypto agile log).
 * DSTACK_E_FORMAT, DSTACK_E_LIMIT. */
DSTACK_API int dstack_tpm_log_parse(dstack_tpm_log *out, dstack_bytes log, dstack_error *err);
/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_tpm_log_clear(dstack_tpm_log *log);
/** The value that a PCR has after the events given. */
DSTACK_API void dstack_tpm_replay(const dstack_tpm_event *events, size_t count, uint32_t pcr,
                                  uint8_t locality, uint8_t out[DSTACK_TPM_PCR_SIZE]);

#ifdef __cplusplus
}
#endif
#endif
