/**
 * @file nitro.h
 * @brief AWS Nitro attestation documents: enclaves (NSM) and NitroTPM.
 *
 * A document is a COSE_Sign1 (RFC 9052) over a CBOR map, signed with ES384 by a certificate that it
 * carries, whose chain ends in AWS's root. Published in AWS, "Cryptographic attestation" (Nitro
 * Enclaves) and "Attestable AMIs" (NitroTPM).
 */
#ifndef DSTACK_NITRO_H
#define DSTACK_NITRO_H

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

/** Longest document that is read, most PCRs and certificates in it. */
#define DSTACK_NITRO_MAX_SIZE ((size_t)16 << 10)
#define DSTACK_NITRO_MAX_PCRS 32
#define DSTACK_NITRO_MAX_CERTS 8
#define DSTACK_NITRO_PCR_SIZE 48
/** Age at which a document is refused when the caller names none, and how far ahead of the caller's
 * clock it may be; seconds, both inclusive. */
#define DSTACK_NITRO_MAX_AGE 3600
#define DSTACK_NITRO_MAX_AHEAD 300

/** A document as parsed; nothing is verified. All bytes are borrowed from it. */
typedef struct dstack_nitro_document {
    dstack_bytes protected_header, payload, signature; /**< As COSE carries them. */
    dstack_bytes module_id;                            /**< Text. */
    uint64_t timestamp_ms;                             /**< UNIX milliseconds. */
    bool is_tpm;                                       /**< The PCRs stand under `nitrotpm_pcrs`. */
    uint32_t pcr_mask;                                 /**< Bit n: PCR n is there. */
    dstack_bytes pcrs[DSTACK_NITRO_MAX_PCRS];          /**< 48 bytes each. */
    dstack_bytes certificate;                          /**< DER: who signed. */
    dstack_bytes cabundle[DSTACK_NITRO_MAX_CERTS];     /**< DER: root first. */
    size_t cabundle_count;
    bool has_user_data, has_nonce, has_public_key;
    dstack_bytes user_data, nonce, public_key;
} dstack_nitro_document;

/** Reads a document: form, algorithm and types. DSTACK_E_FORMAT, DSTACK_E_LIMIT,
 * DSTACK_E_UNSUPPORTED. */
DSTACK_API int dstack_nitro_document_parse(dstack_nitro_document *out, dstack_bytes document,
                                           dstack_error *err);

/** Start with all members zero. */
typedef struct dstack_nitro_options {
    int64_t now;                   /**< UNIX seconds. */
    dstack_bytes root;             /**< DER; empty: AWS's. */
    bool tpm;                      /**< A NitroTPM's document is expected, not an enclave's. */
    bool allow_debug;              /**< Enclaves in debug mode (PCR0 to PCR2 zero) pass. */
    int64_t max_age;               /**< Seconds; 0: DSTACK_NITRO_MAX_AGE. */
    const dstack_bytes *user_data; /**< Must be there; NULL: any. */
    const dstack_bytes *nonce;     /**< Must be there; NULL: any. */
} dstack_nitro_options;

/** What was verified: a plain value. */
typedef struct dstack_nitro_verdict {
    char module_id[128];
    uint64_t timestamp_ms;
    uint32_t pcr_mask;
    uint8_t pcrs[DSTACK_NITRO_MAX_PCRS][DSTACK_NITRO_PCR_SIZE];
    size_t user_data_len; /**< At most 1024 bytes are kept; longer ones are refused. */
    uint8_t user_data[1024];
    bool debug;             /**< PCR0, PCR1 and PCR2 of an enclave are zero. */
    uint8_t image_hash[32]; /**< Enclave: SHA-256(PCR0 ‖ PCR1 ‖ PCR2). */
    dstack_anchor_info anchor;
    int64_t valid_until; /**< The earliest end of the certificates used. */
} dstack_nitro_verdict;

/**
 * Verifies a document: form; age; chain to the root with names, dates, CA flags and purposes; the
 * ES384 signature; what the caller expects; and that an enclave is not in debug mode: none of PCR0
 * to PCR2 may be zero or missing.
 *
 * @return 0; DSTACK_E_FORMAT, DSTACK_E_LIMIT, DSTACK_E_UNSUPPORTED for the form; DSTACK_E_X509_*,
 *         DSTACK_E_CRYPTO for chain and signature; DSTACK_E_REFUSED for the rest.
 */
DSTACK_API int dstack_nitro_verify(dstack_bytes document, const dstack_nitro_options *options,
                                   dstack_nitro_verdict *out, dstack_error *err);

/** Appends a verdict as one JSON object. DSTACK_E_MEMORY. */
DSTACK_API int dstack_nitro_verdict_to_json(const dstack_nitro_verdict *verdict, dstack_buf *out,
                                            dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
