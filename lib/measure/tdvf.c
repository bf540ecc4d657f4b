#include "measure/tdvf.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"

#define PAGE 4096U
#define CHUNK 256U
#define ENTRY_HEAD 18U /* u16 size and GUID, behind the data of a table entry */
#define FOOTER_END 32U /* the footer GUID ends this far before the end of the file */

/* EFI byte order. */
static const uint8_t guid_footer[16] = {0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45,
                                        0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d};
static const uint8_t guid_tdvf[16] = {0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47,
                                      0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2};

static cursor at(dstack_bytes bytes, size_t offset) {
    cursor c = cursor_init(bytes);
    cursor_skip(&c, offset);
    return c;
}

/* Walks the GUIDed table at the end of the file downwards and gives the distance of the TDVF
 * descriptor from the end of the file. */
static int find_descriptor(dstack_bytes firmware, uint32_t *distance, dstack_error *err) {
    const size_t len = firmware.len;
    if (len < FOOTER_END + ENTRY_HEAD || len > TDVF_MAX_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "firmware of %zu bytes is no OVMF image", len);
    }
    size_t end = len - FOOTER_END - ENTRY_HEAD; /* of the entry below the footer */
    cursor c = at(firmware, end);
    const uint16_t total = cursor_u16le(&c);
    const dstack_bytes footer = cursor_take(&c, 16);
    if (!bytes_equal(footer, bytes_of(guid_footer, 16))) {
        return error_set(err, DSTACK_E_FORMAT, "firmware has no GUIDed table at its end");
    }
    if (total < ENTRY_HEAD || total - ENTRY_HEAD > end) {
        return error_set(err, DSTACK_E_FORMAT, "GUIDed table of %u bytes does not fit the firmware",
                         (unsigned)total);
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
        if (bytes_equal(guid, bytes_of(guid_tdvf, 16))) {
            if (size < ENTRY_HEAD + 4) {
                return error_set(err, DSTACK_E_FORMAT, "TDVF entry has no offset");
            }
            c = at(firmware, end - ENTRY_HEAD - 4);
            *distance = cursor_u32le(&c);
            return 0;
        }
        end -= size;
    }
    return error_set(err, DSTACK_E_FORMAT,
                     "firmware has no TDVF metadata (a build with TDX support is needed)");
}

static int check_section(const tdvf *metadata, size_t i, dstack_error *err) {
    const tdvf_section *s = &metadata->sections[i];
    if (s->address % PAGE != 0 || s->memory_size % PAGE != 0 ||
        s->address > UINT64_MAX - s->memory_size) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF section %zu is not made of whole pages", i);
    }
    if (s->memory_size < s->raw_size) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF section %zu holds more data than memory", i);
    }
    if (s->raw_size > 0 && (s->data_offset > metadata->firmware.len ||
                            s->raw_size > metadata->firmware.len - s->data_offset)) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF section %zu lies outside the file", i);
    }
    return 0;
}

