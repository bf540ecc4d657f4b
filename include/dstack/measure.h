/**
 * @file measure.h
 * @brief What a guest image must measure to: image digest and predicted TDX registers.
 *
 * Pure calculators over bytes and structs, and one loader that reads an image folder. The same code
 * predicts for a verifier and computes for the simulated platform.
 */
#ifndef DSTACK_MEASURE_H
#define DSTACK_MEASURE_H

#include <dstack/attestation.h>
#include <dstack/bytes.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Size of a TDX register and of an event digest. */
#define DSTACK_MEASURE_SIZE 48
/** Most events in one prediction. */
#define DSTACK_MEASURE_MAX_EVENTS 32

/**
 * An image as its folder holds it. Fill it with `dstack_image_load()`, or by hand with borrowed
 * bytes; `dstack_image_clear()` releases what the loader allocated.
 */
typedef struct dstack_image {
    dstack_buf firmware; /**< OVMF with TDVF metadata. */
    dstack_buf kernel;   /**< bzImage as distributed, before any loader touched its header. */
    dstack_buf initrd;
    dstack_buf cmdline; /**< Kernel command line without the suffix that the firmware adds. */
    bool kernel_header_normalized; /**< Firmware measures the kernel with its distributed header. */
    bool cfv_from_file;     /**< Digest of the configuration volume is that of the file's content
                           * (metadata `tdvf_constants: "file"`); else the constant of dstack's own
                           * firmware build. */
    bool is_dev;            /**< Development image. */
    char version[32];       /**< Image version, empty when the metadata has none. */
    char os_image_hash[65]; /**< Hex SHA-256 of sha256sum.txt; empty when the folder has none. */
} dstack_image;

/** The part of vm_config that decides about registers. `dstack_vm_shape_init()` sets defaults. */
typedef struct dstack_vm_shape {
    uint32_t cpu_count;
    uint64_t memory_size;     /**< Bytes. */
    uint32_t qemu_version[3]; /**< 9.1.0 when the text names none; below 8.0.0 is refused. */
    bool two_pass;            /**< vm_config `qemu_single_pass_add_pages`, which is misnamed. */
    bool pic;
    bool hugepages, hotplug_off, swtpm;
    uint64_t pci_hole64_size;
    uint32_t num_gpus, num_nvswitches, num_nics, num_verity_volumes;
    bool has_acpi; /**< The three digests below are given; else the tables are generated. */
    uint8_t acpi_loader[DSTACK_MEASURE_SIZE]; /**< SHA-384 of what QEMU hands over as */
    uint8_t acpi_rsdp[DSTACK_MEASURE_SIZE];   /**< etc/table-loader, etc/acpi/rsdp and */
    uint8_t acpi_tables[DSTACK_MEASURE_SIZE]; /**< etc/acpi/tables, before linking. */
} dstack_vm_shape;

/** One predicted event. */
typedef struct dstack_measure_event {
    uint32_t rtmr;      /**< 0 to 2. */
    uint32_t type;      /**< TCG event type. */
    const char *name;   /**< For people; static. */
    const char *source; /**< What the digest was computed from, for people; static. */
    uint8_t digest[DSTACK_MEASURE_SIZE];
    char payload[40]; /**< What the event log carries beside the digest. */
} dstack_measure_event;

/** Registers and the events behind them, in log order. */
typedef struct dstack_measurements {
    uint8_t mrtd[DSTACK_MEASURE_SIZE];
    uint8_t rtmr[3][DSTACK_MEASURE_SIZE];
    dstack_measure_event events[DSTACK_MEASURE_MAX_EVENTS];
    size_t event_count;
    /** QEMU 10.2 and later leave the kernel's header as distributed in confidential guests, unless
     * somebody patched them to go on filling it. `rtmr` and the events tell the filled one;
     * `rtmr1_distributed` is RTMR1 for the other. Both are the image's kernel. */
    bool has_rtmr1_distributed;
    uint8_t rtmr1_distributed[DSTACK_MEASURE_SIZE];
} dstack_measurements;

