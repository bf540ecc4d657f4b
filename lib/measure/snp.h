/* What the files about SEV-SNP share. */
#ifndef MEASURE_SNP_H
#define MEASURE_SNP_H

#include <dstack/measure_snp.h>

#define SNP_PAGE 4096U
/* Section types of the SEV metadata in OVMF. */
enum {
    SNP_SECTION_MEMORY = 1,
    SNP_SECTION_SECRETS = 2,
    SNP_SECTION_CPUID = 3,
    SNP_SECTION_SVSM = 4,
    SNP_SECTION_HASHES = 0x10
};

/* One step of the chain: what firmware does for one page. */
enum snp_page_type {
    SNP_PAGE_NORMAL = 1,
    SNP_PAGE_VMSA = 2,
    SNP_PAGE_ZERO = 3,
    SNP_PAGE_SECRETS = 5,
    SNP_PAGE_CPUID = 6
};
void snp_page_update(uint8_t digest[48], enum snp_page_type type, uint64_t gpa,
                     const uint8_t contents[48]);

/* The first CPU's VMSA has the reset vector, the others the firmware's own entry. */
#define SNP_RESET_VECTOR 0xfffffff0U
/* DSTACK_E_UNSUPPORTED for a name that is not known. */
int snp_cpu_signature(const char *vcpu_type, uint32_t *out, dstack_error *err);
/* SHA-384 of the page. */
void snp_vmsa_hash(uint32_t eip, uint32_t cpu_signature, uint64_t features, uint8_t out[48]);

/* Form and limits of an image, whatever it came from. */
int snp_image_check(const dstack_snp_image *image, dstack_error *err);
/* Copies the command line without white space around it. */
int snp_image_set_cmdline(dstack_snp_image *image, dstack_bytes cmdline, dstack_error *err);

/* The part of dstack_measure_image_check that is SEV-SNP's. */
int snp_image_answer(const char *dir, const dstack_image_question *question, dstack_anchor *anchor,
                     uint8_t image_hash[32], dstack_error *err);

#endif
