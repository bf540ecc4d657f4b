/* The launch digest, page by page. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/auto.h"
#include "crypto/hash.h"
#include "measure/snp.h"

#define VMSA_GPA UINT64_C(0xfffffffff000)
#define HASHES_ENTRY_SIZE 50
#define HASHES_TABLE_SIZE 168
#define HASHES_PADDED_SIZE 176

void snp_page_update(uint8_t digest[48], enum snp_page_type type, uint64_t gpa,
                     const uint8_t contents[48]) {
    uint8_t info[112] = {0};
    memcpy(info, digest, 48);
    memcpy(info + 48, contents, 48);
    info[96] = sizeof info; /* u16 length */
    info[98] = (uint8_t)type;
    for (size_t i = 0; i < 8; i++) {
        info[104 + i] = (uint8_t)(gpa >> (8 * i));
    }
    hash_sha384(bytes_of(info, sizeof info), digest);
}

int snp_image_set_cmdline(dstack_snp_image *image, dstack_bytes cmdline, dstack_error *err) {
    static const char blanks[] = " \t\r\n\v\f";
    while (cmdline.len > 0 && strchr(blanks, cmdline.data[0]) != NULL) {
        cmdline = bytes_of(cmdline.data + 1, cmdline.len - 1);
    }
    while (cmdline.len > 0 && strchr(blanks, cmdline.data[cmdline.len - 1]) != NULL) {
        cmdline.len--;
    }
    memset(image->cmdline, 0, sizeof image->cmdline);
    if (cmdline.len >= sizeof image->cmdline) {
        return error_set(err, DSTACK_E_LIMIT, "command line of %zu bytes", cmdline.len);
    }
    if (cmdline.len > 0 && memchr(cmdline.data, 0, cmdline.len) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "command line holds a zero byte");
    }
    if (cmdline.len > 0) {
        memcpy(image->cmdline, cmdline.data, cmdline.len);
    }
    return 0;
}

/* The file system is bound by its root hash in the command line: exactly one, or which of them
 * counts would depend on who reads it. */
static int check_cmdline(const char *cmdline, dstack_error *err) {
    static const char key[] = "dstack.rootfs_hash=";
    size_t found = 0;
    for (const char *at = cmdline; (at = strstr(at, key)) != NULL;) {
        const bool starts = at == cmdline || at[-1] == ' ';
        at += sizeof key - 1;
        if (starts && strspn(at, "0123456789abcdefABCDEF") == 64 &&
            (at[64] == ' ' || at[64] == '\0')) {
            found++;
        } else {
            return error_set(err, DSTACK_E_FORMAT, "dstack.rootfs_hash is not 64 hex digits");
        }
    }
    return found == 1 ? 0
                      : error_set(err, DSTACK_E_FORMAT,
                                  "the command line must contain dstack.rootfs_hash exactly once");
}

int snp_image_check(const dstack_snp_image *image, dstack_error *err) {
    uint64_t pages = 0;
    size_t hashes = 0;
    if (image->section_count > DSTACK_SNP_MAX_SECTIONS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d SEV sections", DSTACK_SNP_MAX_SECTIONS);
    }
    for (size_t i = 0; i < image->section_count; i++) {
        const dstack_snp_section *s = &image->sections[i];
        const bool known = (s->type >= SNP_SECTION_MEMORY && s->type <= SNP_SECTION_SVSM) ||
                           s->type == SNP_SECTION_HASHES;
        if (!known || s->gpa % SNP_PAGE != 0) {
            return error_set(err, DSTACK_E_FORMAT, "SEV section %zu has an unknown form", i);
        }
        pages += ((uint64_t)s->size + SNP_PAGE - 1) / SNP_PAGE;
        hashes += s->type == SNP_SECTION_HASHES;
    }
    if (pages > DSTACK_SNP_MAX_PAGES) {
        return error_set(err, DSTACK_E_LIMIT, "SEV sections have more than %u pages",
                         DSTACK_SNP_MAX_PAGES);
    }
    if (hashes == 0 || image->hashes_table_gpa == 0 || image->reset_eip == 0 ||
        (image->hashes_table_gpa & (SNP_PAGE - 1)) > SNP_PAGE - HASHES_PADDED_SIZE) {
        return error_set(err, DSTACK_E_FORMAT,
                         "firmware has no place for the hashes of kernel, initrd and command line "
                         "(an AmdSev build is needed)");
    }
    return check_cmdline(image->cmdline, err);
}

