#include "measure/kernel.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"

#define MAX_SECTIONS 128
#define CERTIFICATE_DIRECTORY 4
#define INITRD_LIMIT_DEFAULT 0x37ffffffU
/* QEMU keeps this much below the end of low memory free for the ACPI tables (TARGET: 128 KiB data
 * and 32 KiB more). */
#define ACPI_RESERVED 0x28000U

/* A file whose first bytes are replaced by others: so that a kernel is hashed with a patched header
 * without being copied. */
typedef struct view {
    dstack_bytes head, file;
} view;

/* For reading at most 64 bytes. Those that reach beyond the head begin behind what is patched. */
#define HEAD_SIZE 0x1000U
#define READ_MAX 64U

static cursor at(view v, size_t offset) {
    const bool in_head = v.head.len >= READ_MAX && offset <= v.head.len - READ_MAX;
    cursor c = cursor_init(in_head ? v.head : v.file);
    cursor_skip(&c, offset);
    return c;
}

static uint16_t u16_at(view v, size_t offset) {
    cursor c = at(v, offset);
    return cursor_u16le(&c);
}

static uint32_t u32_at(view v, size_t offset) {
    cursor c = at(v, offset);
    return cursor_u32le(&c);
}

static view plain(dstack_bytes file) {
    return (view){.file = file};
}

static int check_size(dstack_bytes kernel, dstack_error *err) {
    if (kernel.len < 0x1000 || kernel.len > KERNEL_MAX_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "kernel of %zu bytes is no bzImage", kernel.len);
    }
    return 0;
}

int kernel_initrd_address(dstack_bytes kernel, uint64_t initrd_size, uint64_t memory_size,
                          unsigned xlf_bit, uint32_t *out, dstack_error *err) {
    int rc = check_size(kernel, err);
    if (rc != 0) {
        return rc;
    }
    /* Linux boot protocol, real-mode header. */
    const uint16_t protocol = u16_at(plain(kernel), 0x206);
    uint64_t limit = INITRD_LIMIT_DEFAULT;
    if (protocol >= 0x20c) {
        limit = (u16_at(plain(kernel), 0x236) & xlf_bit) != 0 ? UINT32_MAX : INITRD_LIMIT_DEFAULT;
    } else if (protocol >= 0x203 && u32_at(plain(kernel), 0x22c) != 0) {
        limit = u32_at(plain(kernel), 0x22c);
    }
    const uint64_t low = memory_size < 0xb0000000U ? 0xb0000000U : 0x80000000U;
    const uint64_t below_4g = memory_size < low ? memory_size : low;
    if (below_4g < ACPI_RESERVED + 1) {
        return error_set(err, DSTACK_E_ARGUMENT, "%llu bytes of memory are too few",
                         (unsigned long long)memory_size);
    }
    if (limit > below_4g - ACPI_RESERVED - 1) {
        limit = below_4g - ACPI_RESERVED - 1;
    }
    if (initrd_size > limit) {
        return error_set(err, DSTACK_E_ARGUMENT, "initrd of %llu bytes does not fit the memory",
                         (unsigned long long)initrd_size);
    }
    *out = (uint32_t)((limit - initrd_size) & ~UINT64_C(4095));
    return 0;
}

