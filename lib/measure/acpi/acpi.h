/* The ACPI tables that QEMU hands to a dstack guest's firmware: what it puts into its fw_cfg files
 * etc/acpi/tables, etc/acpi/rsdp and etc/table-loader before the guest links them. */
#ifndef MEASURE_ACPI_ACPI_H
#define MEASURE_ACPI_ACPI_H

#include <dstack/measure.h>

#include "measure/acpi/aml.h"

/* Limits of QEMU's q35 machine. */
#define ACPI_MAX_CPUS 4096U
#define ACPI_MAX_DEVICES 64U /* of each kind; the slots of bus 0 limit them further */

/* What changed in QEMU's tables between its versions. */
typedef struct acpi_profile {
    uint32_t since[2];     /* first version, major and minor */
    bool level_interrupts; /* link devices and MADT describe PCI interrupts as level-triggered, and
                              the device method of hot-plug has its later form */
    bool queued_ejects;    /* CPU scan collects what to eject before it acts */
    bool cpu_init;         /* the CPU hot-plug device selects CPU 0 when it starts */
    bool serial_irq_flags; /* COM1's interrupt states its trigger */
} acpi_profile;

typedef struct acpi_machine {
    const dstack_vm_shape *shape;
    acpi_profile profile;
    bool root_verity; /* a disk of the root file system stands before the data disk */
    bool smm;         /* system management mode; off on TDX */
} acpi_machine;

/* Memory below this stays in one piece; above, the part below 4 GiB ends at 2 GiB. */
#define ACPI_LOW_MEMORY_TURN UINT64_C(0xb0000000)

uint64_t acpi_low_memory(const dstack_vm_shape *shape);
/* Length of the 64-bit PCI window. */
uint64_t acpi_pci_window(const dstack_vm_shape *shape);
/* GPUs stand behind a PCI expander bridge of their NUMA node. */
bool acpi_has_expander(const dstack_vm_shape *shape);

/* The machine of a dstack guest, whose tables are known: DSTACK_E_UNSUPPORTED otherwise. */
int acpi_machine_of(const dstack_vm_shape *shape, acpi_machine *out, dstack_error *err);
/* Whether the devices find room on bus 0; part of acpi_machine_of, for machines made by hand. */
int acpi_check_devices(const acpi_machine *m, dstack_error *err);
/* Fills out (cleared by the caller). */
int acpi_build(const acpi_machine *m, dstack_acpi *out, dstack_error *err);

/* Parts of the DSDT, in the order in which they stand in it. */
void dsdt_put_debug(aml *a);
void dsdt_put_host_bridge(const acpi_machine *m, aml *a);
void dsdt_put_hotplug(const acpi_machine *m, aml *a);
void dsdt_put_interrupts(const acpi_machine *m, aml *a);
void dsdt_put_cpus(const acpi_machine *m, aml *a);
void dsdt_put_expander(const acpi_machine *m, aml *a);
void dsdt_put_windows(const acpi_machine *m, aml *a);
void dsdt_put_firmware_config(aml *a);
void dsdt_put_devices(const acpi_machine *m, aml *a);
/* _OSC of a host bridge: which features the system may take over. */
void dsdt_put_osc(aml *a, unsigned features);
void dsdt_put(const acpi_machine *m, aml *a);

/* One entry of the MADT that describes a CPU; also in the DSDT. */
void madt_put_cpu(dstack_buf *out, uint32_t id);

/* Where the tables stand in the blob: what the loader script is about. */
enum acpi_table {
    ACPI_FACS,
    ACPI_DSDT,
    ACPI_FADT,
    ACPI_MADT,
    ACPI_SRAT,
    ACPI_MCFG,
    ACPI_WAET,
    ACPI_RSDT,
    ACPI_TABLES
};
typedef struct acpi_layout {
    struct {
        uint32_t offset, len; /* length 0: absent */
    } tables[ACPI_TABLES];
} acpi_layout;

void acpi_put_tables(const acpi_machine *m, dstack_buf *out, acpi_layout *layout);
void acpi_put_rsdp(const acpi_layout *layout, dstack_buf *out);
void acpi_put_loader(const acpi_layout *layout, dstack_buf *out);

#endif
