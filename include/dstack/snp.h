/**
 * @file snp.h
 * @brief AMD SEV-SNP attestation reports: reading and verifying them.
 *
 * A report is 1184 bytes, signed by the chip's own key (VCEK) over its first 672. The chain is AMD's
 * root (ARK, one per product), its intermediate (ASK) and the VCEK certificate, whose extensions name
 * the chip and the firmware versions that the key stands for. Layout: AMD, "SEV Secure Nested Paging
 * Firmware ABI Specification", tables of ATTESTATION_REPORT; certificates: "Versioned Chip
 * Endorsement Key Certificate and KDS Interface Specification".
 */
#ifndef DSTACK_SNP_H
#define DSTACK_SNP_H

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

/** Bytes of a report. */
#define DSTACK_SNP_REPORT_SIZE 1184

/** Products whose roots AMD publishes. Genoa includes Bergamo and Siena. */
typedef enum dstack_snp_product {
    DSTACK_SNP_MILAN,
    DSTACK_SNP_GENOA,
    DSTACK_SNP_TURIN,
    DSTACK_SNP_PRODUCTS, /**< How many there are; in a parsed report: not told (version 2). */
} dstack_snp_product;

/** "Milan", "Genoa", "Turin"; "unknown" for other values. */
DSTACK_API const char *dstack_snp_product_name(dstack_snp_product product);

/** Firmware versions. Compared component by component: the number as a whole means nothing. */
typedef struct dstack_snp_tcb {
    bool has_fmc; /**< Turin only. */
    uint8_t fmc, boot_loader, tee, snp, microcode;
} dstack_snp_tcb;

/** Bits of `policy`: what the guest's owner allowed. */
enum {
    DSTACK_SNP_POLICY_SMT = 1 << 16,
    DSTACK_SNP_POLICY_MIGRATION = 1 << 18,
    DSTACK_SNP_POLICY_DEBUG = 1 << 19,
    DSTACK_SNP_POLICY_SINGLE_SOCKET = 1 << 20,
    DSTACK_SNP_POLICY_NO_RAPL = 1 << 23,
    DSTACK_SNP_POLICY_CIPHERTEXT_HIDING = 1 << 24,
};

/** Bits of `platform_info`: how the machine runs. Unknown bits are no error. */
enum {
    DSTACK_SNP_PLATFORM_SMT = 1 << 0,
    DSTACK_SNP_PLATFORM_TSME = 1 << 1,
    DSTACK_SNP_PLATFORM_ECC = 1 << 2,
    DSTACK_SNP_PLATFORM_NO_RAPL = 1 << 3,
    DSTACK_SNP_PLATFORM_CIPHERTEXT_HIDING = 1 << 4,
    DSTACK_SNP_PLATFORM_ALIAS_CHECK = 1 << 5,
};

/** Which key signed: `key_info` bits 4 to 2. */
enum {
    DSTACK_SNP_KEY_VCEK = 0, /**< The chip's own. */
    DSTACK_SNP_KEY_VLEK = 1, /**< One that AMD gave to a cloud provider. */
    DSTACK_SNP_KEY_NONE = 7,
};

/** A report as parsed; nothing is verified. */
typedef struct dstack_snp_report {
    uint32_t version; /**< 2, 3 or 5. */
    uint32_t guest_svn;
    uint64_t policy;
    uint8_t family_id[16], image_id[16];
    uint32_t vmpl; /**< All ones: asked for by the host. */
    uint64_t platform_info;
    bool author_key_enabled, mask_chip_key;
    uint32_t signing_key; /**< DSTACK_SNP_KEY_* */
    uint8_t report_data[64];
    uint8_t measurement[48]; /**< Launch digest. */
    uint8_t host_data[32];
    uint8_t id_key_digest[48], author_key_digest[48];
    uint8_t report_id[32], report_id_ma[32];
    uint8_t cpuid_family, cpuid_model, cpuid_stepping; /**< Zero in version 2. */
    dstack_snp_product product; /**< From the CPUID; DSTACK_SNP_PRODUCTS in version 2. */
    uint8_t chip_id[64];
    uint8_t current_version[3], committed_version[3]; /**< Firmware: major, minor, build. */
    /** What runs; what cannot be rolled back; what the signing key stands for; what ran at launch. */
    dstack_snp_tcb current_tcb, committed_tcb, reported_tcb, launch_tcb;
    uint64_t launch_mitigations, current_mitigations; /**< Version 5. */
    uint8_t signature[96];                            /**< r ‖ s, big endian. */
} dstack_snp_report;

/**
 * Reads a report. Reserved bytes must be zero, the signature algorithm ECDSA P-384 with SHA-384.
 * DSTACK_E_FORMAT; DSTACK_E_UNSUPPORTED for other versions and unknown CPUs.
 */
DSTACK_API int dstack_snp_report_parse(dstack_snp_report *out, dstack_bytes report,
                                       dstack_error *err);

/** The certificates beside a report, DER. */
typedef struct dstack_snp_certs {
    dstack_buf ask;  /**< ASK, or ASVK for a VLEK. */
    dstack_buf vcek; /**< VCEK, or VLEK. */
    dstack_buf crl;  /**< The root's revocation list, or empty. */
    bool is_vlek;
} dstack_snp_certs;

/**
 * From what an attestation carries: two blobs are ASK and VCEK in this order, each PEM or DER; one
 * is the kernel's certificate table (GUID, offset, length; DER). DSTACK_E_FORMAT;
 * DSTACK_E_NOT_FOUND for no blob at all.
 */
DSTACK_API int dstack_snp_certs_from_blobs(const dstack_bytes *blobs, size_t count,
                                           dstack_snp_certs *out, dstack_error *err);