/**
 * Reads an image folder: metadata.json and firmware, kernel and initrd that it names. When
 * sha256sum.txt is there, each of them must be listed in it with its hash.
 * @return DSTACK_E_NOT_FOUND, DSTACK_E_FORMAT, DSTACK_E_LIMIT, DSTACK_E_REFUSED (hash mismatch).
 */
DSTACK_API int dstack_image_load(const char *dir, dstack_image *out, dstack_error *err);
/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_image_clear(dstack_image *image);

/** Defaults: 1 CPU, 2 GiB, QEMU 9.1.0, one NIC. */
DSTACK_API void dstack_vm_shape_init(dstack_vm_shape *shape);
/** Sets QEMU's version from "x.y.z" (also "x.y.z (Debian ...)"), and with it pic and two_pass. */
DSTACK_API int dstack_vm_shape_set_qemu(dstack_vm_shape *shape, const char *version,
                                        dstack_error *err);
/** vm_config as it travels with evidence. `dstack_vm_config_clear()` releases it. */
typedef struct dstack_vm_config {
    dstack_vm_shape shape;
    char os_image_hash[65]; /**< 64 lower-case hex digits, or empty. What the host says: a claim. */
    bool lite;              /**< `tdx_attestation_variant` is `lite`. */
    bool has_measurement;   /**< `tdx_measurement` is there: the two files below. */
    dstack_buf checksum_file;
    dstack_buf measurement;
} dstack_vm_config;

/** Reads vm_config JSON, unwrapping the nested form. Unknown members are ignored. At most 1 MiB. */
DSTACK_API int dstack_vm_config_parse(dstack_bytes text, dstack_vm_config *out, dstack_error *err);
/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_vm_config_clear(dstack_vm_config *config);

/** What QEMU hands to a guest's firmware about its machine, before it is linked. */
typedef struct dstack_acpi {
    dstack_buf tables; /**< etc/acpi/tables: FACS, DSDT, FADT, MADT, SRAT, MCFG, WAET, RSDT. */
    dstack_buf rsdp;   /**< etc/acpi/rsdp */
    dstack_buf loader; /**< etc/table-loader */
} dstack_acpi;

/**
 * Generates the ACPI tables of a TDX guest with that shape, byte for byte as its QEMU would: a q35
 * machine with the devices that dstack gives a guest, without system management mode. Runs nothing.
 * `has_acpi` and the digests of the shape are not looked at.
 * @param out  released with `dstack_acpi_clear()`
 * @return DSTACK_E_UNSUPPORTED for a machine or a QEMU whose tables are not known (8.0 to 11.1 are);
 *         DSTACK_E_MEMORY.
 */
DSTACK_API int dstack_acpi_generate(const dstack_vm_shape *shape, dstack_acpi *out,
                                    dstack_error *err);
/** Releases and zeroes. Accepts NULL. */
DSTACK_API void dstack_acpi_clear(dstack_acpi *acpi);
/** Generates the tables, and puts their digests into the shape (`has_acpi`). */
DSTACK_API int dstack_vm_shape_set_acpi(dstack_vm_shape *shape, dstack_error *err);

/**
 * Predicts MRTD and RTMR0 to RTMR2. The ACPI tables are generated, unless `shape` gives their digests
 * (`has_acpi`).
 * @return DSTACK_E_FORMAT for a malformed firmware or kernel, DSTACK_E_UNSUPPORTED for a machine
 *         that cannot be predicted, DSTACK_E_ARGUMENT for one that cannot be.
 */
DSTACK_API int dstack_measure_tdx(const dstack_image *image, const dstack_vm_shape *shape,
                                  dstack_measurements *out, dstack_error *err);

/** Appends a CC event log (TCG PC Client format) whose replay gives the predicted registers. */
DSTACK_API int dstack_measure_boot_log(const dstack_measurements *measurements, dstack_buf *out,
                                       dstack_error *err);

