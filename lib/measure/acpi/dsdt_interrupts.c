/* The DSDT's interrupt routing: tables of the root bus, and the link devices behind them. */
#include "measure/acpi/acpi.h"

/* q35 wires slots 0 to 24 to the lines E to H, starting one line later with each slot, slot 30
 * (QEMU's DMI bridge) to E to H, and the chipset's own slots to A to D. */
static void put_route(aml *a, const char *prefix, unsigned slot, unsigned pin) {
    const char first = slot < 25 || slot == 30 ? 'E' : 'A';
    const unsigned turn = slot < 25 ? slot : 0;
    aml_putf(a, "Package 4 { %u %u %s%c 0 }", slot << 16 | 0xffff, pin, prefix,
             first + (int)((turn + pin) % 4));
}

static void put_routes(aml *a, const char *name, const char *prefix) {
    aml_putf(a, "Name %s Package 128 {", name);
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            put_route(a, prefix, slot, pin);
        }
    }
    aml_put(a, "}");
}

/* Interrupt flags, section 6.4.3.6: consumer, shared, active high; bit 1 means edge. */
static unsigned interrupt_flags(const acpi_machine *m) {
    return m->profile.level_interrupts ? 0x09 : 0x0b;
}

static void put_link(const acpi_machine *m, aml *a, unsigned i) {
    const char line = (char)('A' + i);
    aml_putf(a,
             "Device LNK%c { Name _HID Eisa PNP0C0F Name _UID %u"
             " Name _PRS Resources { Interrupt3 %u 3 5 10 11 }"
             " Method _STA 0 { Return IQST PRQ%c }"
             " Method _DIS 0 { Or PRQ%c 0x80 PRQ%c }"
             " Method _CRS 0 { Return IQCR PRQ%c }"
             " Method _SRS 1 { CreateDwordField Arg0 5 PRRI Store PRRI PRQ%c } }",
             line, i, interrupt_flags(m), line, line, line, line, line);
}

static void put_fixed_link(const acpi_machine *m, aml *a, unsigned i) {
    const unsigned flags = interrupt_flags(m), gsi = 16 + i;
    aml_putf(a,
             "Device GSI%c { Name _HID Eisa PNP0C0F Name _UID %u"
             " Name _PRS Resources { Interrupt %u 1 %u }"
             " Name _CRS Resources { Interrupt %u 1 %u }"
             " Method _DIS 0 { } Method _SRS 1 { } }",
             'A' + (int)i, gsi, flags, gsi, flags, gsi);
}

void dsdt_put_interrupts(const acpi_machine *m, aml *a) {
    aml_put(a, "Name PICF 0 Method _PIC 1 { Store Arg0 PICF } Scope _SB { Scope PCI0 {");
    put_routes(a, "PRTP", "LNK");
    put_routes(a, "PRTA", "GSI");
    aml_put(a, "Method _PRT 0 { If LEqual PICF 0 { Return PRTP } Else { Return PRTA } } }");
    aml_put(a, "Method IQST 1 { If And 0x80 Arg0 0 { Return 9 } Return 0x0b }");
    aml_putf(a,
             "Method IQCR 9 { Name PRR0 Resources { Interrupt %u 1 0 }"
             " CreateDwordField PRR0 5 PRRI Store And Arg0 0x0f 0 PRRI Return PRR0 }",
             interrupt_flags(m));
    for (unsigned i = 0; i < 8; i++) {
        put_link(m, a, i);
    }
    for (unsigned i = 0; i < 8; i++) {
        put_fixed_link(m, a, i);
    }
    aml_put(a, "}");
}
