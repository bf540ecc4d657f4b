/**
 * @file quote.h
 * @brief Intel SGX and TDX quotes: layout, parsing, JSON.
 *
 * Formats: Intel "SGX ECDSA QuoteLibReference", appendix A (version 3) and Intel "TDX DCAP Quote
 * Generation Library and Quote Verification Library", appendix A (versions 4 and 5).
 *
 * A parsed quote borrows the caller's bytes and owns nothing: no release, no allocation, under a
 * microsecond. Parsing decides form alone; whether a quote is true is the business of verifier.h.
 */
#ifndef DSTACK_QUOTE_H
#define DSTACK_QUOTE_H

#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Header field tee_type. */
#define DSTACK_QUOTE_TEE_SGX 0x00000000u
#define DSTACK_QUOTE_TEE_TDX 0x00000081u

/** Header field attestation_key_type: ECDSA-256-with-P-256, the one kind that verifies. */
#define DSTACK_QUOTE_KEY_ECDSA_P256 2

/** What the body of a quote is; numbers as in the body descriptor of version 5. */
typedef enum dstack_quote_body {
    DSTACK_QUOTE_BODY_SGX = 1,  /**< SGX enclave report, 384 bytes. */
    DSTACK_QUOTE_BODY_TD10 = 2, /**< TD report of TDX 1.0, 584 bytes. */
    DSTACK_QUOTE_BODY_TD15 = 3, /**< TD report of TDX 1.5, 648 bytes. */
} dstack_quote_body;

/** Certification data types. */
#define DSTACK_QUOTE_CERT_PPID_PLAIN 1
#define DSTACK_QUOTE_CERT_PPID_RSA2048 2
#define DSTACK_QUOTE_CERT_PPID_RSA3072 3
#define DSTACK_QUOTE_CERT_PCK_LEAF 4
#define DSTACK_QUOTE_CERT_PCK_CHAIN 5 /**< PEM: PCK leaf, PCK CA, root. */
#define DSTACK_QUOTE_CERT_QE_REPORT 6 /**< Wrapper of versions 4 and 5. */
#define DSTACK_QUOTE_CERT_MANIFEST 7

/** Largest input taken, and largest variable field in it, in bytes. */
#define DSTACK_QUOTE_MAX_SIZE (2u << 20)
#define DSTACK_QUOTE_MAX_FIELD (1u << 20)

/** Bits of td_attributes, read as a little-endian number. */
#define DSTACK_TD_ATTRIBUTE_DEBUG ((uint64_t)1 << 0)
#define DSTACK_TD_ATTRIBUTE_SEPT_VE_DISABLE ((uint64_t)1 << 28)
#define DSTACK_TD_ATTRIBUTE_MIGRATABLE ((uint64_t)1 << 29)
#define DSTACK_TD_ATTRIBUTE_PKS ((uint64_t)1 << 30)
#define DSTACK_TD_ATTRIBUTE_KL ((uint64_t)1 << 31)
#define DSTACK_TD_ATTRIBUTE_PERFMON ((uint64_t)1 << 63)

/** Header, 48 bytes. Numbers are little-endian bytes; all members have alignment 1. */
typedef struct dstack_quote_header {
    uint8_t version[2];
    uint8_t attestation_key_type[2];
    uint8_t tee_type[4];
    uint8_t qe_svn[2];  /**< Version 3; reserved in 4 and 5. */
    uint8_t pce_svn[2]; /**< Version 3; reserved in 4 and 5. */
    uint8_t qe_vendor_id[16];
    uint8_t user_data[20]; /**< The first 16 bytes are the QE ID. */
} dstack_quote_header;

/** TD report of TDX 1.0, 584 bytes; the first part of that of 1.5 too. */
typedef struct dstack_td_report {
    uint8_t tee_tcb_svn[16];
    uint8_t mr_seam[48];
    uint8_t mr_signer_seam[48];
    uint8_t seam_attributes[8];
    uint8_t td_attributes[8];
    uint8_t xfam[8];
    uint8_t mr_td[48];
    uint8_t mr_config_id[48];
    uint8_t mr_owner[48];
    uint8_t mr_owner_config[48];
    uint8_t rt_mr[4][48];
    uint8_t report_data[64];
} dstack_td_report;

/** What TDX 1.5 adds, 64 bytes. */
typedef struct dstack_td_report_15 {
    uint8_t tee_tcb_svn2[16];
    uint8_t mr_service_td[48];
} dstack_td_report_15;

