/**
 * @file attestation.h
 * @brief The attestation envelope: evidence, event log, identity, and their verification.
 *
 * An attestation carries a platform's evidence (for Intel TDX: a quote and the boot event log), the
 * runtime events that the guest measured, the report data that the evidence binds, and the
 * configuration text of the virtual machine. Two wire forms exist: version 0 (SCALE) and version 1
 * (MessagePack); their first byte tells them apart.
 *
 * Decoding proves nothing. Only what `dstack_attestation_verify()` returns has been checked, and
 * every claim there names the anchor that its trust rests on.
 */
#ifndef DSTACK_ATTESTATION_H
#define DSTACK_ATTESTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dstack_policy;
struct dstack_quote_report;
struct dstack_nitro_verdict;
struct dstack_snp_verdict;
struct dstack_tpm_collateral;
struct dstack_tpm_verdict;
struct dstack_verifier;

/** Bytes of report data that evidence binds. */
#define DSTACK_REPORT_DATA_SIZE 64
/** Bytes of a measurement register. */
#define DSTACK_REGISTER_SIZE 48
/** Event type of everything that the guest itself measures into register 3. */
#define DSTACK_RUNTIME_EVENT_TYPE 0x08000001u
/** The register that runtime events extend. */
#define DSTACK_RUNTIME_REGISTER 3
/** Longest encoded attestation that is read. */
#define DSTACK_ATTESTATION_MAX_SIZE ((size_t)10 << 20)
/** Most events in one list, and most bytes of one payload. */
#define DSTACK_EVENTS_MAX 65536

/** The kind of evidence. Numbers are those of the version 0 wire form. */
typedef enum dstack_tee_variant {
    DSTACK_TEE_TDX = 0,
    DSTACK_TEE_GCP_TDX = 1,
    DSTACK_TEE_NITRO_ENCLAVE = 2,
    DSTACK_TEE_SEV_SNP = 3,
    DSTACK_TEE_AWS_NITRO_TPM = 4,
} dstack_tee_variant;

/** "dstack-tdx", "dstack-gcp-tdx", ...; "unknown" for other values. */
DSTACK_API const char *dstack_tee_variant_name(dstack_tee_variant variant);

/* ---- report data ------------------------------------------------------------------------------ */

/**
 * Report data for tagged content: hash(tag ‖ ":" ‖ content), zeros after it. `algorithm` is NULL or
 * "" for SHA-512, else one of sha256 sha384 sha512 sha3-256 sha3-384 sha3-512 keccak256 keccak384
 * keccak512, or "raw": then `tag` is not used and `content` is the 64 bytes themselves.
 * DSTACK_E_ARGUMENT for another name or, with "raw", another length.
 *
 * Tags: "ratls-cert" (SubjectPublicKeyInfo of a certificate), "kms-root-ca", "zt-cert",
 * "acme-account", "app-data", "dstack-evidence", or the caller's own.
 */
DSTACK_API int dstack_report_data(const char *tag, const char *algorithm, dstack_bytes content,
                                  uint8_t out[DSTACK_REPORT_DATA_SIZE], dstack_error *err);

/** Up to 64 bytes, zeros after them. DSTACK_E_ARGUMENT when longer. */
DSTACK_API int dstack_report_data_pad(dstack_bytes data, uint8_t out[DSTACK_REPORT_DATA_SIZE],
                                      dstack_error *err);

/* ---- event log -------------------------------------------------------------------------------- */

/** One event. All pointers borrow: from the log it was read from, or, for adding, from the caller. */
typedef struct dstack_event {
    uint32_t imr;         /**< Register, counted from 0. Runtime events: 3. */
    uint32_t type;        /**< Runtime events: DSTACK_RUNTIME_EVENT_TYPE. */
    uint32_t version;     /**< Digest format of a runtime event: 1 or 2. 1 for all others. */
    dstack_bytes digest;  /**< Stored digest; empty when it was left out. */
    const char *name;     /**< UTF-8 without zero bytes; "" for events of firmware and loader. */
    dstack_bytes payload; /**< May be empty. */
    const char *preimage; /**< Hex text of what was hashed, or NULL. */
} dstack_event;

