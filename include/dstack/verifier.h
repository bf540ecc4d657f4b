/**
 * @file verifier.h
 * @brief Verification of Intel SGX and TDX quotes against collateral and a pinned root.
 *
 * A verifier keeps what it has verified: a bundle of collateral costs its signature checks once, a
 * platform's certificates once, and every further quote of that platform two P-256 verifications.
 * Nothing kept outlives its dates: the time of every check is the caller's `now`, compared with the
 * validity of everything that the verdict rests on. Cold and warm verdicts are the same.
 *
 * A verifier may be shared among threads.
 */
#ifndef DSTACK_VERIFIER_H
#define DSTACK_VERIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/collateral.h>
#include <dstack/error.h>
#include <dstack/policy.h>
#include <dstack/quote.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

/** TCB status, as Intel names them. */
typedef enum dstack_tcb_status {
    DSTACK_TCB_UP_TO_DATE,
    DSTACK_TCB_SW_HARDENING_NEEDED,
    DSTACK_TCB_CONFIGURATION_NEEDED,
    DSTACK_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED,
    DSTACK_TCB_OUT_OF_DATE,
    DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED,
    DSTACK_TCB_REVOKED, /**< Never the status of a successful verification. */
} dstack_tcb_status;

/** "UpToDate", "OutOfDate", ... */
DSTACK_API const char *dstack_tcb_status_name(dstack_tcb_status status);

#define DSTACK_MAX_ADVISORIES 64
#define DSTACK_ADVISORY_SIZE 32

/** Advisory ids in order, without repetition; zero-terminated texts. */
typedef struct dstack_advisories {
    size_t count;
    char ids[DSTACK_MAX_ADVISORIES][DSTACK_ADVISORY_SIZE];
} dstack_advisories;

/** A flag of the PCK certificate that not every certificate has. */
typedef enum dstack_pck_flag {
    DSTACK_PCK_FLAG_UNDEFINED,
    DSTACK_PCK_FLAG_FALSE,
    DSTACK_PCK_FLAG_TRUE,
} dstack_pck_flag;

/** What the PCK certificate says about the platform. */
typedef struct dstack_pck_info {
    uint8_t ppid[16]; /**< Identifies the platform. */
    uint8_t cpu_svn[16];
    uint8_t components[16]; /**< The component SVNs that TCB levels are matched with. */
    uint16_t pce_svn;
    uint8_t pce_id[2];
    uint8_t fmspc[6];
    uint16_t sgx_type; /**< 0 standard, 1 scalable, 2 scalable with integrity. */
    bool has_platform_instance_id;
    uint8_t platform_instance_id[16];
    dstack_pck_flag dynamic_platform;
    dstack_pck_flag cached_keys;
    dstack_pck_flag smt_enabled;
} dstack_pck_info;

/** The root that everything in a report rests on. */
typedef struct dstack_anchor_info {
    char name[64];           /**< "intel-sgx-root-ca", or the name that the operator gave. */
    bool builtin;            /**< Intel's root; false: one that the operator pinned. */
    uint8_t cert_sha256[32]; /**< SHA-256 of the DER certificate. */
    uint8_t key_id[48];      /**< SHA-384 of its public key, 04 ‖ x ‖ y. */
} dstack_anchor_info;

/** The result of a successful verification: a plain value, holding nothing. */
typedef struct dstack_quote_report {
    uint32_t tee_type; /**< DSTACK_QUOTE_TEE_* */
    uint16_t quote_version;
    dstack_quote_body body_type;
    size_t body_size;
    uint8_t header[48];     /**< dstack_quote_header */
    uint8_t body[648];      /**< dstack_td_report (and _15) or dstack_enclave_report */
    uint8_t qe_report[384]; /**< dstack_enclave_report */

    dstack_tcb_status status;          /**< Platform, module and quoting enclave merged. */
    dstack_tcb_status platform_status; /**< Platform level merged with the TDX module's. */
    dstack_tcb_status qe_status;
    dstack_advisories advisories; /**< Platform's, then the module's, then the QE's. */
    dstack_advisories platform_advisories;
    dstack_advisories qe_advisories;
    bool relaunch_advised; /**< TDX 1.5: the module was updated to a good level after launch. */
    char shortfall[256]; /**< Which components keep the platform from UpToDate, have and need; "" if
                            none. */

    dstack_pck_info pck;
    dstack_anchor_info anchor;
    uint32_t compat_used; /**< DSTACK_COMPAT_* rules that this quote or its collateral breaks. */

    uint32_t tcb_eval_data_number; /**< The lower of the two below. */
    uint32_t platform_eval_data_number;
    uint32_t qe_eval_data_number;
    bool has_platform_tcb_date, has_qe_tcb_date; /**< False when the date is not RFC 3339. */
    int64_t platform_tcb_date; /**< tcbDate of the matched levels, UNIX seconds. */
    int64_t qe_tcb_date;
    uint32_t root_ca_crl_number, pck_crl_number; /**< 0 when absent. */
    /** Over texts, lists and all certificates that were used, the anchor included. */
    int64_t earliest_issue_date, latest_issue_date, earliest_expiration_date;
    /** Over the QE identity, its path and the anchor. */
    int64_t qe_earliest_issue_date, qe_latest_issue_date, qe_earliest_expiration_date;
} dstack_quote_report;