/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_snp_certs_clear(dstack_snp_certs *certs);

/** Start with all members zero: AMD's roots, nothing allowed beyond dstack's rules. */
typedef struct dstack_snp_options {
    int64_t now; /**< UNIX seconds. */
    /** One ARK per product, DER; an empty one is AMD's own. Under another root than AMD's a VCEK
     * without any of AMD's extensions passes, and the verdict says so. */
    dstack_bytes roots[DSTACK_SNP_PRODUCTS];
    const uint8_t *report_data;    /**< 64 bytes that must be there; NULL: any. */
    const uint8_t *host_data;      /**< 32 bytes that must be there; NULL: any. */
    const dstack_snp_tcb *min_tcb; /**< Floor for reported and launch TCB; NULL: none. */
    bool allow_debug;              /**< Guests whose policy allows debugging pass. */
    bool allow_migration;          /**< Guests whose policy allows a migration agent pass. */
    const char *vlek_provider;     /**< Accept a VLEK of exactly this provider id, such as
                                    "CN=cc-us-east-2.amazonaws.com"; NULL: none. */
} dstack_snp_options;

/** AMD's key distribution service (KDS). */
#define DSTACK_SNP_DEFAULT_SERVER "https://kdsintf.amd.com/vcek/v1"

/** Where AMD's certificates are fetched from. Start with all members zero. */
typedef struct dstack_snp_servers {
    /** Base URLs of the service or of mirrors of it, such as DSTACK_SNP_DEFAULT_SERVER, tried in
     * order until one gives everything that is lacking; none: that one. For what belongs to a VLEK
     * "/vcek/" in the last place becomes "/vlek/". */
    const char *const *urls;
    size_t url_count;
    int64_t timeout_ms; /**< For one request; 0: 30 seconds. */
    unsigned retries;   /**< Further rounds over all servers while none can be reached or all are
                             busy, after a pause of 0.2 to 0.4 seconds that doubles each round. */
    const char *proxy;  /**< URL of a proxy; NULL: none. The environment is not read. */
    /** Folder in which certificates are kept for the next call, also of other programs; made when
     * it is missing; NULL: none. Files there are worth what their signatures are. */
    const char *cache;
    /** Seconds for which a kept ASK and revocation list serve without asking; 0: a day; below 0:
     * the servers are always asked. While none of them answers, kept ones serve until their dates
     * end. A VCEK is that of a chip and its firmware for good, and is not asked for again. */
    int64_t cache_age;
    bool offline; /**< No server is asked: what is kept must do. */
    /** A server that has no revocation list (status 404) does not keep certificates from passing, as
     * with mirrors that know none; the verdict's crl_checked tells. False: it does. */
    bool optional_crl;
} dstack_snp_servers;

/**
 * Fetches what @p certs lacks of the certificates for this report: VCEK, ASK, the root's revocation
 * list. Blocks. What it gives has been checked: it leads to the product's root under @p options,
 * is within its dates, not revoked, and is this chip's at the reported TCB; anything else is
 * neither given nor kept, and the next server is asked. For a report of version 2 Genoa is tried,
 * then Milan. A VLEK cannot be fetched, what certifies it can.
 *
 * @param certs  zero, or what came with the evidence; on failure as it was.
 * @return 0; the statuses of dstack_snp_report_parse; DSTACK_E_NETWORK or DSTACK_E_TIMEOUT when no
 *         server could be reached; DSTACK_E_NOT_FOUND when there is no certificate for this chip at
 *         this TCB, or nothing is kept and @p servers is offline; DSTACK_E_LIMIT, DSTACK_E_FORMAT,
 *         DSTACK_E_X509_*, DSTACK_E_CRYPTO, DSTACK_E_REFUSED when the last server's answers could
 *         not be used; DSTACK_E_UNSUPPORTED in a build without network.
 */
DSTACK_API int dstack_snp_certs_fetch(dstack_bytes report, const dstack_snp_options *options,
                                      const dstack_snp_servers *servers, dstack_snp_certs *certs,
                                      dstack_error *err);

/** What was verified: a plain value. */
typedef struct dstack_snp_verdict {
    dstack_snp_report report;
    dstack_snp_product product;
    dstack_tcb_status status; /**< UpToDate when all four TCBs agree, else OutOfDate. */
    dstack_anchor_info anchor;
    bool crl_checked; /**< A revocation list was given and consulted. */
    bool vcek_bound;  /**< The VCEK's chip and TCB are the report's. False only under a pinned root
                           whose certificates do not carry AMD's extensions. */
    int64_t valid_until; /**< The earliest end of the certificates used. */
} dstack_snp_verdict;

/**
 * Verifies a report: chain to the product's root with names, dates, CA flags and revocation list;
 * signature; policy (VMPL 0, no debug, no migration agent, chip key not masked, VCEK, the demands on
 * SMT, RAPL and ciphertext hiding met); that the VCEK is this chip's and stands for the reported
 * TCB; what the caller expects. All of it must hold.
 *
 * @return 0; DSTACK_E_FORMAT or DSTACK_E_UNSUPPORTED for the report; DSTACK_E_X509_*,
 *         DSTACK_E_CRYPTO for chain and signature; DSTACK_E_REFUSED for policy and expectations.
 */
DSTACK_API int dstack_snp_verify(dstack_bytes report, const dstack_snp_certs *certs,
                                 const dstack_snp_options *options, dstack_snp_verdict *out,
                                 dstack_error *err);

/** Appends a parsed report as one JSON object. DSTACK_E_MEMORY. */
DSTACK_API int dstack_snp_report_to_json(const dstack_snp_report *report, dstack_buf *out,
                                         dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
