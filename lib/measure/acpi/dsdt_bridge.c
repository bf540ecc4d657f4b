/* The DSDT's host bridges, and the hot-plug methods of the root bus. */
#include "measure/acpi/acpi.h"

/* "Device labeling interface" and "PCI host bridge device": PCI Firmware Specification, sections
 * 4.6 and 4.5. */
#define UUID_DSM "e5c937d0-3553-4d7a-9117-ea4d19c3434d"
#define UUID_OSC "33db4d5b-1ff7-401c-9657-7441c03dd766"

/* `If` of a device-specific method that answers which functions there are; its body ends with the
 * check of the revision. */
#define DSM_FUNCTION_0                                                                             \
    " If LEqual Arg2 0 { Store Buffer 1 { #00 } Local0"                                            \
    " If LNot LEqual Arg0 Uuid " UUID_DSM " { Return Local0 }"                                     \
    " If LLess Arg1 2 { Return Local0 }"

void dsdt_put_osc(aml *a, unsigned features) {
    aml_putf(a,
             "Method _OSC 4 { CreateDwordField Arg3 0 CDW1"
             " If LEqual Arg0 Uuid " UUID_OSC " {"
             "  CreateDwordField Arg3 4 CDW2 CreateDwordField Arg3 8 CDW3"
             "  Store CDW3 Local0 And Local0 %u Local0"
             "  If LNot LEqual Arg1 1 { Or CDW1 8 CDW1 }"
             "  If LNot LEqual CDW3 Local0 { Or CDW1 0x10 CDW1 }"
             "  Store Local0 CDW3 }"
             " Else { Or CDW1 4 CDW1 }"
             " Return Arg3 }",
             features);
}

#define OSC_NATIVE_HOTPLUG 1U
#define OSC_OTHERS 0x1eU

void dsdt_put_host_bridge(const acpi_machine *m, aml *a) {
    aml_put(a, "Scope _SB { Device PCI0 {"
               " Name _HID Eisa PNP0A08 Name _CID Eisa PNP0A03 Name _UID 0");
    /* Without ACPI hot-plug, the native one is the system's. */
    dsdt_put_osc(a, OSC_OTHERS | (m->shape->hotplug_off ? OSC_NATIVE_HOTPLUG : 0));
    aml_put(a, "Method EDSM 0x0d {" DSM_FUNCTION_0 "  Store 0x81 Index Local0 0 0 Return Local0 }"
               " If LEqual Arg2 7 {"
               "  Store Package 2 { 0 '' } Local0"
               "  Store DerefOf Index Arg4 0 0 Local1 Store Local1 Index Local0 0 0"
               "  Return Local0 } } }");
    /* The memory-mapped configuration space. */
    aml_put(a, "Device DRAC { Name _HID 'PNP0C01' Name _CRS Resources {"
               " DwordMemory 1 0 0xe0000000 0xefffffff 0 0x10000000 } } }");
}

/* The slot's number in Arg4, as the hot-plug device knows it. */
#define CALL_AIDX "AIDX DerefOf Index Arg4 0 0 DerefOf Index Arg4 1 0"

static void put_device_method(const acpi_machine *m, aml *a) {
    aml_put(a, "Method PDSM 0x0d {" DSM_FUNCTION_0 "  Store 0 Local1 Store " CALL_AIDX " Local2"
               "  If LNot Or LEqual Local2 0 LEqual Local2 0xffffffff 0 {"
               "   Or Local1 1 Local1 Or Local1 ShiftLeft 1 7 0 Local1 }"
               "  Store Local1 Index Local0 0 0 Return Local0 }");
    if (!m->profile.level_interrupts) {
        aml_put(a, "If LEqual Arg2 7 { Store Package 2 { 0 '' } Local0"
                   " Store " CALL_AIDX " Local2 Store Local2 Index Local0 0 0 Return Local0 } }");
        return;
    }
    aml_put(a, "If LEqual Arg2 7 { Store " CALL_AIDX " Local2 Store Package 2 { } Local0"
               " If LNot LOr LEqual Local2 0 LEqual Local2 0xffffffff {"
               "  Store Local2 Index Local0 0 0 Store '' Index Local0 1 0 }"
               " Return Local0 } }");
}

void dsdt_put_hotplug(const acpi_machine *m, aml *a) {
    aml_put(a, "Scope _SB.PCI0 {"
               " Region PCST 1 0xcc0 8 Field PCST 0x43 { PCIU:32 PCID:32 }"
               " Region SEJ 1 0xcc8 4 Field SEJ 0x43 { B0EJ:32 }"
               " Region BNMR 1 0xcd0 8 Field BNMR 0x43 { BNUM:32 PIDX:32 }"
               " Mutex BLCK 0"
               " Method PCEJ 2 { Acquire BLCK 0xffff Store Arg0 BNUM"
               "  Store ShiftLeft 1 Arg1 0 B0EJ Release BLCK Return 0 }"
               " Method AIDX 2 { Acquire BLCK 0xffff Store Arg0 BNUM"
               "  Store ShiftLeft 1 Arg1 0 PIDX Store PIDX Local0 Release BLCK Return Local0 }");
    put_device_method(m, a);
    aml_put(a, "}");
}

/* Bus 5, of NUMA node 0: where huge pages put the GPUs. */
void dsdt_put_expander(const acpi_machine *m, aml *a) {
    aml_put(a, "Scope \\_SB { Device PC05 { Name _UID 5 Name _BBN 5"
               " Name _HID Eisa PNP0A08 Name _CID Eisa PNP0A03");
    dsdt_put_osc(a, OSC_OTHERS | OSC_NATIVE_HOTPLUG);
    aml_put(a, "Name _PXM 0 Method _PRT 0 { Return Package 128 {");
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_putf(a, "Package 4 { %u %u LNK%c 0 }", slot << 16 | 0xffff, pin,
                     'A' + (slot + pin + 3) % 4);
        }
    }
    aml_put(a, "} } Name _CRS Resources { WordBus 0 5 5 0 1 } } }");
}