/** A trust anchor that the operator pins. */
typedef struct dstack_trust_root {
    const char *name;  /**< Shown in reports; at most 63 bytes. */
    dstack_bytes cert; /**< One self-issued CA certificate, DER. */
} dstack_trust_root;

typedef enum dstack_names_rule {
    DSTACK_NAMES_DEFAULT, /**< Names of Intel's PKI are demanded under Intel's root alone. */
    DSTACK_NAMES_ENFORCE,
    DSTACK_NAMES_ANY,
} dstack_names_rule;

/**
 * Rules of Intel's, or of common sense, that the reference verifier (dcap-qvl) does not have. All
 * of them stand unless waived one by one; a report says which ones a quote would have failed.
 */
enum {
    DSTACK_COMPAT_ANCHOR_DATES = 1 << 0,      /**< The root's own dates are not looked at. */
    DSTACK_COMPAT_TD_ATTRIBUTES = 1 << 1,     /**< Bit 39 of the TD attributes may be set. */
    DSTACK_COMPAT_CRL_NOT_YET_VALID = 1 << 2, /**< A list may be from the future. */
    DSTACK_COMPAT_CRL_SWAPPED = 1 << 3,       /**< Each list may be in the other's member. */
    DSTACK_COMPAT_COMPONENT_COUNT = 1 << 4,   /**< Levels that are not 16 components long match
                                                   nothing, and refuse nothing. */
    DSTACK_COMPAT_NO_IDENTITIES = 1 << 5,     /**< Without module identities the module passes. */
    DSTACK_COMPAT_CERTIFICATE_NAMES = 1 << 6, /**< Any certificate under the root signs anything. */
    DSTACK_COMPAT_KEY_USAGE = 1 << 7,         /**< CAs without keyCertSign. */
    DSTACK_COMPAT_MASKED_IDENTITY = 1 << 8,   /**< QE identity: expected values are masked too. */
    DSTACK_COMPAT_TCB_INFO_KIND = 1 << 9,     /**< PCEID, tcbType, and versions from 2 on. */
    DSTACK_COMPAT_QUOTE_SLACK = 1 << 10,      /**< Bytes that are not zero after the quote's parts,
                                                   any outer type, any stated body size. */
    DSTACK_COMPAT_SIGNATURE_SIZE = 1 << 11,   /**< Collateral signatures of 65 bytes, s being 33
                                                   with a zero. */
    DSTACK_COMPAT_ALL = (1 << 12) - 1,
};

/** Name of bit @p index, "anchor_dates" for 0; NULL after the last. */
DSTACK_API const char *dstack_compat_rule_name(unsigned index);

/** Start with all members zero: Intel's root, nothing allowed. Everything is copied. */
typedef struct dstack_verifier_options {
    const dstack_trust_root *roots; /**< Further anchors, for simulated platforms and tests. */
    size_t root_count;
    bool no_builtin_root;  /**< Intel's root is not trusted. */
    bool allow_debug;      /**< Debug TDs and enclaves pass. */
    bool allow_service_td; /**< TDs with a bound service TD pass. */
    dstack_names_rule names;
    uint32_t compat; /**< DSTACK_COMPAT_* rules that are waived. */
} dstack_verifier_options;

typedef struct dstack_verifier dstack_verifier;

/**
 * A new verifier. @p options may be NULL.
 *
 * @return 0, DSTACK_E_DCAP_ROOT_CA_FORMAT, DSTACK_E_ARGUMENT (no root at all, a name too long) or
 *         DSTACK_E_MEMORY.
 */
DSTACK_API int dstack_verifier_new(dstack_verifier **out, const dstack_verifier_options *options,
                                   dstack_error *err);
/** Accepts NULL. No call on it may be under way. */
DSTACK_API void dstack_verifier_free(dstack_verifier *verifier);

/**
 * Gives the verifier collateral to choose from; it keeps a reference. An earlier bundle for the
 * same TEE, FMSPC, PCK CA and root certificate list issuer key is replaced. At most 256 are kept,
 * the oldest makes room. Verification happens at the first check that uses it. A PCK chain in it is
 * set aside for quotes that carry their own.
 *
 * @return 0, DSTACK_E_DCAP_TCB_INFO_FORMAT or DSTACK_E_MEMORY.
 */
DSTACK_API int dstack_verifier_add_collateral(dstack_verifier *verifier,
                                              dstack_collateral *collateral, dstack_error *err);

