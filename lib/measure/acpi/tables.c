/* The tables beside the DSDT, and the blob that holds them all: ACPI specification, chapter 5.
 * Checksums and addresses are the firmware's to fill in. */
#include <string.h>

#include "base/buf.h"
#include "measure/acpi/acpi.h"

#define BLOB_ALIGN 131072U
#define LOCAL_APIC UINT32_C(0xfee00000)
#define IO_APIC UINT32_C(0xfec00000)
#define MMCONFIG UINT64_C(0xe0000000)
#define GIB (UINT64_C(1) << 30)
/* AMD's HyperTransport range begins here: memory that would end behind it starts at 1 TiB. */
#define AMD_HT_START UINT64_C(0xfd00000000)

/* Header of 36 bytes; end_table() fills in the length. */
static size_t begin_table(dstack_buf *out, const char *signature, uint8_t revision) {
    const size_t start = out->len;
    buf_put(out, signature, 4);
    buf_put_u32le(out, 0);
    buf_put_u8(out, revision);
    buf_put_u8(out, 0); /* checksum */
    buf_put_str(out, "BOCHS BXPC    ");
    buf_put_u32le(out, 1);
    buf_put_str(out, "BXPC");
    buf_put_u32le(out, 1);
    return start;
}

static void end_table(dstack_buf *out, size_t start, enum acpi_table table, acpi_layout *layout) {
    const uint32_t len = (uint32_t)(out->len - start);
    if (!out->failed) {
        for (size_t i = 0; i < 4; i++) {
            out->data[start + 4 + i] = (uint8_t)(len >> (8 * i));
        }
    }
    layout->tables[table].offset = (uint32_t)start;
    layout->tables[table].len = len;
}

/* Section 5.2.10. */
static void put_facs(dstack_buf *out, acpi_layout *layout) {
    const size_t start = out->len;
    buf_put_str(out, "FACS");
    buf_put_u32le(out, 64);
    buf_put_zeros(out, 56);
    layout->tables[ACPI_FACS].offset = (uint32_t)start;
    layout->tables[ACPI_FACS].len = 64;
}

static void put_dsdt(const acpi_machine *m, dstack_buf *out, acpi_layout *layout) {
    const size_t start = begin_table(out, "DSDT", 1);
    aml a = {.out = out};
    dsdt_put(m, &a);
    out->failed |= a.failed || a.depth != 0;
    end_table(out, start, ACPI_DSDT, layout);
}

/* Generic address structure, section 5.2.3.2: in I/O space, access size undefined. */
static void put_gas(dstack_buf *out, uint8_t bits, uint16_t port) {
    buf_put_u8(out, port != 0 || bits != 0);
    buf_put_u8(out, bits);
    buf_put_u16le(out, 0);
    buf_put_u64le(out, port);
}

#define FADT_FLAGS 0x84a5U /* WBINVD, C1, sleep button, RTC wake-up ..., reset register */
#define FADT_FORCE_CLUSTER (1U << 18)
#define PM_BASE 0x600U

/* The I/O ports of ICH9's power management. */
static void put_fadt_ports(dstack_buf *out) {
    static const uint16_t ports[] = {PM_BASE, 0, PM_BASE + 4, 0, 0, PM_BASE + 8, PM_BASE + 0x20, 0};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        buf_put_u32le(out, ports[i]);
    }
    buf_put(out, "\x04\x02\x00\x04\x10\x00\x00\x00", 8); /* their lengths */
}

