/* The script by which the firmware places and links the tables: QEMU's docs/specs and OVMF's
 * QemuLoader.h ("etc/table-loader"). */
#include <string.h>

#include "base/buf.h"
#include "measure/acpi/acpi.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"
#define COMMAND_SIZE 128
#define NAME_SIZE 56
#define SCRIPT_ALIGN 4096U

enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };

static void put_name(dstack_buf *out, const char *name) {
    buf_put_str(out, name);
    buf_put_zeros(out, NAME_SIZE - strlen(name));
}

static void end_command(dstack_buf *out) {
    buf_put_zeros(out, (COMMAND_SIZE - out->len % COMMAND_SIZE) % COMMAND_SIZE);
}

static void put_allocate(dstack_buf *out, const char *file, uint32_t align, uint8_t zone) {
    buf_put_u32le(out, ALLOCATE);
    put_name(out, file);
    buf_put_u32le(out, align);
    buf_put_u8(out, zone);
    end_command(out);
}

static void put_pointer(dstack_buf *out, const char *file, uint32_t offset, uint8_t size) {
    buf_put_u32le(out, ADD_POINTER);
    put_name(out, file);
    put_name(out, TABLES_FILE);
    buf_put_u32le(out, offset);
    buf_put_u8(out, size);
    end_command(out);
}

static void put_checksum(dstack_buf *out, const char *file, uint32_t result, uint32_t start,
                         uint32_t len) {
    buf_put_u32le(out, ADD_CHECKSUM);
    put_name(out, file);
    buf_put_u32le(out, result);
    buf_put_u32le(out, start);
    buf_put_u32le(out, len);
    end_command(out);
}

static void put_table_checksum(dstack_buf *out, const acpi_layout *layout, enum acpi_table table) {
    const uint32_t start = layout->tables[table].offset, len = layout->tables[table].len;
    if (len > 0) {
        put_checksum(out, TABLES_FILE, start + 9, start, len);
    }
}

void acpi_put_loader(const acpi_layout *layout, dstack_buf *out) {
    const uint32_t fadt = layout->tables[ACPI_FADT].offset;
    const uint32_t rsdt = layout->tables[ACPI_RSDT].offset;
    put_allocate(out, RSDP_FILE, 16, ZONE_FSEG);
    put_allocate(out, TABLES_FILE, 64, ZONE_HIGH);
    put_table_checksum(out, layout, ACPI_DSDT);
    put_pointer(out, TABLES_FILE, fadt + 36, 4);  /* FACS */
    put_pointer(out, TABLES_FILE, fadt + 40, 4);  /* DSDT */
    put_pointer(out, TABLES_FILE, fadt + 140, 8); /* X_DSDT */
    for (enum acpi_table t = ACPI_FADT; t < ACPI_RSDT; t++) {
        put_table_checksum(out, layout, t);
    }
    for (uint32_t at = 36; at < layout->tables[ACPI_RSDT].len; at += 4) {
        put_pointer(out, TABLES_FILE, rsdt + at, 4);
    }
    put_table_checksum(out, layout, ACPI_RSDT);
    put_pointer(out, RSDP_FILE, 16, 4);
    put_checksum(out, RSDP_FILE, 8, 0, 20);
    buf_put_zeros(out, (SCRIPT_ALIGN - out->len % SCRIPT_ALIGN) % SCRIPT_ALIGN);
}
