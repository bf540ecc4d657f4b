/* The DSDT's CPUs and their hot-plug. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "measure/acpi/acpi.h"

#define PRES "\\_SB.PCI0.PRES."
#define LOCK "Acquire " PRES "CPLK 0xffff"
#define UNLOCK "Release " PRES "CPLK"

static void put_controller(const acpi_machine *m, aml *a) {
    aml_put(a, "Device \\_SB.PCI0.PRES { Name _HID Eisa PNP0A06"
               " Name _UID 'CPU Hotplug resources' Mutex CPLK 0"
               " Name _CRS Resources { Io 0xcd8 0xcd8 1 0x0c }"
               " Region PRST 1 0xcd8 0x0c"
               " Field PRST 0x41 { :32 CPEN:1 CINS:1 CRMV:1 CEJ0:1 CEJF:1 :3 CCMD:8 }"
               " Field PRST 3 { CSEL:32 :32 CDAT:32 }");
    if (m->profile.cpu_init) {
        aml_put(a, "Method _INI 8 { Store 0 CSEL }");
    }
    aml_put(a, "}");
}

static void put_notifier(const acpi_machine *m, aml *a) {
    aml_put(a, "Method CTFY 2 {");
    for (uint32_t i = 0; i < m->shape->cpu_count; i++) {
        aml_putf(a, "If LEqual Arg0 %u { Notify C%03X Arg1 }", i, i);
    }
    aml_put(a, "}");
}

/* Walks through the CPUs that have an event. The later form remembers what to eject, too. */
static void put_scan(const acpi_machine *m, aml *a) {
    const bool queued = m->profile.queued_ejects;
    aml_put(a, "Method CSCN 8 { " LOCK " Name CNEW Package 255 { }");
    aml_put(a, queued ? "Name CEJL Package 255 { }" : "");
    aml_put(a, "Store 0 Local3 Store 1 Local4 While LEqual Local4 1 {"
               " Store 0 Local4 Store 1 Local0 Store 0 Local1");
    aml_put(a, queued ? "Store 0 Local5" : "");
    aml_putf(a, "While LAnd LEqual Local0 1 LLess Local3 %u {", m->shape->cpu_count);
    aml_put(a, "Store 0 Local0 Store Local3 " PRES "CSEL Store 0 " PRES "CCMD"
               " If LLess " PRES "CDAT Local3 { Break }");
    aml_put(a, queued ? "If LOr LEqual Local1 255 LEqual Local5 255 { Store 1 Local4 Break }"
                      : "If LEqual Local1 255 { Store 1 Local4 Break }");
    aml_put(a, "Store " PRES "CDAT Local3"
               " If LEqual " PRES "CINS 1 {"
               "  Store Local3 Index CNEW Local1 0 Increment Local1 Store 1 Local0 }");
    aml_put(a, queued ? "If LEqual " PRES "CRMV 1 {"
                        " Store Local3 Index CEJL Local5 0 Increment Local5 Store 1 Local0 }"
                      : "Else { If LEqual " PRES "CRMV 1 {"
                        " CTFY Local3 3 Store 1 " PRES "CRMV Store 1 Local0 } }");
    aml_put(a, "Increment Local3 }"
               " Store 0 Local2 While LLess Local2 Local1 {"
               "  Store DerefOf Index CNEW Local2 0 Local3 CTFY Local3 1 Store Local3 Debug"
               "  Store Local3 " PRES "CSEL Store 1 " PRES "CINS Increment Local2 }");
    if (queued) {
        aml_put(a, "Store 0 Local2 While LLess Local2 Local5 {"
                   " Store DerefOf Index CEJL Local2 0 Local3 CTFY Local3 3"
                   " Store Local3 " PRES "CSEL Store 1 " PRES "CRMV Increment Local2 }");
    }
    aml_put(a, "} " UNLOCK " }");
}

static void put_methods(const acpi_machine *m, aml *a) {
    put_notifier(m, a);
    aml_put(a, "Method CSTA 9 { " LOCK " Store Arg0 " PRES "CSEL Store 0 Local0"
               " If LEqual " PRES "CPEN 1 { Store 0x0f Local0 } " UNLOCK " Return Local0 }");
    aml_put(a,
            "Method CEJ0 9 { " LOCK " Store Arg0 " PRES "CSEL Store 1 " PRES "CEJ0 " UNLOCK " }");
    put_scan(m, a);
    aml_put(a, "Method COST 0x0c { " LOCK " Store Arg0 " PRES "CSEL"
               " Store 1 " PRES "CCMD Store Arg1 " PRES "CDAT"
               " Store 2 " PRES "CCMD Store Arg2 " PRES "CDAT " UNLOCK " }");
}

/* The Processor statement ends at 254; beyond, CPUs are devices. */
static void put_cpu(const acpi_machine *m, aml *a, uint32_t i) {
    DSTACK_AUTO(buf) dstack_buf entry = {0}, hex = {0};
    madt_put_cpu(&entry, i);
    buf_put_hex(&hex, bytes_of_buf(&entry));
    const char *text = buf_text(&hex);
    if (text == NULL) {
        a->failed = true;
        return;
    }
    if (i < 255) {
        aml_putf(a, "Processor C%03X %u 0 0 {", i, i);
    } else {
        aml_putf(a, "Device C%03X { Name _HID 'ACPI0007' Name _UID %u", i, i);
    }
    aml_putf(a, "Method _STA 8 { Return CSTA %u } Name _MAT Buffer %zu { #%s }", i, entry.len,
             text);
    if (i > 0) {
        aml_putf(a, "Method _EJ0 1 { CEJ0 %u }", i);
    }
    aml_putf(a, "Method _OST 0x0b { COST %u Arg0 Arg1 Arg2 }", i);
    aml_put(a, m->shape->hugepages ? "Name _PXM 0 }" : "}");
}

void dsdt_put_cpus(const acpi_machine *m, aml *a) {
    aml_put(a, "Scope _SB {");
    put_controller(m, a);
    aml_put(a, "Device \\_SB.CPUS { Name _HID 'ACPI0010' Name _CID Eisa PNP0A05");
    put_methods(m, a);
    for (uint32_t i = 0; i < m->shape->cpu_count; i++) {
        put_cpu(m, a, i);
    }
    aml_put(a, "} }");
}
