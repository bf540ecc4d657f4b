/* Which machines' tables are known, and the three files of one. */
#include "measure/acpi/acpi.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"

#define PCI_WINDOW_DEFAULT UINT64_C(0x800000000)
#define PCI_WINDOW_MAX (UINT64_C(1) << 46)
#define MEMORY_MIN (UINT64_C(16) << 20)
#define MEMORY_MAX (UINT64_C(1) << 45)

/* Versions of QEMU between which tables differ; a version belongs to the last line that it reaches.
 * Tables of a QEMU that is newer than `known_end` are not known. */
static const acpi_profile profiles[] = {
    {.since = {8, 0}, .cpu_init = true},
    {.since = {9, 2}, .level_interrupts = true, .cpu_init = true},
    {.since = {10, 0}, .level_interrupts = true, .cpu_init = true, .queued_ejects = true},
    {.since = {11, 0}, .level_interrupts = true, .queued_ejects = true},
    {.since = {11, 1}, .level_interrupts = true, .queued_ejects = true, .serial_irq_flags = true},
};
static const uint32_t known_end[2] = {11, 2};

static bool reaches(const uint32_t version[3], const uint32_t since[2]) {
    return version[0] > since[0] || (version[0] == since[0] && version[1] >= since[1]);
}

uint64_t acpi_low_memory(const dstack_vm_shape *shape) {
    return shape->memory_size >= ACPI_LOW_MEMORY_TURN ? UINT64_C(0x80000000) : shape->memory_size;
}

uint64_t acpi_pci_window(const dstack_vm_shape *shape) {
    return shape->pci_hole64_size != 0 ? shape->pci_hole64_size : PCI_WINDOW_DEFAULT;
}

bool acpi_has_expander(const dstack_vm_shape *shape) {
    return shape->hugepages && shape->num_gpus > 0;
}

static int check_sizes(const dstack_vm_shape *shape, dstack_error *err) {
    if (shape->swtpm) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "machines with swtpm cannot be measured");
    }
    if (shape->cpu_count == 0 || shape->cpu_count > ACPI_MAX_CPUS) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "no machine has %u CPUs", shape->cpu_count);
    }
    if (shape->memory_size < MEMORY_MIN || shape->memory_size > MEMORY_MAX) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "no machine has %llu bytes of memory",
                         (unsigned long long)shape->memory_size);
    }
    if (shape->pci_hole64_size > PCI_WINDOW_MAX) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "no machine has a 64-bit window of %llu bytes",
                         (unsigned long long)shape->pci_hole64_size);
    }
    return 0;
}

int acpi_machine_of(const dstack_vm_shape *shape, acpi_machine *out, dstack_error *err) {
    const uint32_t *version = shape->qemu_version;
    *out = (acpi_machine){.shape = shape, .root_verity = true};
    if (!reaches(version, profiles[0].since) || reaches(version, known_end)) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "the ACPI tables of QEMU %u.%u.%u are not known: 8.0 to %u.%u are",
                         version[0], version[1], version[2], known_end[0], known_end[1] - 1);
    }
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++) {
        if (reaches(version, profiles[i].since)) {
            out->profile = profiles[i];
        }
    }
    const int rc = check_sizes(shape, err);
    return rc != 0 ? rc : acpi_check_devices(out, err);
}

int acpi_build(const acpi_machine *m, dstack_acpi *out, dstack_error *err) {
    acpi_layout layout;
    int rc;
    memset(out, 0, sizeof *out);
    acpi_put_tables(m, &out->tables, &layout);
    acpi_put_rsdp(&layout, &out->rsdp);
    acpi_put_loader(&layout, &out->loader);
    if ((rc = buf_check(&out->tables, err)) != 0 || (rc = buf_check(&out->rsdp, err)) != 0 ||
        (rc = buf_check(&out->loader, err)) != 0) {
        dstack_acpi_clear(out);
    }
    return rc;
}

int dstack_acpi_generate(const dstack_vm_shape *shape, dstack_acpi *out, dstack_error *err) {
    acpi_machine m;
    memset(out, 0, sizeof *out);
    const int rc = acpi_machine_of(shape, &m, err);
    return rc != 0 ? rc : acpi_build(&m, out, err);
}

void dstack_acpi_clear(dstack_acpi *acpi) {
    if (acpi != NULL) {
        dstack_buf_clear(&acpi->tables);
        dstack_buf_clear(&acpi->rsdp);
        dstack_buf_clear(&acpi->loader);
    }
}

int dstack_vm_shape_set_acpi(dstack_vm_shape *shape, dstack_error *err) {
    dstack_acpi acpi;
    const int rc = dstack_acpi_generate(shape, &acpi, err);
    if (rc == 0) {
        hash_sha384(bytes_of_buf(&acpi.loader), shape->acpi_loader);
        hash_sha384(bytes_of_buf(&acpi.rsdp), shape->acpi_rsdp);
        hash_sha384(bytes_of_buf(&acpi.tables), shape->acpi_tables);
        shape->has_acpi = true;
        dstack_acpi_clear(&acpi);
    }
    return rc;
}
