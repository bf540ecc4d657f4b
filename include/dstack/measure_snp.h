/**
 * @file measure_snp.h
 * @brief The launch digest of an SEV-SNP guest, predicted from its image and its machine.
 *
 * The digest chains every page that firmware adds before launch: those of OVMF, the special pages
 * its metadata names, the page with the hashes of kernel, initrd and command line, and one VMSA per
 * virtual CPU. Chaining: AMD, "SEV Secure Nested Paging Firmware ABI", SNP_LAUNCH_UPDATE (page info);
 * VMSA: AMD64 Architecture Programmer's Manual volume 2, appendix B.
 */
#ifndef DSTACK_MEASURE_SNP_H
#define DSTACK_MEASURE_SNP_H

#include <dstack/measure.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSTACK_SNP_MAX_SECTIONS 64
#define DSTACK_SNP_MAX_VCPUS 512
/** Most pages in all sections together: 1 GiB of guest memory, each of which costs a hash. */
#define DSTACK_SNP_MAX_PAGES (1u << 18)
/** Longest kernel command line. */
#define DSTACK_SNP_CMDLINE_SIZE 4096

/** One range that firmware metadata names. */
typedef struct dstack_snp_section {
    uint32_t gpa, size;
    uint32_t type; /**< 1 memory, 2 secrets, 3 CPUID, 4 SVSM calling area, 0x10 kernel hashes. */
} dstack_snp_section;

/** What an image contributes. */
typedef struct dstack_snp_image {
    uint8_t ovmf_hash[DSTACK_MEASURE_SIZE]; /**< Digest after the firmware's own pages. */
    uint8_t kernel_hash[32], initrd_hash[32];
    char cmdline[DSTACK_SNP_CMDLINE_SIZE];
    uint64_t hashes_table_gpa;
    uint32_t reset_eip;
    dstack_snp_section sections[DSTACK_SNP_MAX_SECTIONS]; /**< In the firmware's order. */
    size_t section_count;
} dstack_snp_image;

/** What the machine contributes. */
typedef struct dstack_snp_machine {
    uint32_t vcpus;
    char vcpu_type[32];      /**< "EPYC-v4", "EPYC-Milan", ... in any case. */
    uint64_t guest_features; /**< SEV_FEATURES; dstack's guests have 1 (SNPActive). */
} dstack_snp_machine;

/** Predicts the digest. DSTACK_E_ARGUMENT for what cannot be, DSTACK_E_UNSUPPORTED for an unknown
 * CPU type, DSTACK_E_LIMIT. */
DSTACK_API int dstack_measure_snp(const dstack_snp_image *image, const dstack_snp_machine *machine,
                                  uint8_t out[DSTACK_MEASURE_SIZE], dstack_error *err);

/** From the image's own files. The firmware must be an AmdSev build of OVMF (with a place for the
 * hashes); an empty initrd means there is none. DSTACK_E_FORMAT. */
DSTACK_API int dstack_snp_image_from_files(dstack_bytes firmware, dstack_bytes kernel,
                                           dstack_bytes initrd, dstack_bytes cmdline,
                                           dstack_snp_image *out, dstack_error *err);
/** From an image folder: firmware is what its metadata names as `bios-sev`, whose bytes the folder's
 * measurement.snp.cbor must agree with where there is one. DSTACK_E_NOT_FOUND without such
 * firmware. */
DSTACK_API int dstack_snp_image_load(const char *dir, dstack_snp_image *out, dstack_error *err);
/** Reads measurement.snp.cbor: one document of version 3, nothing after it. DSTACK_E_FORMAT. */
DSTACK_API int dstack_snp_image_from_document(dstack_bytes document, dstack_snp_image *out,
                                              dstack_error *err);
/** Appends measurement.snp.cbor. */
DSTACK_API int dstack_snp_image_document(const dstack_snp_image *image, dstack_buf *out,
                                         dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