static void set_u32(uint8_t *at_byte, uint32_t value) {
    for (size_t i = 0; i < 4; i++) {
        at_byte[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Fills in the first bytes of a kernel, as QEMU up to 10.1 does. */
static int patch(uint8_t *header, dstack_bytes kernel, uint64_t initrd_size, uint64_t memory_size,
                 unsigned xlf_bit, dstack_error *err) {
    uint32_t initrd = 0;
    const int rc = kernel_initrd_address(kernel, initrd_size, memory_size, xlf_bit, &initrd, err);
    if (rc != 0) {
        return rc;
    }
    const bool loaded_high = (header[0x211] & 1) != 0;
    const uint32_t real = loaded_high ? 0x10000 : 0x90000;
    const uint32_t cmdline = loaded_high ? 0x20000 : 0x9a000;
    header[0x210] = 0xb0;  /* type_of_loader: QEMU */
    header[0x211] |= 0x80; /* CAN_USE_HEAP */
    set_u32(header + 0x218, initrd);
    set_u32(header + 0x21c, (uint32_t)initrd_size);
    set_u32(header + 0x224, cmdline - real - 0x200); /* heap_end_ptr: QEMU writes 32 bits */
    set_u32(header + 0x228, cmdline);
    return 0;
}

typedef struct pe_layout {
    size_t checksum;       /* offset of the field */
    size_t directory;      /* offset of the certificate table's entry; 0 for none */
    uint32_t certificates; /* size of the certificate table */
    uint32_t headers;      /* SizeOfHeaders */
    size_t section_count;
    struct {
        uint32_t offset, size;
    } sections[MAX_SECTIONS];
} pe_layout;

static int parse_pe(view pe, pe_layout *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    const uint32_t nt = u32_at(pe, 0x3c);
    if (nt > pe.file.len || !bytes_equal(bytes_of(pe.file.data, 2), bytes_of("MZ", 2))) {
        return error_set(err, DSTACK_E_FORMAT, "kernel is no PE file (an EFI stub is needed)");
    }
    cursor c = at(pe, nt);
    const dstack_bytes signature = cursor_take(&c, 4);
    cursor_skip(&c, 2);
    const uint16_t sections = cursor_u16le(&c);
    cursor_skip(&c, 12);
    const uint16_t optional_size = cursor_u16le(&c);
    cursor_skip(&c, 2);
    const size_t optional = (size_t)nt + 24;
    const uint16_t magic = cursor_u16le(&c);
    if (!cursor_ok(&c) || !bytes_equal(signature, bytes_of("PE\0\0", 4)) ||
        (magic != 0x10b && magic != 0x20b)) {
        return error_set(err, DSTACK_E_FORMAT, "kernel has no PE header where it should");
    }
    const size_t directories = magic == 0x20b ? 112 : 96;
    out->checksum = optional + 64;
    out->headers = u32_at(pe, optional + 60);
    const uint32_t directory_count = u32_at(pe, optional + directories - 4);
    if (directory_count > CERTIFICATE_DIRECTORY) {
        out->directory = optional + directories + 8 * CERTIFICATE_DIRECTORY;
        out->certificates = u32_at(pe, out->directory + 4);
    }
    const size_t end = out->directory != 0 ? out->directory + 8 : out->checksum + 4;
    if (out->headers > pe.file.len || end > out->headers) {
        return error_set(err, DSTACK_E_FORMAT, "PE headers of %u bytes do not fit the file",
                         out->headers);
    }
    if (sections > MAX_SECTIONS) {
        return error_set(err, DSTACK_E_LIMIT, "PE file has %u sections, at most %d are read",
                         (unsigned)sections, MAX_SECTIONS);
    }
    for (uint16_t i = 0; i < sections; i++) {
        c = at(pe, optional + optional_size + (size_t)40 * i);
        cursor_skip(&c, 16);
        const uint32_t size = cursor_u32le(&c);
        const uint32_t offset = cursor_u32le(&c);
        cursor_skip(&c, 16);
        if (!cursor_ok(&c)) {
            return error_set(err, DSTACK_E_FORMAT, "PE section table is cut short");
        }
        if (size == 0) {
            continue;
        }
        /* insertion in order of offset; equal offsets keep the table's order */
        size_t j = out->section_count++;
        for (; j > 0 && out->sections[j - 1].offset > offset; j--) {
            out->sections[j] = out->sections[j - 1];
        }
        out->sections[j].offset = offset;
        out->sections[j].size = size;
    }
    return 0;
}

static void hash_bytes(hash_ctx *ctx, dstack_bytes from, uint64_t start, uint64_t end) {
    end = end < from.len ? end : from.len;
    if (start < end) {
        cursor c = cursor_init(from);
        cursor_skip(&c, (size_t)start);
        hash_update(ctx, cursor_take(&c, (size_t)(end - start)));
    }
}

/* Hashes [start, end), cut to the file. */
static void hash_range(hash_ctx *ctx, view pe, uint64_t start, uint64_t end) {
    hash_bytes(ctx, pe.head, start, end);
    hash_bytes(ctx, pe.file, start > pe.head.len ? start : pe.head.len, end);
}

static int authenticode(view pe, hash_algorithm algorithm, uint8_t *out, dstack_error *err) {
    int rc = check_size(pe.file, err);
    if (rc != 0) {
        return rc;
    }
    pe_layout layout;
    rc = parse_pe(pe, &layout, err);
    if (rc != 0) {
        return rc;
    }
    hash_ctx ctx;
    hash_init(&ctx, algorithm);
    hash_range(&ctx, pe, 0, layout.checksum);
    size_t from = layout.checksum + 4;
    if (layout.directory != 0) {
        hash_range(&ctx, pe, from, layout.directory);
        from = layout.directory + 8;
    }
    hash_range(&ctx, pe, from, layout.headers);
    uint64_t hashed = layout.headers;
    for (size_t i = 0; i < layout.section_count; i++) {
        const uint64_t offset = layout.sections[i].offset, size = layout.sections[i].size;
        hash_range(&ctx, pe, offset, offset + size);
        hashed += size;
    }
    if (layout.directory != 0 && pe.file.len > hashed + layout.certificates) {
        hash_range(&ctx, pe, hashed, pe.file.len - layout.certificates);
    }
    static const uint8_t zeros[8];
    if (pe.file.len % 8 != 0) {
        hash_update(&ctx, bytes_of(zeros, 8 - pe.file.len % 8));
    }
    hash_final(&ctx, out);
    return 0;
}

int kernel_authenticode(dstack_bytes pe, hash_algorithm algorithm, uint8_t *out,
                        dstack_error *err) {
    return authenticode(plain(pe), algorithm, out, err);
}

int kernel_authenticode_patched(dstack_bytes kernel, uint64_t initrd_size, uint64_t memory_size,
                                unsigned xlf_bit, hash_algorithm algorithm, uint8_t *out,
                                dstack_error *err) {
    uint8_t head[HEAD_SIZE];
    int rc = check_size(kernel, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(head, kernel.data, sizeof head);
    rc = patch(head, kernel, initrd_size, memory_size, xlf_bit, err);
    const view patched = {.head = bytes_of(head, sizeof head), .file = kernel};
    return rc != 0 ? rc : authenticode(patched, algorithm, out, err);
}