static void put_entry(uint8_t *at, const uint8_t guid[16], uint16_t size) {
    memcpy(at, guid, 16);
    at[16] = (uint8_t)size;
    at[17] = (uint8_t)(size >> 8);
}

/* QEMU's table of hashes (target/i386/sev.c, "SevHashTable"), GUIDs in EFI byte order. */
static void hashes_page(const dstack_snp_image *image, uint8_t out[48]) {
    static const uint8_t table_guid[16] = {0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c,
                                           0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21};
    static const uint8_t entry_guids[3][16] = {{0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c,
                                                0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a},
                                               {0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b,
                                                0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d},
                                               {0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42,
                                                0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b}};
    uint8_t page[SNP_PAGE] = {0};
    uint8_t cmdline[32];
    hash_sha256(bytes_of(image->cmdline, strlen(image->cmdline) + 1), cmdline);
    const uint8_t *const hashes[3] = {cmdline, image->initrd_hash, image->kernel_hash};
    uint8_t *at = page + (image->hashes_table_gpa & (SNP_PAGE - 1));
    put_entry(at, table_guid, HASHES_TABLE_SIZE);
    at += 18;
    for (size_t i = 0; i < 3; i++) {
        put_entry(at, entry_guids[i], HASHES_ENTRY_SIZE);
        memcpy(at + 18, hashes[i], 32);
        at += HASHES_ENTRY_SIZE;
    }
    hash_sha384(bytes_of(page, sizeof page), out);
}

static void add_section(uint8_t digest[48], const dstack_snp_section *section,
                        const uint8_t hashes[48]) {
    static const uint8_t zero[48] = {0};
    switch (section->type) {
    case SNP_SECTION_SECRETS:
        snp_page_update(digest, SNP_PAGE_SECRETS, section->gpa, zero);
        break;
    case SNP_SECTION_CPUID:
        snp_page_update(digest, SNP_PAGE_CPUID, section->gpa, zero);
        break;
    case SNP_SECTION_HASHES:
        snp_page_update(digest, SNP_PAGE_NORMAL, section->gpa, hashes);
        break;
    default:
        for (uint64_t at = 0; at < section->size; at += SNP_PAGE) {
            snp_page_update(digest, SNP_PAGE_ZERO, section->gpa + at, zero);
        }
    }
}

int dstack_measure_snp(const dstack_snp_image *image, const dstack_snp_machine *machine,
                       uint8_t out[DSTACK_MEASURE_SIZE], dstack_error *err) {
    uint32_t signature = 0;
    uint8_t hashes[48], first[48], other[48];
    int rc = snp_image_check(image, err);
    if (rc == 0 && (machine->vcpus == 0 || machine->vcpus > DSTACK_SNP_MAX_VCPUS)) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "%u virtual CPUs, 1 to %d are possible",
                       machine->vcpus, DSTACK_SNP_MAX_VCPUS);
    }
    if (rc == 0 && machine->guest_features == 0) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "guest_features must not be zero");
    }
    if (rc == 0) {
        rc = snp_cpu_signature(machine->vcpu_type, &signature, err);
    }
    if (rc != 0) {
        return rc;
    }
    hashes_page(image, hashes);
    snp_vmsa_hash(SNP_RESET_VECTOR, signature, machine->guest_features, first);
    snp_vmsa_hash(image->reset_eip, signature, machine->guest_features, other);
    memcpy(out, image->ovmf_hash, 48);
    for (size_t i = 0; i < image->section_count; i++) {
        add_section(out, &image->sections[i], hashes);
    }
    for (uint32_t i = 0; i < machine->vcpus; i++) {
        snp_page_update(out, SNP_PAGE_VMSA, VMSA_GPA, i == 0 ? first : other);
    }
    return 0;
}
