/**
 * @file tee.h
 * @brief The trusted execution environment that this process runs in: registers, quotes, extension.
 *
 * A provider is opened by URL:
 *
 * | URL | provider |
 * |---|---|
 * | `auto` | the simulated one when the caller pinned a simulation root, else real TDX |
 * | `tdx` | Intel TDX guest: TSM reports in configfs, registers in sysfs or by `/dev/tdx_guest` |
 * | `sim:unix:PATH` | simulated TDX served on a unix socket |
 * | `sim:port:PATH` | simulated TDX behind a virtio-serial port, `/dev/virtio-ports/org.dstack.tee.0` |
 *
 * Simulated evidence has the real formats; only its trust root differs. A simulated provider opens
 * only when the caller pins the root certificate it must answer under, and each of its quotes is
 * held to that root before it is handed out.
 *
 * One object serves one thread at a time. No call waits longer than the deadline in the options.
 */
#ifndef DSTACK_TEE_H
#define DSTACK_TEE_H

#include <dstack/bytes.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Size of MRTD, of each RTMR and of an event digest: SHA-384. */
#define DSTACK_TEE_REGISTER_SIZE 48
/** Size of the caller's data in a quote. */
#define DSTACK_TEE_REPORT_DATA_SIZE 64
/** RTMR0 to RTMR3. */
#define DSTACK_TEE_RTMR_COUNT 4
/** The virtio-serial port of the simulated platform. */
#define DSTACK_TEE_SIM_PORT "/dev/virtio-ports/org.dstack.tee.0"

typedef struct dstack_tee dstack_tee;

typedef struct dstack_tee_options {
    /** DER of the only simulation root under which a simulated provider may answer. Empty: none may.
     * Copied. A guest takes it through `dstack_tee_sim_accept_root()`. */
    dstack_bytes sim_root;
    /** Longest wait for one answer in milliseconds; 0 means 30000. */
    int64_t timeout_ms;
} dstack_tee_options;

/** The registers as they stand now. */
typedef struct dstack_tee_info {
    const char *provider; /**< "tdx" or "sim"; lives as long as the program. */
    const char *platform; /**< Variant name used in evidence: "dstack-tdx". */
    uint8_t mrtd[DSTACK_TEE_REGISTER_SIZE];
    uint8_t rtmr[DSTACK_TEE_RTMR_COUNT][DSTACK_TEE_REGISTER_SIZE];
    uint8_t
        mr_config_id[DSTACK_TEE_REGISTER_SIZE]; /**< What the host bound at launch; may be zero. */
} dstack_tee_info;

/** Raw material of an attestation; `dstack_tee_report_clear()` releases it. */
typedef struct dstack_tee_report {
    const char *platform; /**< Variant name: "dstack-tdx". */
    dstack_buf quote;     /**< TDX quote over the report data. */
    dstack_buf boot_log; /**< CC event log (TCG PC Client format) that replays to RTMR0 to RTMR2. */
    dstack_tee_info info; /**< Registers as they stand in the quote. */
} dstack_tee_report;

/**
 * Opens a provider. On failure `*out` is NULL.
 * @param url      see the table above
 * @param options  may be NULL (no simulation root, default deadline)
 * @return DSTACK_E_ARGUMENT for an unknown URL; DSTACK_E_REFUSED for a simulated provider without a
 *         pinned root; DSTACK_E_NOT_FOUND when this machine has no such provider; DSTACK_E_IO,
 *         DSTACK_E_NETWORK, DSTACK_E_TIMEOUT, DSTACK_E_FORMAT when it does not answer as it should.
 */
DSTACK_API int dstack_tee_open(const char *url, const dstack_tee_options *options, dstack_tee **out,
                               dstack_error *err);

/** Closes the provider. Accepts NULL. */
DSTACK_API void dstack_tee_close(dstack_tee *tee);

/** "tdx" or "sim". */
DSTACK_API const char *dstack_tee_provider(const dstack_tee *tee);

/** True for a simulated provider: what is made of its evidence must carry the insecure mark. */
DSTACK_API bool dstack_tee_is_simulated(const dstack_tee *tee);

/** Reads the registers as they stand now. */
DSTACK_API int dstack_tee_info_get(dstack_tee *tee, dstack_tee_info *out, dstack_error *err);

/**
 * Extends RTMR `index` (2 or 3: the hardware lets a guest extend no other) with a SHA-384 digest.
 * @param event  name for the provider's own log, at most 128 bytes; may be NULL
 * @return DSTACK_E_ARGUMENT for another index. After any other failure the caller cannot know
 *         whether the register changed; it reads it again before going on.
 */
DSTACK_API int dstack_tee_extend(dstack_tee *tee, uint32_t index,
                                 const uint8_t digest[DSTACK_TEE_REGISTER_SIZE], const char *event,
                                 dstack_error *err);

/** Appends a quote over 64 bytes of report data. A simulated quote whose chain does not end in the
 * pinned root is DSTACK_E_REFUSED. */
DSTACK_API int dstack_tee_quote(dstack_tee *tee,
                                const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                                dstack_buf *quote, dstack_error *err);

/** Appends the boot event log (CCEL): events of RTMR0 to RTMR2. At most 1 MiB. */
DSTACK_API int dstack_tee_boot_log(dstack_tee *tee, dstack_buf *log, dstack_error *err);

/** Quote, boot log and the registers of that very quote in one call. `out` is cleared first. */
DSTACK_API int dstack_tee_evidence(dstack_tee *tee,
                                   const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                                   dstack_tee_report *out, dstack_error *err);

/** Releases what a report holds and zeroes it. Accepts NULL. */
DSTACK_API void dstack_tee_report_clear(dstack_tee_report *report);

/**
 * Decides in a guest whether the simulation root that the host hands over may be used: the measured
 * kernel command line must carry `dstack.sim_root=<SHA-256 of the DER certificate, hex>` exactly
 * once, and the certificate must have that hash. Pure: the caller reads /proc/cmdline and the host
 * share.
 * @param cmdline      text of the kernel command line
 * @param certificate  the host's file: DER, or PEM holding one certificate
 * @param der          the accepted certificate in DER, appended
 * @return DSTACK_E_NOT_FOUND when the command line pins no root (then there is no simulated
 *         provider at all); DSTACK_E_REFUSED when the hash differs or the option is given twice;
 *         DSTACK_E_FORMAT when the option or the certificate cannot be read.
 */
DSTACK_API int dstack_tee_sim_accept_root(const char *cmdline, dstack_bytes certificate,
                                          dstack_buf *der, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
