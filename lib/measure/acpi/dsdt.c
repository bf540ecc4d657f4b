/* The DSDT of a q35 machine: its parts in QEMU's order, and the smaller of them. */
#include <inttypes.h>

#include "measure/acpi/acpi.h"

/* Writes to the debug port 0x402. */
void dsdt_put_debug(aml *a) {
    aml_put(a, "Scope \\ { Region DBG 1 0x402 1 Field DBG 1 { DBGB:8 }"
               " Method DBUG 1 {"
               "  ToHexString Arg0 Local0 ToBuffer Local0 Local0"
               "  Subtract SizeOf Local0 1 Local1 Store 0 Local2"
               "  While LLess Local2 Local1 {"
               "   Store DerefOf Index Local0 Local2 0 DBGB Increment Local2 }"
               "  Store 0x0a DBGB } }");
}

static void put_container(aml *a, const char *name, const char *uid, unsigned base, unsigned len) {
    aml_putf(a,
             "Device %s { Name _HID 'PNP0A06' Name _UID '%s' Name _STA 0x0b"
             " Name _CRS Resources { Io %u %u 1 %u } }",
             name, uid, base, base, len);
}

/* Type-specific flags of memory windows, section 6.4.3.5.5: read and write, cacheable or not. */
#define CACHEABLE 3U
#define NOT_CACHEABLE 1U

static void put_dword_window(aml *a, unsigned flags, uint64_t first, uint64_t end) {
    aml_putf(a, "DwordMemory %u 0 %" PRIu64 " %" PRIu64 " 0 %" PRIu64, flags, first, end - 1,
             end - first);
}

/* What the root bus decodes. The 64-bit window begins where OVMF puts it with 46 address bits. */
void dsdt_put_windows(const acpi_machine *m, aml *a) {
    const uint64_t high = UINT64_C(0x380000000000), len = acpi_pci_window(m->shape);
    const unsigned last_bus = acpi_has_expander(m->shape) ? 4 : 255;
    aml_put(a, "Scope \\_SB.PCI0 { Name _CRS Resources {");
    aml_putf(a, "WordBus 0 0 %u 0 %u", last_bus, last_bus + 1);
    aml_put(a, "Io 0xcf8 0xcf8 1 8");
    aml_put(a, "WordIo 0 0 0xcf7 0 0xcf8 WordIo 0 0xd00 0xffff 0 0xf300");
    put_dword_window(a, CACHEABLE, 0xa0000, 0xc0000);
    put_dword_window(a, NOT_CACHEABLE, acpi_low_memory(m->shape), 0xe0000000);
    put_dword_window(a, NOT_CACHEABLE, 0xf0000000, 0xfec00000);
    aml_putf(a, "QwordMemory %u 0 %" PRIu64 " %" PRIu64 " 0 %" PRIu64, CACHEABLE, high,
             high + len - 1, len);
    aml_put(a, "}");
    put_container(a, "GPE0", "GPE0 resources", 0x620, 0x10);
    if (!m->shape->hotplug_off) {
        put_container(a, "PHPR", "PCI Hotplug resources", 0xcc0, 0x18);
    }
    aml_put(a, "}");
}

/* Sleep states, and the device of fw_cfg. */
void dsdt_put_firmware_config(aml *a) {
    aml_put(a, "Scope \\ {"
               " Name _S3 Package 4 { 1 1 0 0 }"
               " Name _S4 Package 4 { 2 2 0 0 }"
               " Name _S5 Package 4 { 0 0 0 0 } }"
               "Scope \\_SB.PCI0 { Device FWCF { Name _HID 'QEMU0002' Name _STA 0x0b"
               " Name _CRS Resources { Io 0x510 0x510 1 0x0c } } }");
}

void dsdt_put(const acpi_machine *m, aml *a) {
    dsdt_put_debug(a);
    dsdt_put_host_bridge(m, a);
    if (!m->shape->hotplug_off) {
        dsdt_put_hotplug(m, a);
    }
    dsdt_put_interrupts(m, a);
    aml_put(a, "Scope _GPE { Name _HID 'ACPI0006' }");
    dsdt_put_cpus(m, a);
    aml_put(a, "Method \\_GPE._E02 0 { \\_SB.CPUS.CSCN }");
    if (acpi_has_expander(m->shape)) {
        dsdt_put_expander(m, a);
    }
    dsdt_put_windows(m, a);
    dsdt_put_firmware_config(a);
    dsdt_put_devices(m, a);
    if (!m->shape->hotplug_off) {
        aml_put(a, "Scope _GPE { Method _E01 0 { } }");
    }
}