int tdvf_parse(tdvf *out, dstack_bytes firmware, dstack_error *err) {
    memset(out, 0, sizeof *out);
    out->firmware = firmware;
    uint32_t distance = 0;
    int rc = find_descriptor(firmware, &distance, err);
    if (rc != 0) {
        return rc;
    }
    if (distance > firmware.len) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF descriptor lies before the file");
    }
    cursor c = at(firmware, firmware.len - distance);
    const dstack_bytes magic = cursor_take(&c, 4);
    cursor_u32le(&c); /* length of the descriptor: follows from the count */
    const uint32_t version = cursor_u32le(&c);
    const uint32_t count = cursor_u32le(&c);
    if (!cursor_ok(&c) || !bytes_equal_str(magic, "TDVF") || version != 1) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF descriptor is not of version 1");
    }
    if (count == 0 || count > TDVF_MAX_SECTIONS) {
        return error_set(err, DSTACK_E_FORMAT, "TDVF descriptor has %u sections, 1 to %d expected",
                         count, TDVF_MAX_SECTIONS);
    }
    uint64_t pages = 0;
    for (size_t i = 0; i < count; i++) {
        tdvf_section *s = &out->sections[i];
        s->data_offset = cursor_u32le(&c);
        s->raw_size = cursor_u32le(&c);
        s->address = cursor_u64le(&c);
        s->memory_size = cursor_u64le(&c);
        s->type = cursor_u32le(&c);
        s->attributes = cursor_u32le(&c);
        if (!cursor_ok(&c)) {
            return error_set(err, DSTACK_E_FORMAT, "TDVF descriptor is cut short");
        }
        rc = check_section(out, i, err);
        if (rc != 0) {
            return rc;
        }
        if (s->memory_size / PAGE > TDVF_MAX_PAGES - pages) {
            return error_set(err, DSTACK_E_LIMIT, "TDVF sections cover more than 1 GiB");
        }
        pages += s->memory_size / PAGE;
    }
    out->count = count;
    return 0;
}

static void record(hash_ctx *ctx, const char *operation, uint64_t address) {
    uint8_t bytes[128] = {0};
    memcpy(bytes, operation, strlen(operation));
    for (size_t i = 0; i < 8; i++) {
        bytes[16 + i] = (uint8_t)(address >> (8 * i));
    }
    hash_update(ctx, bytes_of(bytes, sizeof bytes));
}

static void add_page(hash_ctx *ctx, const tdvf_section *s, uint64_t page) {
    if ((s->attributes & TDVF_PAGE_AUG) == 0) {
        record(ctx, "MEM.PAGE.ADD", s->address + page * PAGE);
    }
}

static void extend_page(hash_ctx *ctx, const tdvf *metadata, const tdvf_section *s, uint64_t page) {
    if ((s->attributes & TDVF_EXTEND) == 0) {
        return;
    }
    for (uint64_t offset = page * PAGE; offset < (page + 1) * PAGE; offset += CHUNK) {
        uint8_t chunk[CHUNK] = {0};
        if (offset < s->raw_size) {
            const uint64_t left = s->raw_size - offset;
            cursor c = at(metadata->firmware, s->data_offset + (size_t)offset);
            cursor_copy(&c, chunk, left < CHUNK ? (size_t)left : CHUNK);
        }
        record(ctx, "MR.EXTEND", s->address + offset);
        hash_update(ctx, bytes_of(chunk, CHUNK));
    }
}

void tdvf_mrtd(const tdvf *metadata, bool two_pass, uint8_t out[48]) {
    hash_ctx ctx;
    hash_init(&ctx, HASH_SHA384);
    for (size_t i = 0; i < metadata->count; i++) {
        const tdvf_section *s = &metadata->sections[i];
        const uint64_t pages = s->memory_size / PAGE;
        for (uint64_t page = 0; page < pages; page++) {
            add_page(&ctx, s, page);
            if (!two_pass) {
                extend_page(&ctx, metadata, s, page);
            }
        }
        for (uint64_t page = 0; two_pass && page < pages; page++) {
            extend_page(&ctx, metadata, s, page);
        }
    }
    hash_final(&ctx, out);
}

int tdvf_cfv_digest(const tdvf *metadata, uint8_t out[48], dstack_error *err) {
    const tdvf_section *found = NULL;
    for (size_t i = 0; i < metadata->count; i++) {
        if (metadata->sections[i].type != TDVF_CFV) {
            continue;
        }
        if (found != NULL) {
            return error_set(err, DSTACK_E_FORMAT, "firmware has two configuration volumes");
        }
        found = &metadata->sections[i];
    }
    if (found == NULL || found->raw_size == 0) {
        return error_set(err, DSTACK_E_FORMAT, "firmware has no configuration volume");
    }
    cursor c = at(metadata->firmware, found->data_offset);
    hash_sha384(cursor_take(&c, found->raw_size), out);
    return 0;
}