/** An ordered list of events. */
typedef struct dstack_event_log dstack_event_log;

/** NULL when memory cannot be had. */
DSTACK_API dstack_event_log *dstack_event_log_new(void);
/** Accepts NULL. */
DSTACK_API void dstack_event_log_free(dstack_event_log *log);
DSTACK_API size_t dstack_event_log_count(const dstack_event_log *log);
/** Fills `event` and returns true while `index` is below the count. */
DSTACK_API bool dstack_event_log_get(const dstack_event_log *log, size_t index,
                                     dstack_event *event);
/** Appends a copy. */
DSTACK_API int dstack_event_log_add(dstack_event_log *log, const dstack_event *event,
                                    dstack_error *err);
/** Appends a runtime event without digest. `version` 1 or 2. */
DSTACK_API int dstack_event_log_add_runtime(dstack_event_log *log, const char *name,
                                            dstack_bytes payload, uint32_t version,
                                            dstack_error *err);
/** Appends copies of all events of `more`. */
DSTACK_API int dstack_event_log_append(dstack_event_log *log, const dstack_event_log *more,
                                       dstack_error *err);
/** Fills the SHA-384 digest of every runtime event and, for version 2, the preimage text. */
DSTACK_API int dstack_event_log_fill_digests(dstack_event_log *log, dstack_error *err);

/** The JSON array of events (at most 16 MiB). The caller frees `*out`. */
DSTACK_API int dstack_event_log_parse_json(dstack_bytes text, dstack_event_log **out,
                                           dstack_error *err);
/** Appends the compact JSON array: keys imr, event_type, digest, event, event_payload. */
DSTACK_API int dstack_event_log_to_json(const dstack_event_log *log, dstack_buf *out,
                                        dstack_error *err);
/** As above, in the short form that goes beside a quote: payloads of firmware events are left out
 * (but for the markers of ACPI tables), and digests of version 1 runtime events, which a reader
 * recomputes. */
DSTACK_API int dstack_event_log_to_quote_json(const dstack_event_log *log, dstack_buf *out,
                                              dstack_error *err);
/** The firmware's event log (ACPI table CCEL, TCG PC Client crypto-agile format). */
DSTACK_API int dstack_event_log_parse_ccel(dstack_bytes table, dstack_event_log **out,
                                           dstack_error *err);
/** The guest's file of runtime events: one JSON object {"event","payload" (base64)[,"version"]} per
 * line. Blank lines are ignored; empty text gives an empty log. */
DSTACK_API int dstack_event_log_parse_runtime(dstack_bytes text, dstack_event_log **out,
                                              dstack_error *err);
/** Appends one such line, line feed included. */
DSTACK_API int dstack_runtime_event_line(const char *name, dstack_bytes payload, uint32_t version,
                                         dstack_buf *out, dstack_error *err);

/**
 * Appends what is hashed for a runtime event. Version 1: u32le(type) ‖ ":" ‖ name ‖ ":" ‖ payload;
 * version 2: the RFC 8785 form of {"name", "payload" (hex), "type"}.
 */
DSTACK_API int dstack_runtime_event_preimage(const char *name, dstack_bytes payload,
                                             uint32_t version, dstack_buf *out, dstack_error *err);
/** SHA-384 of the preimage: what extends register 3. */
DSTACK_API int dstack_runtime_event_digest(const char *name, dstack_bytes payload, uint32_t version,
                                           uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err);

/** The four registers as a log gives them. */
typedef struct dstack_registers {
    uint8_t rtmr[4][DSTACK_REGISTER_SIZE];
    bool complete[4]; /**< Every event of that register had a usable digest. */
} dstack_registers;

