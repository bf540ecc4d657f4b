/**
 * @file uki.h
 * @brief What a unified kernel image (UKI) must measure to in the PCRs of a TPM.
 *
 * Firmware measures the image that it starts and, through the image's stub, the kernel inside it
 * (TCG PC Client Platform Firmware Profile, section 3.3.4); systemd's stub measures the sections of
 * the image into PCR 11 (UAPI group, "Unified Kernel Image"; systemd, "TPM2 PCR Measurements"). Pure
 * calculators over bytes.
 */
#ifndef DSTACK_UKI_H
#define DSTACK_UKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_UKI_MAX_SIZE ((size_t)256 << 20)
#define DSTACK_UKI_MAX_EVENTS 64
#define DSTACK_UKI_MAX_PCRS 24
/** Bytes of the longest digest. */
#define DSTACK_UKI_DIGEST_SIZE 48

/** A PCR bank. */
typedef enum dstack_pcr_bank {
    DSTACK_PCR_SHA256,
    DSTACK_PCR_SHA384,
} dstack_pcr_bank;

/** 32 or 48; 0 for no bank. */
DSTACK_API size_t dstack_pcr_bank_size(dstack_pcr_bank bank);

/** Where the firmware puts what it starts. */
typedef enum dstack_uki_firmware {
    DSTACK_UKI_UEFI, /**< PCR 4, as the profile has it: AWS, QEMU. */
    DSTACK_UKI_GCP,  /**< PCR 2, after the partition table: Google Cloud. */
} dstack_uki_firmware;

/** Start with all members zero. */
typedef struct dstack_uki_options {
    dstack_pcr_bank bank;
    dstack_uki_firmware firmware;
    dstack_bytes gpt; /**< Google Cloud: the event of the partition table as the firmware hashes it
                         (UEFI_GPT_DATA: header, number of partitions in use, their entries), or its
                         digest alone (gpt_is_digest). Empty: PCR 2 stays unknown. */
    bool gpt_is_digest;
    unsigned stub_version; /**< Of systemd, for images whose stub does not tell; 0: it must tell. */
} dstack_uki_options;

/** One predicted event. */
typedef struct dstack_uki_event {
    uint32_t pcr;
    uint32_t type;      /**< TCG event type. */
    char name[64];      /**< For people. */
    const char *source; /**< What the digest was computed from, for people; static. */
    bool known;         /**< False: the digest is none that an image can tell. */
    uint8_t digest[DSTACK_UKI_DIGEST_SIZE]; /**< As long as the bank's. */
} dstack_uki_event;

/** Registers and the events behind them, in log order. */
typedef struct dstack_uki_prediction {
    size_t digest_size;
    uint32_t pcr_mask; /**< Bit n: PCR n is predicted below. */
    uint8_t pcrs[DSTACK_UKI_MAX_PCRS][DSTACK_UKI_DIGEST_SIZE];
    dstack_uki_event events[DSTACK_UKI_MAX_EVENTS];
    size_t event_count;
    uint8_t uki_authenticode[DSTACK_UKI_DIGEST_SIZE];   /**< Of the whole image. */
    uint8_t linux_authenticode[DSTACK_UKI_DIGEST_SIZE]; /**< Of the kernel inside. */
    unsigned stub_version;                              /**< As the image tells, or as given. */
} dstack_uki_prediction;

/**
 * Predicts PCR 4 (and 2 on Google Cloud), 11 and 12 of a machine that starts this image from its boot entry, with
 * nothing beside it: no addons, credentials, system extensions or command line of a boot loader.
 * @return DSTACK_E_FORMAT for a file that is no such image; DSTACK_E_UNSUPPORTED for one with
 *         profiles or parts that the stub chooses by the machine, or of a stub whose version is not
 *         known (252 to 259 are); DSTACK_E_LIMIT.
 */
DSTACK_API int dstack_uki_measure(dstack_bytes uki, const dstack_uki_options *options,
                                  dstack_uki_prediction *out, dstack_error *err);

/** SHA-256 or SHA-384 Authenticode digest of a PE file: what firmware measures of it. */
DSTACK_API int dstack_uki_authenticode(dstack_bytes pe, dstack_pcr_bank bank,
                                       uint8_t out[DSTACK_UKI_DIGEST_SIZE], dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