/* Section 5.2.9, revision 3. */
static void put_fadt(const acpi_machine *m, dstack_buf *out, acpi_layout *layout) {
    const uint32_t dsdt = layout->tables[ACPI_DSDT].offset;
    const size_t start = begin_table(out, "FACP", 3);
    buf_put_u32le(out, layout->tables[ACPI_FACS].offset);
    buf_put_u32le(out, dsdt);
    buf_put_u8(out, 1); /* interrupt model of ACPI 1.0: dual 8259 */
    buf_put_u8(out, 0);
    buf_put_u16le(out, 9); /* SCI */
    buf_put_u32le(out, m->smm ? 0xb2 : 0);
    buf_put_u8(out, m->smm ? 2 : 0); /* ACPI enable and disable */
    buf_put_u8(out, m->smm ? 3 : 0);
    buf_put_u16le(out, 0);
    put_fadt_ports(out);
    buf_put_u16le(out, 0x0fff); /* latencies: no C2 and C3 */
    buf_put_u16le(out, 0x0fff);
    buf_put_zeros(out, 8);
    buf_put_u8(out, 0x32); /* RTC century */
    buf_put_u16le(out, 2); /* there is an 8042 */
    buf_put_u8(out, 0);
    buf_put_u32le(out, FADT_FLAGS | (m->shape->cpu_count > 8 ? FADT_FORCE_CLUSTER : 0));
    put_gas(out, 8, 0xcf9); /* reset register and its value */
    buf_put_u8(out, 0x0f);
    buf_put_zeros(out, 3 + 8);
    buf_put_u64le(out, dsdt);
    put_gas(out, 32, PM_BASE);
    put_gas(out, 0, 0);
    put_gas(out, 16, PM_BASE + 4);
    put_gas(out, 0, 0);
    put_gas(out, 0, 0);
    put_gas(out, 32, PM_BASE + 8);
    put_gas(out, 128, PM_BASE + 0x20);
    put_gas(out, 0, 0);
    end_table(out, start, ACPI_FADT, layout);
}

/* Local APIC or local x2APIC, sections 5.2.12.2 and 5.2.12.12. */
void madt_put_cpu(dstack_buf *out, uint32_t id) {
    if (id < 255) {
        const uint8_t entry[] = {0, 8, (uint8_t)id, (uint8_t)id, 1, 0, 0, 0};
        buf_put(out, entry, sizeof entry);
        return;
    }
    buf_put(out, "\x09\x10\x00\x00", 4);
    buf_put_u32le(out, id);
    buf_put_u32le(out, 1);
    buf_put_u32le(out, id);
}

static void put_override(dstack_buf *out, uint8_t irq, uint32_t gsi, uint16_t flags) {
    buf_put_u8(out, 2);
    buf_put_u8(out, 10);
    buf_put_u8(out, 0);
    buf_put_u8(out, irq);
    buf_put_u32le(out, gsi);
    buf_put_u16le(out, flags);
}

/* The timer's interrupt arrives at input 2; those of PCI are level-triggered. */
static void put_overrides(const acpi_machine *m, dstack_buf *out) {
    static const uint8_t pci[] = {5, 9, 10, 11};
    if (!m->profile.level_interrupts) {
        for (uint8_t irq = 0; irq < 16; irq++) {
            put_override(out, irq, irq == 0 ? 2 : irq, 5);
        }
        return;
    }
    put_override(out, 0, 2, 0);
    for (size_t i = 0; i < sizeof pci; i++) {
        put_override(out, pci[i], pci[i], 0x0d);
    }
}

/* Section 5.2.12. */
static void put_madt(const acpi_machine *m, dstack_buf *out, acpi_layout *layout) {
    const size_t start = begin_table(out, "APIC", 3);
    buf_put_u32le(out, LOCAL_APIC);
    buf_put_u32le(out, m->shape->pic);
    for (uint32_t i = 0; i < m->shape->cpu_count; i++) {
        madt_put_cpu(out, i);
    }
    buf_put(out, "\x01\x0c\x00\x00", 4);
    buf_put_u32le(out, IO_APIC);
    buf_put_u32le(out, 0);
    put_overrides(m, out);
    if (m->shape->cpu_count <= 255) {
        buf_put(out, "\x04\x06\xff\x00\x00\x01", 6); /* NMI at LINT1 of every CPU */
    } else {
        buf_put(out, "\x0a\x0c\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00", 12);
    }
    end_table(out, start, ACPI_MADT, layout);
}