/** Replays a log from zero registers. Digests of runtime events are recomputed, never believed.
 * Events with other register numbers are DSTACK_E_FORMAT. */
DSTACK_API int dstack_event_log_replay(const dstack_event_log *log, dstack_registers *out,
                                       dstack_error *err);
/** Replays the runtime events (others are ignored) up to and with the first one named `stop`, or
 * all when NULL. */
DSTACK_API int dstack_event_log_replay_runtime(const dstack_event_log *log, const char *stop,
                                               uint8_t out[DSTACK_REGISTER_SIZE],
                                               dstack_error *err);

/* ---- envelope --------------------------------------------------------------------------------- */

/** A decoded attestation; immutable, may be shared among threads. */
typedef struct dstack_attestation dstack_attestation;

typedef enum dstack_attestation_form {
    DSTACK_ATTESTATION_LEGACY_CHOICE, /**< Version 0 unless something needs version 1. */
    DSTACK_ATTESTATION_V0,            /**< SCALE; refused when it cannot hold the content. */
    DSTACK_ATTESTATION_V1,            /**< MessagePack. */
    DSTACK_ATTESTATION_AS_DECODED,    /**< The form that it was decoded from. */
} dstack_attestation_form;

/** Decodes either form. DSTACK_E_FORMAT, DSTACK_E_LIMIT (10 MiB). */
DSTACK_API int dstack_attestation_decode(dstack_bytes encoded, dstack_attestation **out,
                                         dstack_error *err);
/** Appends the canonical encoding. DSTACK_E_UNSUPPORTED when version 0 cannot represent it. */
DSTACK_API int dstack_attestation_encode(const dstack_attestation *attestation,
                                         dstack_attestation_form form, dstack_buf *out,
                                         dstack_error *err);
/** From the older pair of a TDX quote and the JSON text of its event log. Runtime events are those
 * of register 3; a runtime event in another register is refused. */
DSTACK_API int dstack_attestation_from_quote(dstack_bytes quote, dstack_bytes event_log_json,
                                             dstack_attestation **out, dstack_error *err);
/** Builds one from TDX evidence; everything is copied. `log` is the full log: firmware events, then
 * the runtime events. `config` is the vm_config text, may be "". Report data is taken from the
 * quote. */
DSTACK_API int dstack_attestation_new_tdx(dstack_bytes quote, const dstack_event_log *log,
                                          const dstack_event_log *runtime, const char *config,
                                          dstack_attestation **out, dstack_error *err);
/** A copy as certificates carry it: only the events that a relying party needs. Version 2 runtime
 * events keep digest and preimage (both are filled in where they were missing). */
