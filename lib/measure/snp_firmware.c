/* OVMF as SEV-SNP sees it: the table at its end, its SEV metadata, the digest of its pages. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "measure/snp.h"
#include "measure/tdvf.h"

#define ENTRY_HEAD 18U /* u16 size and GUID, behind the data of a table entry */
#define FOOTER_END 32U /* the footer's end is this far before the end of the file */
#define FOUR_GIB (UINT64_C(1) << 32)

/* EFI byte order. */
static const uint8_t guid_footer[16] = {0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45,
                                        0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d};
static const uint8_t guid_hashes[16] = {0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b,
                                        0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54};
static const uint8_t guid_reset[16] = {0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f,
                                       0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e};
static const uint8_t guid_metadata[16] = {0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47,
                                          0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc};

static cursor at(dstack_bytes bytes, size_t offset) {
    cursor c = cursor_init(bytes);
    cursor_skip(&c, offset);
    return c;
}

/* The first number of the three entries; 0 for one that is not there. */
typedef struct footer {
    uint32_t hashes, reset, metadata;
} footer;

static void take_entry(dstack_bytes guid, dstack_bytes data, footer *out) {
    const struct {
        const uint8_t *guid;
        uint32_t *value;
    } wanted[] = {
        {guid_hashes, &out->hashes}, {guid_reset, &out->reset}, {guid_metadata, &out->metadata}};
    for (size_t i = 0; i < 3; i++) {
        if (bytes_equal(guid, bytes_of(wanted[i].guid, 16))) {
            cursor c = cursor_init(data);
            *wanted[i].value = cursor_u32le(&c);
        }
    }
}

static int read_footer(dstack_bytes firmware, footer *out, dstack_error *err) {
    if (firmware.len < FOOTER_END + ENTRY_HEAD || firmware.len > TDVF_MAX_SIZE ||
        firmware.len % SNP_PAGE != 0) {
        return error_set(err, DSTACK_E_FORMAT, "firmware of %zu bytes is no OVMF image",
                         firmware.len);
    }
    size_t end = firmware.len - FOOTER_END - ENTRY_HEAD;
    cursor c = at(firmware, end);
    const uint16_t total = cursor_u16le(&c);
    if (!bytes_equal(cursor_take(&c, 16), bytes_of(guid_footer, 16)) || total < ENTRY_HEAD ||
        total - ENTRY_HEAD > end) {
        return error_set(err, DSTACK_E_FORMAT, "firmware has no GUIDed table at its end");
    }
    const size_t start = end - (total - ENTRY_HEAD);
    while (end > start) {
        if (end - start < ENTRY_HEAD) {
            return error_set(err, DSTACK_E_FORMAT, "GUIDed table ends within an entry");
        }
        c = at(firmware, end - ENTRY_HEAD);
        const uint16_t size = cursor_u16le(&c);
        const dstack_bytes guid = cursor_take(&c, 16);
        if (size < ENTRY_HEAD || size > end - start) {
            return error_set(err, DSTACK_E_FORMAT, "GUIDed table has an entry of %u bytes",
                             (unsigned)size);
        }
        take_entry(guid, bytes_of(firmware.data + end - size, size - ENTRY_HEAD), out);
        end -= size;
    }
    return 0;
}

static int read_metadata(dstack_bytes firmware, uint32_t distance, dstack_snp_image *out,
                         dstack_error *err) {
    if (distance == 0 || distance > firmware.len) {
        return error_set(err, DSTACK_E_FORMAT,
                         "firmware has no SEV metadata (a build with SEV-SNP support is needed)");
    }
    cursor c = at(firmware, firmware.len - distance);
    const dstack_bytes magic = cursor_take(&c, 4);
    cursor_u32le(&c); /* size: follows from the count */
    const uint32_t version = cursor_u32le(&c);
    const uint32_t count = cursor_u32le(&c);
    if (!cursor_ok(&c) || !bytes_equal_str(magic, "ASEV") || version != 1) {
        return error_set(err, DSTACK_E_FORMAT, "SEV metadata is not of version 1");
    }
    if (count == 0 || count > DSTACK_SNP_MAX_SECTIONS) {
        return error_set(err, DSTACK_E_FORMAT, "SEV metadata has %u sections", count);
    }
    for (size_t i = 0; i < count; i++) {
        out->sections[i].gpa = cursor_u32le(&c);
        out->sections[i].size = cursor_u32le(&c);
        out->sections[i].type = cursor_u32le(&c);
    }
    out->section_count = count;
    return cursor_ok(&c) ? 0 : error_set(err, DSTACK_E_FORMAT, "SEV metadata is cut off");
}

int dstack_snp_image_from_files(dstack_bytes firmware, dstack_bytes kernel, dstack_bytes initrd,
                                dstack_bytes cmdline, dstack_snp_image *out, dstack_error *err) {
    *out = (dstack_snp_image){0};
    footer found = {0};
    int rc = read_footer(firmware, &found, err);
    if (rc == 0) {
        rc = read_metadata(firmware, found.metadata, out, err);
    }
    if (rc == 0) {
        rc = snp_image_set_cmdline(out, cmdline, err);
    }
    if (rc != 0) {
        return rc;
    }
    out->hashes_table_gpa = found.hashes;
    out->reset_eip = found.reset;
    for (size_t offset = 0; offset < firmware.len; offset += SNP_PAGE) {
        uint8_t page[48];
        hash_sha384(bytes_of(firmware.data + offset, SNP_PAGE), page);
        snp_page_update(out->ovmf_hash, SNP_PAGE_NORMAL, FOUR_GIB - firmware.len + offset, page);
    }
    hash_sha256(kernel, out->kernel_hash);
    hash_sha256(initrd, out->initrd_hash);
    return 0;
}