static void put_affinity(dstack_buf *out, uint32_t id) {
    if (id < 255) {
        buf_put(out, "\x00\x10\x00", 3);
        buf_put_u8(out, (uint8_t)id);
        buf_put_u32le(out, 1);
        buf_put_zeros(out, 8);
        return;
    }
    buf_put(out, "\x02\x18\x00\x00", 4);
    buf_put_u32le(out, 0);
    buf_put_u32le(out, id);
    buf_put_u32le(out, 1);
    buf_put_zeros(out, 8);
}

static void put_memory(dstack_buf *out, uint64_t base, uint64_t len) {
    buf_put_u8(out, 1);
    buf_put_u8(out, 40);
    buf_put_zeros(out, 6);
    buf_put_u64le(out, base);
    buf_put_u64le(out, len);
    buf_put_u32le(out, 0);
    buf_put_u32le(out, len > 0); /* enabled */
    buf_put_u64le(out, 0);
}

/* Section 5.2.16: with huge pages QEMU has NUMA nodes; ours is node 0. */
static void put_srat(const acpi_machine *m, dstack_buf *out, acpi_layout *layout) {
    const uint64_t low = acpi_low_memory(m->shape), high = m->shape->memory_size - low;
    const uint64_t above = (4 * GIB + high + GIB - 1) / GIB * GIB;
    const uint64_t base =
        above + acpi_pci_window(m->shape) - 1 >= AMD_HT_START ? 1024 * GIB : 4 * GIB;
    const size_t start = begin_table(out, "SRAT", 1);
    buf_put_u32le(out, 1);
    buf_put_u64le(out, 0);
    for (uint32_t i = 0; i < m->shape->cpu_count; i++) {
        put_affinity(out, i);
    }
    put_memory(out, 0, 0xa0000);
    put_memory(out, 0x100000, low - 0x100000);
    put_memory(out, high > 0 ? base : 0, high);
    end_table(out, start, ACPI_SRAT, layout);
}

/* PCI Firmware Specification, section 4.1.2: all 256 buses of segment 0. */
static void put_mcfg(dstack_buf *out, acpi_layout *layout) {
    const size_t start = begin_table(out, "MCFG", 1);
    buf_put_zeros(out, 8);
    buf_put_u64le(out, MMCONFIG);
    buf_put_u16le(out, 0);
    buf_put_u8(out, 0);
    buf_put_u8(out, 255);
    buf_put_zeros(out, 4);
    end_table(out, start, ACPI_MCFG, layout);
}

/* Windows ACPI Emulated Devices Table: the PM timer reads well. */
static void put_waet(dstack_buf *out, acpi_layout *layout) {
    const size_t start = begin_table(out, "WAET", 1);
    buf_put_u32le(out, 2);
    end_table(out, start, ACPI_WAET, layout);
}

static void put_rsdt(dstack_buf *out, acpi_layout *layout) {
    const size_t start = begin_table(out, "RSDT", 1);
    for (enum acpi_table t = ACPI_FADT; t < ACPI_RSDT; t++) {
        if (layout->tables[t].len > 0) {
            buf_put_u32le(out, layout->tables[t].offset);
        }
    }
    end_table(out, start, ACPI_RSDT, layout);
}

void acpi_put_tables(const acpi_machine *m, dstack_buf *out, acpi_layout *layout) {
    memset(layout, 0, sizeof *layout);
    put_facs(out, layout);
    put_dsdt(m, out, layout);
    put_fadt(m, out, layout);
    put_madt(m, out, layout);
    if (m->shape->hugepages) {
        put_srat(m, out, layout);
    }
    put_mcfg(out, layout);
    put_waet(out, layout);
    put_rsdt(out, layout);
    buf_put_zeros(out, (BLOB_ALIGN - out->len % BLOB_ALIGN) % BLOB_ALIGN);
}

/* Section 5.2.5.3, the first version of 20 bytes. */
void acpi_put_rsdp(const acpi_layout *layout, dstack_buf *out) {
    buf_put_str(out, "RSD PTR ");
    buf_put_u8(out, 0);
    buf_put_str(out, "BOCHS ");
    buf_put_u8(out, 0);
    buf_put_u32le(out, layout->tables[ACPI_RSDT].offset);
}