DSTACK_API int dstack_attestation_strip(const dstack_attestation *attestation,
                                        dstack_attestation **out, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_attestation_free(dstack_attestation *attestation);

DSTACK_API dstack_tee_variant dstack_attestation_variant(const dstack_attestation *attestation);
/** The evidence: TDX quote, SNP report, or COSE document. Borrowed. */
DSTACK_API dstack_bytes dstack_attestation_evidence(const dstack_attestation *attestation);
/** Boot event log; NULL where the platform has none. Borrowed. */
DSTACK_API const dstack_event_log *
dstack_attestation_event_log(const dstack_attestation *attestation);
/** Runtime events. Borrowed, never NULL. */
DSTACK_API const dstack_event_log *
dstack_attestation_runtime_events(const dstack_attestation *attestation);
/** 64 bytes, borrowed. */
DSTACK_API dstack_bytes dstack_attestation_report_data(const dstack_attestation *attestation);
/** Configuration text, borrowed. */
DSTACK_API const char *dstack_attestation_config(const dstack_attestation *attestation);
/** Appends a JSON rendering of everything decoded, for people. */
DSTACK_API int dstack_attestation_to_json(const dstack_attestation *attestation, dstack_buf *out,
                                          dstack_error *err);

/* ---- identity --------------------------------------------------------------------------------- */

/** Most init scripts a manifest may have. */
#define DSTACK_INIT_SCRIPTS_MAX 5

/** A short value: `len` bytes of `data` count. */
typedef struct dstack_value {
    uint8_t data[64];
    size_t len;
} dstack_value;

/** Who runs there. Whether it is proved depends on where it came from. */
typedef struct dstack_identity {
    dstack_value app_id;          /**< 20 bytes. */
    dstack_value compose_hash;    /**< 32 bytes: SHA-256 of the manifest file. */
    dstack_value instance_id;     /**< 20 bytes, or empty when the manifest has no_instance_id. */
    dstack_value device_id;       /**< 32 bytes: SHA-256 of the platform's identifier. */
    dstack_value mr_system;       /**< 32 bytes: firmware, kernel, image and key provider. */
    dstack_value mr_aggregated;   /**< 32 bytes: all of that and the runtime events. */
    dstack_value os_image_hash;   /**< 32 bytes, or empty. */
    char key_provider_info[1024]; /**< JSON text {"name","id"}, or "". */
    bool has_init_scripts;        /**< False: not told (older encodings). */
    size_t init_script_count;
    dstack_value init_scripts[DSTACK_INIT_SCRIPTS_MAX]; /**< 32 bytes each. */
} dstack_identity;

/** Claims as the attestation states them, nothing verified: for display, and for what a certificate
 * issuer writes. `boot_time` takes the registers at the end of the boot. `vm_config` is a text from
 * outside, or NULL for the one inside. */
DSTACK_API int dstack_attestation_identity(const dstack_attestation *attestation, bool boot_time,
                                           const char *vm_config, dstack_identity *out,
                                           dstack_error *err);
/** Appends the MessagePack form that certificates carry. */
DSTACK_API int dstack_identity_encode(const dstack_identity *identity, dstack_buf *out,
                                      dstack_error *err);
/** Reads that form. `*present` is false for the encoding of "none". */
DSTACK_API int dstack_identity_decode(dstack_bytes encoded, dstack_identity *out, bool *present,
                                      dstack_error *err);
/** Appends the JSON form (hex values; keys app_id, compose_hash, instance_id, device_id, mr_system,
 * mr_aggregated, os_image_hash, key_provider_info, init_script_hashes). */
DSTACK_API int dstack_identity_to_json(const dstack_identity *identity, dstack_buf *out,
                                       dstack_error *err);
/** The key provider's name and id out of key_provider_info. `id` is cleared when it has none. */
DSTACK_API int dstack_identity_key_provider(const dstack_identity *identity, char name[32],
                                            dstack_buf *id, dstack_error *err);

/** The instance id: first 20 bytes of SHA-256(seed ‖ app_id ‖ binding). `binding` is empty except
 * on platforms whose disks can move between machines. */
DSTACK_API int dstack_instance_id(dstack_bytes seed, dstack_bytes app_id, dstack_bytes binding,
                                  uint8_t out[20], dstack_error *err);

/* ---- launch-time binding (MR_CONFIG_ID) ------------------------------------------------------- */

typedef enum dstack_key_provider {
    DSTACK_KEY_PROVIDER_NONE = 0,
    DSTACK_KEY_PROVIDER_LOCAL = 1,
    DSTACK_KEY_PROVIDER_KMS = 2,
    DSTACK_KEY_PROVIDER_TPM = 3,
} dstack_key_provider;

/** What the host bound at launch, or what the guest found. Unset fields are empty. */
typedef struct dstack_mr_config {
    dstack_bytes app_id;          /**< 20 bytes. */
    dstack_bytes compose_hash;    /**< 32 bytes. */
    dstack_bytes gpu_policy_hash; /**< 32 bytes or empty. */
    dstack_bytes instance_id;     /**< 20 bytes or empty. */
    dstack_key_provider key_provider;
    dstack_bytes key_provider_id;
    const dstack_bytes *init_script_hashes;
    size_t init_script_count;
    bool has_init_scripts; /**< The list is stated (it may be empty). */
} dstack_mr_config;

/** The 48-byte MR_CONFIG_ID of version 1 or 2. */
DSTACK_API int dstack_mr_config_id(const dstack_mr_config *config, unsigned version,
                                   uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err);
/** Appends the version 3 document (RFC 8785 form). */
DSTACK_API int dstack_mr_config_document(const dstack_mr_config *config, dstack_buf *out,
                                         dstack_error *err);
/** MR_CONFIG_ID of a version 3 document, over its exact bytes. */
DSTACK_API void dstack_mr_config_document_id(dstack_bytes document,
                                             uint8_t out[DSTACK_REGISTER_SIZE]);
/** Whether a MR_CONFIG_ID agrees with what the guest found. All zero is "unset" and agrees;
 * `*bound` tells which it was. `document` is needed for version 3. DSTACK_E_REFUSED otherwise. */
DSTACK_API int dstack_mr_config_check(const uint8_t id[DSTACK_REGISTER_SIZE], dstack_bytes document,
                                      const dstack_mr_config *local, bool *bound,
                                      dstack_error *err);

/* ---- verification ----------------------------------------------------------------------------- */

/** What a claim's trust rests on. */
typedef enum dstack_anchor {
    DSTACK_ANCHOR_NONE,     /**< Nothing: not established. */
    DSTACK_ANCHOR_MEASURED, /**< In the hardware's signed evidence, or replayed against it. */
    DSTACK_ANCHOR_REFERENCE_IMAGE, /**< Recomputed from an image that the caller supplied. */
    DSTACK_ANCHOR_POLICY,          /**< Allowed by the caller's own policy. */
    DSTACK_ANCHOR_SELF_ASSERTED,   /**< The prover's word, at most consistent with itself. */
} dstack_anchor;

/** "none", "measured", "reference-image", "policy", "self-asserted". */
DSTACK_API const char *dstack_anchor_name(dstack_anchor anchor);

/** The registers and configuration that an image check is asked about. What a platform does not
 * have is NULL. */
typedef struct dstack_image_question {
    const uint8_t *mrtd;               /**< TDX: 48 bytes. */
    const uint8_t *rtmr[3];            /**< TDX: RTMR0 to RTMR2, 48 bytes each. */
    const char *vm_config;             /**< JSON text (already unwrapped). */
    const dstack_event_log *event_log; /**< TDX: as carried; may be stripped. */
    dstack_tee_variant variant;        /**< Whose measurements these are. */
    const uint8_t *launch_digest;      /**< SEV-SNP: 48 bytes. */
    const uint8_t *host_data;          /**< SEV-SNP: 32 bytes. */
    const uint8_t *image_hash;   /**< Nitro Enclave: SHA-256(PCR0 ‖ PCR1 ‖ PCR2), 32 bytes. */
    const uint8_t *boot_pcrs[3]; /**< NitroTPM: PCR4, PCR7, PCR12, 48 bytes each. */
    const uint8_t *gcp_pcr0;     /**< GCP: SHA-256 PCR0, the firmware: 32 bytes. */
    const uint8_t *gcp_uki;      /**< GCP: the third event of PCR2, the unified kernel image: 32
                                    bytes. NULL when the log that replays to PCR2 has no such event. */
} dstack_image_question;

/**
 * Decides whether registers are those of a known operating system image: computes what they must be
 * and compares. Returns 0 and sets `*anchor` (REFERENCE_IMAGE when the caller's own image or
 * document decided, SELF_ASSERTED when only a document that the prover itself brought was
 * consistent) and the 32-byte `image_hash`; or an error, which fails the verification.
 */
typedef int (*dstack_image_check)(void *user, const dstack_image_question *question,
                                  dstack_anchor *anchor, uint8_t image_hash[32], dstack_error *err);

/** Gives collateral for a quote to the verifier (by dstack_verifier_add_collateral()), when the
 * verifier needs it. */
typedef int (*dstack_collateral_source)(void *user, struct dstack_verifier *verifier,
                                        dstack_bytes quote, dstack_error *err);

/** Gives what the path of a vTPM's attestation key needs (see dstack/tpm.h). `out` is zeroed. It is
 * asked only after the quote's signature was found to be that key's. */
typedef int (*dstack_tpm_collateral_source)(void *user, dstack_bytes ak_cert,
                                            struct dstack_tpm_collateral *out, dstack_error *err);

/** Roots that replace the vendors' own, each one DER certificate; an empty one is the vendor's.
 * Intel's is an option of the verifier (dstack/verifier.h). All are borrowed for the call. */
typedef struct dstack_platform_roots {
    dstack_bytes snp_milan, snp_genoa, snp_turin; /**< AMD's root keys (ARK), by product. */
    dstack_bytes nitro_enclave, nitro_tpm;        /**< AWS's. */
    dstack_bytes gcp_tpm;                         /**< Google's, of vTPM attestation keys. */
} dstack_platform_roots;

struct dstack_snp_options;
struct dstack_snp_certs;

/** Completes the certificates for an SEV-SNP report (dstack/snp.h): VCEK, ASK, revocation list.
 * dstack_snp_certs_fetch() does it. */
typedef int (*dstack_snp_certs_source)(void *user, dstack_bytes report,
                                       const struct dstack_snp_options *options,
                                       struct dstack_snp_certs *certs, dstack_error *err);

typedef struct dstack_attestation_options {
    int64_t now;                         /**< UNIX seconds. */
    const uint8_t *report_data;          /**< 64 bytes that must be bound; NULL: any. */
    const char *vm_config;               /**< Text from outside, or NULL for the one inside. */
    bool boot_time;                      /**< Identity with the registers at the end of the boot. */
    bool require_mr_config;              /**< Refuse an unset MR_CONFIG_ID. */
    const struct dstack_policy *policy;  /**< TCB policy; NULL: every status but Revoked passes, and
                                             the caller judges. */
    dstack_collateral_source collateral; /**< May be NULL: the verifier has it already. */
    void *collateral_user;
    /** Asked when SEV-SNP evidence comes without certificates, and for a revocation list when that is
     * required; NULL: such evidence is refused. */
    dstack_snp_certs_source snp_certs;
    void *snp_certs_user;
    bool snp_require_crl;     /**< SEV-SNP passes only with a revocation list of AMD's root. */
    dstack_image_check image; /**< May be NULL: the image claim stays self-asserted. */
    void *image_user;
    const dstack_platform_roots *roots; /**< Roots of other vendors than Intel; NULL: their own. */
    dstack_tpm_collateral_source
        tpm_collateral; /**< GCP; NULL: the root itself must have issued the
                                                    attestation key's certificate. */
    void *tpm_collateral_user;
    bool self_asserted_identity; /**< Nitro Enclaves: take app id, instance id and key provider from
                                      the sender's events, which nothing binds; their claims say
                                      so. False: leave them empty. */
} dstack_attestation_options;

/** One claim of a verified attestation. Borrowed from it. */
typedef struct dstack_attestation_claim {
    const char *name;  /**< "app_id", "compose_hash", "tcb_status", ... */
    const char *value; /**< Text; hex for bytes. */
    dstack_anchor anchor;
} dstack_attestation_claim;

/** The result of a verification; immutable. */
typedef struct dstack_verified dstack_verified;

/**
 * Verifies an attestation end to end: vendor signature chain, collateral and TCB of the quote;
 * replay of the event log against the signed registers; the stated report data against the signed
 * and, where given, the expected one; the image, when a check is given. The two event lists must
 * agree; a trusted claim that occurs twice, a claim of the wrong length, a runtime event outside
 * register 3 are refused. Returns the verified facts in `*out`, which the caller frees.
 *
 * Fails with DSTACK_E_REFUSED and a message naming the check, or with the quote verifier's status.
 * DSTACK_E_UNSUPPORTED for platforms that are not known.
 *
 * GCP evidence is a TDX quote and a quote of the machine's vTPM over its hash. The runtime events
 * must replay to both, register 3 and PCR14; PCR0 and PCR2 tell firmware and image. That the vTPM
 * belongs to the same machine is Google's word: only its quote names the other one.
 *
 * `verifier` may be NULL where the evidence holds no Intel quote.
 *
 * SEV-SNP has no registers that grow at run time: who runs there is told by the configuration
 * document whose hash is in the signed HOST_DATA, and events that came along are ignored.
 *
 * The policy decides which TCB levels pass; the status found is a claim.
 */
DSTACK_API int dstack_attestation_verify(struct dstack_verifier *verifier,
                                         const dstack_attestation *attestation,
                                         const dstack_attestation_options *options,
                                         dstack_verified **out, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_verified_free(dstack_verified *verified);
DSTACK_API dstack_tee_variant dstack_verified_variant(const dstack_verified *verified);
/** Borrowed. */
DSTACK_API const dstack_identity *dstack_verified_identity(const dstack_verified *verified);
/** 64 bytes, borrowed. */
DSTACK_API dstack_bytes dstack_verified_report_data(const dstack_verified *verified);
/** "UpToDate", "OutOfDate", ... as the vendor names them. */
DSTACK_API const char *dstack_verified_tcb_status(const dstack_verified *verified);
DSTACK_API size_t dstack_verified_advisory_count(const dstack_verified *verified);
DSTACK_API const char *dstack_verified_advisory(const dstack_verified *verified, size_t index);
/** The quote verifier's report (dstack/verifier.h); NULL where the evidence is no Intel quote.
 * Borrowed. */
DSTACK_API const struct dstack_quote_report *dstack_verified_quote(const dstack_verified *verified);
/** The document verifier's verdict (dstack/nitro.h); NULL where the evidence is not AWS's.
 * Borrowed. */
DSTACK_API const struct dstack_nitro_verdict *
dstack_verified_nitro(const dstack_verified *verified);
/** The report verifier's verdict (dstack/snp.h); NULL where the evidence is not SEV-SNP's.
 * Borrowed. */
DSTACK_API const struct dstack_snp_verdict *dstack_verified_snp(const dstack_verified *verified);
/** The vTPM's part of GCP evidence (dstack/tpm.h); NULL for all other. Borrowed. */
DSTACK_API const struct dstack_tpm_verdict *dstack_verified_tpm(const dstack_verified *verified);
/** The anchor of the operating system image claim. */
DSTACK_API dstack_anchor dstack_verified_image_anchor(const dstack_verified *verified);
/** True when the registers were found to follow from the image of that hash. False when no check was
 * given: then the hash is a text beside the evidence. */
DSTACK_API bool dstack_verified_image_checked(const dstack_verified *verified);
/** True when the evidence chains to a root that the operator pinned instead of the vendor's. */
DSTACK_API bool dstack_verified_external_root(const dstack_verified *verified);
DSTACK_API size_t dstack_verified_claim_count(const dstack_verified *verified);
DSTACK_API bool dstack_verified_claim(const dstack_verified *verified, size_t index,
                                      dstack_attestation_claim *claim);
/** Appends the policy input (camelCase JSON: teeVariant, mrAggregated, osImageHash, mrSystem, appId,
 * composeHash, instanceId, deviceId, keyProviderInfo, tcbStatus, advisoryIds). */
DSTACK_API int dstack_verified_boot_info(const dstack_verified *verified, dstack_buf *out,
                                         dstack_error *err);
/** Appends a JSON report: tee_variant, tcb_status, advisory_ids, report_data, app_info, claims. */
DSTACK_API int dstack_verified_to_json(const dstack_verified *verified, dstack_buf *out,
                                       dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