/** SHA-256 of DIR/sha256sum.txt as 64 hex digits: the image's identity. */
DSTACK_API int dstack_measure_digest(const char *dir, char out[65], dstack_error *err);

/** Builds the measurement document measurement.tdx.cbor (appended). */
DSTACK_API int dstack_measure_document(const dstack_image *image, dstack_buf *out,
                                       dstack_error *err);

/** Builds measurement.gcp.cbor (appended): SHA-256 Authenticode digest of a unified kernel image. */
DSTACK_API int dstack_measure_gcp_encode(const uint8_t uki_auth[32], dstack_buf *out,
                                         dstack_error *err);
/** Reads it: exactly one document of version 1. DSTACK_E_UNSUPPORTED for another version,
 * DSTACK_E_FORMAT. */
DSTACK_API int dstack_measure_gcp_decode(dstack_bytes document, uint8_t uki_auth[32],
                                         dstack_error *err);
/** Builds measurement.aws.cbor (appended): SHA-256 over PCR4, PCR7 and PCR12 of a NitroTPM. */
DSTACK_API int dstack_measure_aws_encode(const uint8_t boot_pcr_digest[32], dstack_buf *out,
                                         dstack_error *err);
/** Reads it: exactly one document of version 1. Documents without a version are refused
 * (DSTACK_E_UNSUPPORTED). */
DSTACK_API int dstack_measure_aws_decode(dstack_bytes document, uint8_t boot_pcr_digest[32],
                                         dstack_error *err);

/**
 * Predicts from a measurement document instead of the image (the lite scheme): memory must be
 * exactly 2 GiB or at least 2816 MiB unless the document says that the kernel header is normalised.
 */
DSTACK_API int dstack_measure_from_document(dstack_bytes document, const dstack_vm_shape *shape,
                                            dstack_measurements *out, dstack_error *err);

/**
 * Checks that the measurement material in vm_config belongs to one image: SHA-256(checksum_file) is
 * the image's identity (and equals vm_config's `os_image_hash` when that is set), and the one line
 * for measurement.tdx.cbor in it has the document's hash.
 * @param os_image_hash  64 hex digits of the identity; may be NULL
 * @return DSTACK_E_NOT_FOUND without material, DSTACK_E_REFUSED when something differs.
 */
DSTACK_API int dstack_measure_material_check(const dstack_vm_config *config, char os_image_hash[65],
                                             dstack_error *err);

/** Compares a quote's registers with the predicted ones; for RTMR1, either of two when there are two.
 * DSTACK_E_REFUSED names the first that differs, with both values. */
DSTACK_API int dstack_measure_compare(const dstack_measurements *expected,
                                      const uint8_t mrtd[DSTACK_MEASURE_SIZE],
                                      const uint8_t rtmr[3][DSTACK_MEASURE_SIZE],
                                      dstack_error *err);

/**
 * The check for `dstack_attestation_options.image`. The prover's measurement material must belong to
 * the image hash and the registers must follow from it (anchor SELF_ASSERTED: the hash still wants a
 * policy that names it). When `user` names an image folder whose identity is that hash, the
 * registers must follow from the folder's own files (anchor REFERENCE_IMAGE). The ACPI tables are
 * generated from vm_config, so that RTMR0 is recomputed whole; a machine or a QEMU whose tables are
 * not known is refused, and so is an event log with other tables, by name.
 * @param user  `const char *`: path of an image folder; may be NULL
 */
DSTACK_API int dstack_measure_image_check(void *user, const dstack_image_question *question,
                                          dstack_anchor *anchor, uint8_t image_hash[32],
                                          dstack_error *err);

/**
 * Writes measurement.tdx.cbor, sha256sum.txt and digest.txt into an image folder whose other files
 * are complete.
 * @param digest  64 hex digits of the new os_image_hash; may be NULL
 */
DSTACK_API int dstack_measure_write(const char *dir, char digest[65], dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
