/* From a plain description of one launch to QEMU's argument vector. Pure.
 *
 * The order of arguments is part of the contract: it decides the PCI slots and so the ACPI tables,
 * which are measured. What only a simulated platform has (virtio-serial) comes after everything
 * measured and is left out when the measured machine is described (see acpi_probe.h). */
#ifndef VMM_QEMU_ARGV_H
#define VMM_QEMU_ARGV_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/bytes.h>

#include "ports.h"

#define QEMU_MAX_ARGS 256
#define QEMU_MAX_NICS 4

enum qemu_tee { QEMU_TEE_NONE, QEMU_TEE_SIMULATED, QEMU_TEE_TDX };
enum qemu_share { QEMU_SHARE_9P, QEMU_SHARE_VVFAT, QEMU_SHARE_DISK };

struct qemu_nic {
    const char *bridge; /* NULL: user mode */
    const char *net, *dhcp_start;
    bool restricted;
};

struct qemu_launch {
    const char *qemu;                                      /* program */
    const char *accel;                                     /* "kvm", "tcg,thread=multi" */
    const char *cpu;                                       /* "host", "max" */
    const char *work_dir;                                  /* absolute */
    const char *vm_id;                                     /* for MAC addresses */
    const char *mac_prefix;                                /* "", "52:54:00" */
    const char *bios, *kernel, *initrd, *rootfs, *cmdline; /* bios, rootfs may be NULL */
    const char *data_format;                               /* "raw"; NULL: QEMU looks at the file */
    struct qemu_nic nics[QEMU_MAX_NICS];
    size_t nic_count;
    const struct vm_port *ports;
    size_t port_count;
    const char *sys_vendor, *product_name; /* SMBIOS; NULL: not set */
    uint32_t vsock_cid;                    /* 0: no vsock device */
    enum qemu_share share;
    bool share_ro;
    enum qemu_tee tee;
    const char *mr_config_id; /* base64; NULL: unset */
    uint32_t quote_port;      /* vsock port of the quote service, 0: none */
    bool hotplug_off;
    uint64_t pci_hole64_size;
    uint32_t vcpu;
    uint32_t memory_mib;
    bool sandbox;   /* QEMU gives up system calls that it does not need */
    bool no_reboot; /* a reset of the guest ends QEMU: a TD cannot be reset */
    /* Connected sockets handed to QEMU; -1: the forms that name files are used instead (serial:
     * pty in the work folder) or the device is left out (the others). */
    int serial_fd, qmp_fd, host_fd, guest_fd, tee_fd;
    /* Describes the measured machine itself instead: same devices in the same slots, no files, no
     * ports, nothing that only a simulated platform has. For acpi_probe.h. */
    bool probe;
    bool
        pic; /* of the measured machine: the legacy interrupt controller, which QEMU 8 still states */
};

struct qemu_argv {
    char *items[QEMU_MAX_ARGS + 1]; /* NULL-ended */
    size_t count;
    bool failed;
};

int qemu_argv_build(const struct qemu_launch *launch, struct qemu_argv *out, dstack_error *err);
void qemu_argv_clear(struct qemu_argv *argv);
/* MAC address of a NIC, derived from the VM's id. prefix: 0 to 3 hex bytes. */
int qemu_mac(const char *vm_id, uint32_t nic, const char *prefix, char out[18], dstack_error *err);

#endif
