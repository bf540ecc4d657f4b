/* The ACPI tables of a machine, taken from QEMU itself before its guest runs.
 *
 * QEMU is started stopped under its test protocol; the probe sets the few chipset registers that
 * firmware sets before it asks for the tables, and reads the three fw_cfg files. */
#ifndef VMM_ACPI_PROBE_H
#define VMM_ACPI_PROBE_H

#include <dstack/measure.h>

/* argv: QEMU with the machine to look at; "-S -qtest stdio" is added. Fills the shape's ACPI
 * digests. */
int acpi_probe(char *const argv[], dstack_vm_shape *shape, dstack_error *err);

#endif
