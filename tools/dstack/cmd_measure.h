/* The subcommands of `dstack measure` that have files of their own. */
#ifndef DSTACK_CMD_MEASURE_H
#define DSTACK_CMD_MEASURE_H

#include <dstack/measure.h>

#include "cli.h"

extern const struct cli_command cli_command_measure_tdx, cli_command_measure_acpi,
    cli_command_measure_uki;

/* A machine by --vm-config and the options that override its members. */
int measure_read_config(struct cli *cli, dstack_vm_config *out, dstack_error *err);

/* The options that measure_read_config() knows, as entries of a table. */
#define MEASURE_MACHINE_OPTIONS                                                                    \
    {"vm-config", 0, "JSON|FILE", "the machine as vm_config; the options below override it"},      \
        {"cpus", 0, "N", "virtual CPUs"}, {"cpu-count", 0, "N", "the same"},                       \
        {"memory", 0, "SIZE", "memory in bytes, or with K, M, G"},                                 \
        {"memory-size", 0, "SIZE", "the same"},                                                    \
        {"qemu-version", 0, "X.Y.Z", "QEMU that runs the guest"},                                  \
        {"qemu-single-pass-add-pages", 0, "[BOOL]",                                                \
         "order in which QEMU adds pages; true means two passes, despite its name"},               \
        {"two-pass", 0, "[BOOL]", "the same"}, {"pic", 0, "[BOOL]", "the machine has a PIC"},      \
        {"pci-hole64-size", 0, "SIZE", "64-bit PCI window"},                                       \
        {"hugepages", 0, "[BOOL]", "memory comes from huge pages"},                                \
        {"hotplug-off", 0, "[BOOL]", "no ACPI hot-plug of PCI devices"},                           \
        {"swtpm", 0, "[BOOL]", "the machine has a software TPM (not measurable)"},                 \
        {"num-gpus", 0, "N", "passed-through GPUs"},                                               \
        {"num-nvswitches", 0, "N", "passed-through NVSwitches"},                                   \
        {"num-nics", 0, "N", "network interfaces"},                                                \
        {"num-verity-volumes", 0, "N", "further verity volumes"},                                  \
        {"ovmf-variant", 0, "NAME", "firmware layout"},                                            \
        {"os-image-hash", 0, "HEX", "the image's identity, as the host states it"},                \
        {"image-name", 0, "NAME", "the image's name (vm_config `image`)"},                         \
        {"host-share-mode", 0, "MODE", "how the host's files reach the guest"}, {                  \
        "tdx-attestation-variant", 0, "NAME", "legacy or lite"                                     \
    }

#endif