/** SGX enclave report, 384 bytes: body of SGX quotes, and the report of the quoting enclave. */
typedef struct dstack_enclave_report {
    uint8_t cpu_svn[16];
    uint8_t misc_select[4];
    uint8_t reserved1[28];
    uint8_t attributes[16];
    uint8_t mr_enclave[32];
    uint8_t reserved2[32];
    uint8_t mr_signer[32];
    uint8_t reserved3[96];
    uint8_t isv_prod_id[2];
    uint8_t isv_svn[2];
    uint8_t reserved4[60];
    uint8_t report_data[64];
} dstack_enclave_report;

/** A parsed quote: numbers by value, everything else a view into the caller's bytes. */
typedef struct dstack_quote {
    dstack_bytes raw; /**< The whole input. */

    uint16_t version; /**< 3, 4 or 5. */
    uint16_t attestation_key_type;
    uint32_t tee_type; /**< DSTACK_QUOTE_TEE_*; in version 5 any number passes the parser. */
    uint16_t qe_svn;
    uint16_t pce_svn;
    const dstack_quote_header *header;

    dstack_quote_body body_type;
    dstack_bytes body;                    /**< 384, 584 or 648 bytes. */
    const dstack_enclave_report *enclave; /**< NULL unless the body is an enclave report. */
    const dstack_td_report *td;           /**< NULL unless the body is a TD report. */
    const dstack_td_report_15 *td15;      /**< NULL unless it is one of TDX 1.5. */

    dstack_bytes signed_bytes;    /**< What the quote signature covers: all before its length. */
    dstack_bytes signature_data;  /**< As long as its length field says. */
    dstack_bytes signature;       /**< r and s, 64 bytes. */
    dstack_bytes attestation_key; /**< x and y, 64 bytes. */
    uint16_t outer_type;          /**< Versions 4 and 5: 6, or 5 as some writers have it; else 0. */
    dstack_bytes outer_data;      /**< Versions 4 and 5; empty else. */
    const dstack_enclave_report *qe_report;
    dstack_bytes qe_report_signature; /**< 64 bytes. */
    dstack_bytes qe_auth_data;
    uint16_t cert_type; /**< DSTACK_QUOTE_CERT_*, the inner one. */
    dstack_bytes cert_data;
    dstack_bytes padding; /**< Zero bytes after the signature data. */
} dstack_quote;

/**
 * Parses a binary quote.
 *
 * Zero bytes after the signature data, and inside it or inside the wrapper after their last
 * element, are padding that real quotes have; anything else there is refused.
 *
 * @param out  filled on success; borrows @p raw, which must outlive it.
 * @return 0, or DSTACK_E_DCAP_QUOTE_FORMAT.
 */
DSTACK_API int dstack_quote_parse(dstack_quote *out, dstack_bytes raw, dstack_error *err);

/** True when @p content begins with bytes that no hex or base64 text of a quote has. */
DSTACK_API bool dstack_quote_looks_binary(dstack_bytes content);

/** The 64 bytes of report data, of a TD report or an enclave report. */
DSTACK_API dstack_bytes dstack_quote_report_data(const dstack_quote *quote);
/** The QE ID: the first 16 bytes of user_data. Two quotes of one machine have the same. */
DSTACK_API dstack_bytes dstack_quote_qe_id(const dstack_quote *quote);
/** td_attributes as a number; 0 for SGX. */
DSTACK_API uint64_t dstack_quote_td_attributes(const dstack_quote *quote);
/** True when the TD or the enclave runs in debug mode: its memory is open to the host. */
DSTACK_API bool dstack_quote_is_debug(const dstack_quote *quote);
/** A field of the body by its JSON name ("mr_td", "rt_mr0", "mr_enclave", "report_data", ...); an
 * empty view when the body has no such field. */
DSTACK_API dstack_bytes dstack_quote_field(const dstack_quote *quote, const char *name);
/** "SGX", "TDX" or "unknown". */
DSTACK_API const char *dstack_quote_tee_name(const dstack_quote *quote);

/**
 * Appends the quote as one JSON object: header, report, auth_data, and flat members for its parts;
 * "pck" is what the PCK certificate says, unverified, or null when the quote has none. Bytes are
 * lower-case hex.
 *
 * @param pretty  two-space indentation; compact otherwise.
 * @return 0 or DSTACK_E_MEMORY.
 */
DSTACK_API int dstack_quote_to_json(const dstack_quote *quote, bool pretty, dstack_buf *out,
                                    dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