/**
 * Verifies a bundle by itself, as far as that goes without a quote: root list, TCB info and QE
 * identity with their chains, and the PCK list under the chain that came with it, at @p now. What
 * was verified is kept for the checks that use this bundle.
 *
 * @return 0, or the DSTACK_E_DCAP_* of the first check that refused.
 */
DSTACK_API int dstack_verifier_check_collateral(dstack_verifier *verifier,
                                                dstack_collateral *collateral, int64_t now,
                                                dstack_error *err);

/** What the caller demands of the quote beyond its truth. Start with all members zero. */
typedef struct dstack_quote_expectations {
    const uint8_t *report_data; /**< 64 bytes that the quote must carry; NULL: any. */
    const dstack_policy
        *policy; /**< NULL: every status but Revoked passes, and the caller judges. */
} dstack_quote_expectations;

/**
 * Verifies a quote against collateral added before.
 *
 * @param quote         binary.
 * @param expectations  may be NULL.
 * @param now           UNIX seconds: the one time for all checks.
 * @param report        filled on success, and when only expectations refused; may be NULL.
 * @return 0; DSTACK_E_DCAP_COLLATERAL_NOT_FOUND when no bundle is for this platform; otherwise the
 *         DSTACK_E_DCAP_* of the first check that refused.
 */
DSTACK_API int dstack_verifier_check(dstack_verifier *verifier, dstack_bytes quote,
                                     const dstack_quote_expectations *expectations, int64_t now,
                                     dstack_quote_report *report, dstack_error *err);

/** As dstack_verifier_check, against this collateral and no other. A PCK chain in it is used in
 * place of the quote's. The verifier keeps what it verified. */
DSTACK_API int dstack_verifier_check_with(dstack_verifier *verifier, dstack_bytes quote,
                                          dstack_collateral *collateral,
                                          const dstack_quote_expectations *expectations,
                                          int64_t now, dstack_quote_report *report,
                                          dstack_error *err);

/** One quote of a batch. Start with all members zero but those that are set. */
typedef struct dstack_quote_check {
    dstack_bytes quote;            /**< In: binary. */
    dstack_collateral *collateral; /**< In: this one and no other; NULL: what was added. */
    const dstack_quote_expectations *expectations; /**< In: may be NULL. */
    dstack_quote_report *report;                   /**< In: where the report goes; may be NULL. */
    int result;         /**< Out: what dstack_verifier_check would have returned. */
    dstack_error error; /**< Out: why, where result is not 0. */
} dstack_quote_check;

/** Most threads that dstack_verifier_check_many uses, the caller's included. */
#define DSTACK_CHECK_MANY_MAX_THREADS 64

/**
 * Verifies many quotes on many cores: each as dstack_verifier_check or dstack_verifier_check_with
 * does, with the same verdict. The calling thread works too; the others live as long as the call.
 *
 * @param threads  how many work at most, the caller included; 0: one for each core that the calling
 *                 thread may run on. Never more than DSTACK_CHECK_MANY_MAX_THREADS, nor than one
 *                 for eight quotes.
 * @return 0 when every quote passed; otherwise the result of the first in order that did not.
 *         All of them have been judged either way.
 */
DSTACK_API int dstack_verifier_check_many(dstack_verifier *verifier, dstack_quote_check *checks,
                                          size_t count, int64_t now, unsigned threads,
                                          dstack_error *err);

/** True when the verifier has collateral for the platform of this quote that is still within its
 * dates at @p now: a caller need not fetch any. */
DSTACK_API bool dstack_verifier_has_collateral(dstack_verifier *verifier, dstack_bytes quote,
                                               int64_t now);

/**
 * How many bundles of collateral the verifier keeps, and when the first of them ends. Nothing is
 * verified.
 *
 * @param until  UNIX seconds, the last in which that bundle serves; 0 when there is none.
 */
DSTACK_API size_t dstack_verifier_collateral_count(dstack_verifier *verifier, int64_t *until);

/**
 * The further demands dstack makes of a workload: no debug mode, a TDX module signed by Intel (zero
 * mr_signer_seam), no service TD.
 *
 * @return 0, DSTACK_E_DCAP_DEBUG, DSTACK_E_DCAP_MODULE_SIGNER or DSTACK_E_DCAP_SERVICE_TD.
 */
DSTACK_API int dstack_quote_report_check_workload(const dstack_quote_report *report,
                                                  dstack_error *err);

/** The TD report of a verified quote, or NULL for SGX; borrowed from the report. */
DSTACK_API const dstack_td_report *dstack_quote_report_td(const dstack_quote_report *report);
/** The 64 bytes of report data; borrowed from the report. */
DSTACK_API dstack_bytes dstack_quote_report_data_of(const dstack_quote_report *report);

/** Appends the report as one JSON object. @return 0 or DSTACK_E_MEMORY. */
DSTACK_API int dstack_quote_report_to_json(const dstack_quote_report *report, bool pretty,
                                           dstack_buf *out, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
