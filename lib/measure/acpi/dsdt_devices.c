/* The DSDT's devices of bus 0: one entry for each slot that is in use, and what stands behind the
 * LPC bridge. */
#include "base/error.h"
#include "measure/acpi/acpi.h"

#define SLOT_LPC 31U
#define SLOT_EXPANDER 16U

/* Slots from 0 on without a gap: host bridge, data disk, vsock, host share, root disk, volumes,
 * network interfaces. */
static unsigned plain_slots(const acpi_machine *m) {
    return 4 + m->root_verity + m->shape->num_nics + m->shape->num_verity_volumes;
}

static unsigned root_ports(const acpi_machine *m) {
    return m->shape->num_nvswitches + (acpi_has_expander(m->shape) ? 0 : m->shape->num_gpus);
}

int acpi_check_devices(const acpi_machine *m, dstack_error *err) {
    const dstack_vm_shape *s = m->shape;
    if (s->num_nics > ACPI_MAX_DEVICES || s->num_verity_volumes > ACPI_MAX_DEVICES ||
        s->num_gpus > ACPI_MAX_DEVICES || s->num_nvswitches > ACPI_MAX_DEVICES) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "more than %u devices of a kind",
                         ACPI_MAX_DEVICES);
    }
    const bool expander = acpi_has_expander(s);
    if (plain_slots(m) + root_ports(m) + expander > SLOT_LPC ||
        (expander && plain_slots(m) > SLOT_EXPANDER)) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "%u devices do not find room on the machine's root bus",
                         plain_slots(m) + root_ports(m));
    }
    if (s->num_gpus + s->num_nvswitches > 0 && !s->hotplug_off) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "the ACPI tables of a machine with GPUs or NVSwitches are known with "
                         "hotplug_off only");
    }
    return 0;
}

static void put_head(aml *a, unsigned slot, unsigned function) {
    aml_putf(a, "Device S%02X { Name _ADR %u", slot << 3 | function, slot << 16 | function);
}

static void put_lpc(const acpi_machine *m, aml *a) {
    put_head(a, SLOT_LPC, 0);
    aml_put(a, "Region PIRQ 2 0x60 0x0c"
               " Scope \\_SB { Field PCI0.SF8.PIRQ 1 {"
               "  PRQA:8 PRQB:8 PRQC:8 PRQD:8 :32 PRQE:8 PRQF:8 PRQG:8 PRQH:8 } }");
    aml_put(a, "Device KBD { Name _HID Eisa PNP0303 Name _STA 0x0f Name _CRS Resources {"
               "  Io 0x60 0x60 1 1 Io 0x64 0x64 1 1 IrqNoFlags 0x0002 } }"
               " Device MOU { Name _HID Eisa PNP0F13 Name _STA 0x0f Name _CRS Resources {"
               "  IrqNoFlags 0x1000 } }"
               " Device COM1 { Name _HID Eisa PNP0501 Name _UID 1 Name _STA 0x0f"
               "  Name _CRS Resources { Io 0x3f8 0x3f8 0 8");
    aml_put(a, m->profile.serial_irq_flags ? "Irq 0x0010 0x18" : "IrqNoFlags 0x0010");
    aml_put(a, "} } Device RTC { Name _HID Eisa PNP0B00 Name _CRS Resources {"
               "  Io 0x70 0x70 1 8 IrqNoFlags 0x0100 } } }");
}

/* Root ports take the slots behind the others, each with its one child. */
static void put_root_ports(const acpi_machine *m, aml *a) {
    const bool expander = acpi_has_expander(m->shape);
    unsigned slot = plain_slots(m);
    bool expander_done = !expander;
    for (unsigned left = root_ports(m); left > 0 || !expander_done; slot++) {
        if (!expander_done && (slot == SLOT_EXPANDER || left == 0)) {
            slot = SLOT_EXPANDER;
            put_head(a, slot, 0);
            aml_put(a, "}");
            expander_done = true;
            continue;
        }
        put_head(a, slot, 0);
        aml_put(a, "Device S00 { Name _ADR 0 } }");
        left--;
    }
}

void dsdt_put_devices(const acpi_machine *m, aml *a) {
    aml_put(a, "Scope \\_SB { Scope PCI0 {");
    for (unsigned slot = 0; slot < plain_slots(m); slot++) {
        put_head(a, slot, 0);
        aml_put(a, "}");
    }
    put_root_ports(m, a);
    put_lpc(m, a);
    put_head(a, SLOT_LPC, 2); /* SATA */
    aml_put(a, "}");
    put_head(a, SLOT_LPC, 3); /* SMBus */
    aml_put(a, "} } }");
}
