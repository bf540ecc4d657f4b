#include "qemu_argv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "service/host_share.h"

static void add(struct qemu_argv *argv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct qemu_argv *argv, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    if (argv->count == QEMU_MAX_ARGS || vasprintf(&argv->items[argv->count], fmt, args) < 0) {
        argv->failed = true;
    } else {
        argv->count++;
    }
    va_end(args);
}

void qemu_argv_clear(struct qemu_argv *argv) {
    for (size_t i = 0; i < argv->count; i++) {
        free(argv->items[i]);
    }
    memset(argv, 0, sizeof *argv);
}

int qemu_mac(const char *vm_id, uint32_t nic, const char *prefix, char out[18], dstack_error *err) {
    char name[128];
    uint8_t digest[32];
    uint8_t mac[6];
    unsigned int part[3];
    int used = 0;
    int parts = 0;
    if (prefix[0] != 0) {
        parts =
            sscanf(prefix, "%2x%n:%2x%n:%2x%n", &part[0], &used, &part[1], &used, &part[2], &used);
        if (parts < 1 || strlen(prefix) != (size_t)(3 * parts - 1) || prefix[used] != 0) {
            return error_set(err, DSTACK_E_ARGUMENT,
                             "cvm.networking.mac_prefix must contain 1 to 3 two-digit hexadecimal "
                             "bytes");
        }
    }
    int len = nic == 0 ? snprintf(name, sizeof name, "%s", vm_id)
                       : snprintf(name, sizeof name, "%s:%" PRIu32, vm_id, nic);
    hash_sha256(bytes_of(name, (size_t)len), digest);
    for (int i = 0; i < 6; i++) {
        mac[i] = i < parts ? (uint8_t)part[i] : digest[i - parts];
    }
    mac[0] = (uint8_t)((mac[0] & 0xfe) | 0x02);
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
    return 0;
}

static void add_console(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->probe) {
        add(argv, "-serial");
        add(argv, "null");
        return;
    }
    add(argv, "-chardev");
    if (l->serial_fd >= 0) {
        add(argv, "socket,id=com0,fd=%d", l->serial_fd);
    } else {
        add(argv, "pty,id=com0,path=%s/serial.pty,logfile=%s/serial.log,logappend=on", l->work_dir,
            l->work_dir);
    }
    add(argv, "-serial");
    add(argv, "chardev:com0");
}

static void add_boot(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->qmp_fd >= 0 && !l->probe) {
        add(argv, "-chardev");
        add(argv, "socket,id=qmp0,fd=%d", l->qmp_fd);
        add(argv, "-mon");
        add(argv, "chardev=qmp0,mode=control");
    }
    if (l->bios != NULL && !l->probe) {
        add(argv, "-bios");
        add(argv, "%s", l->bios);
    }
    if (!l->probe) {
        add(argv, "-kernel");
        add(argv, "%s", l->kernel);
        add(argv, "-initrd");
        add(argv, "%s", l->initrd);
    }
    if (l->hotplug_off) {
        add(argv, "-global");
        add(argv, "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
    }
    if (l->pci_hole64_size > 0) {
        add(argv, "-global");
        add(argv, "q35-pcihost.pci-hole64-size=0x%" PRIx64, l->pci_hole64_size);
    }
}

/* A disk without content: it takes its slot, which is all that a probe asks of it. */
static void add_null_disk(struct qemu_argv *argv, const char *id) {
    add(argv, "-drive");
    add(argv, "driver=null-co,size=1M,if=none,id=%s", id);
    add(argv, "-device");
    add(argv, "virtio-blk-pci,drive=%s", id);
}

static void add_disks(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->probe) {
        if (l->rootfs != NULL) {
            add_null_disk(argv, "hd0");
        }
        add_null_disk(argv, "hd1");
        return;
    }
    if (l->rootfs != NULL) {
        add(argv, "-drive");
        add(argv, "file=%s,if=none,id=hd0,format=raw,readonly=on", l->rootfs);
        add(argv, "-device");
        add(argv, "virtio-blk-pci,drive=hd0");
    }
    add(argv, "-drive");
    add(argv, "file=%s/hda.img,if=none,id=hd1%s%s", l->work_dir,
        l->data_format != NULL ? ",format=" : "", l->data_format != NULL ? l->data_format : "");
    add(argv, "-device");
    add(argv, "virtio-blk-pci,drive=hd1");
}

static void add_user_nic(const struct qemu_launch *l, size_t i, bool with_ports,
                         struct qemu_argv *argv) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const struct qemu_nic *nic = &l->nics[i];
    buf_put_fmt(&text, "user,id=net%zu,net=%s,dhcpstart=%s,restrict=%s", i, nic->net,
                nic->dhcp_start, nic->restricted ? "yes" : "no");
    for (size_t k = 0; with_ports && k < l->port_count; k++) {
        const struct vm_port *port = &l->ports[k];
        bool v6 = strchr(port->address, ':') != NULL;
        buf_put_fmt(&text, ",hostfwd=%s:%s%s%s:%u-:%u", vm_port_protocol(port), v6 ? "[" : "",
                    port->address, v6 ? "]" : "", port->host_port, port->vm_port);
    }
    const char *value = buf_text(&text);
    argv->failed = argv->failed || value == NULL;
    add(argv, "%s", value != NULL ? value : "");
}

static int add_nics(const struct qemu_launch *l, struct qemu_argv *argv, dstack_error *err) {
    bool ports_done = false;
    int rc = 0;
    for (size_t i = 0; i < l->nic_count && rc == 0; i++) {
        char mac[18];
        rc = qemu_mac(l->vm_id, (uint32_t)i, l->mac_prefix, mac, err);
        add(argv, "-netdev");
        if (l->nics[i].bridge != NULL && !l->probe) {
            add(argv, "bridge,id=net%zu,br=%s", i, l->nics[i].bridge);
        } else {
            add_user_nic(l, i, !ports_done && !l->probe, argv);
            ports_done = true;
        }
        add(argv, "-device");
        add(argv, "virtio-net-pci,netdev=net%zu,mac=%s", i, mac);
    }
    return rc;
}

static void add_smbios(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->sys_vendor == NULL && l->product_name == NULL) {
        return;
    }
    add(argv, "-smbios");
    add(argv, "type=1%s%s%s%s", l->sys_vendor != NULL ? ",manufacturer=" : "",
        l->sys_vendor != NULL ? l->sys_vendor : "", l->product_name != NULL ? ",product=" : "",
        l->product_name != NULL ? l->product_name : "");
}

static void add_share(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->probe) {
        add_null_disk(argv, "hd2");
        return;
    }
    switch (l->share) {
    case QEMU_SHARE_9P:
        add(argv, "-virtfs");
        add(argv,
            "local,path=%s/shared,mount_tag=host-shared,readonly=%s,security_model=mapped,"
            "id=virtfs0",
            l->work_dir, l->share_ro ? "on" : "off");
        return;
    case QEMU_SHARE_VVFAT:
        add(argv, "-blockdev");
        add(argv,
            "driver=vvfat,node-name=vvfat0,read-only=on,dir=%s/shared,label=" HOST_SHARE_LABEL,
            l->work_dir);
        add(argv, "-device");
        add(argv, "virtio-blk-pci,drive=vvfat0");
        return;
    case QEMU_SHARE_DISK:
        add(argv, "-drive");
        add(argv, "file=%s/shared.img,if=none,id=hd2,format=raw,readonly=on", l->work_dir);
        add(argv, "-device");
        add(argv, "virtio-blk-pci,drive=hd2");
        return;
    }
}

static void add_machine(const struct qemu_launch *l, struct qemu_argv *argv) {
    add(argv, "-machine");
    if (l->probe) {
        /* TDX has no system management mode. */
        add(argv, "q35,kernel-irqchip=split,hpet=off,smm=off,pic=%s", l->pic ? "on" : "off");
        return;
    }
    if (l->tee != QEMU_TEE_TDX) {
        add(argv, "q35,kernel-irqchip=split,hpet=off");
        return;
    }
    add(argv, "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off");
    DSTACK_AUTO(buf) dstack_buf object = {0};
    buf_put_str(&object, "{\"qom-type\":\"tdx-guest\",\"id\":\"tdx\"");
    if (l->mr_config_id != NULL) {
        buf_put_fmt(&object, ",\"mrconfigid\":\"%s\"", l->mr_config_id);
    }
    if (l->quote_port != 0) {
        buf_put_fmt(
            &object,
            ",\"quote-generation-socket\":{\"type\":\"vsock\",\"cid\":\"2\",\"port\":\"%" PRIu32
            "\"}",
            l->quote_port);
    }
    buf_put_str(&object, "}");
    const char *text = buf_text(&object);
    argv->failed = argv->failed || text == NULL;
    add(argv, "-object");
    add(argv, "%s", text != NULL ? text : "");
}

/* The ports of a simulated platform; a TDX machine has none, so they stand after all it has. */
static void add_ports_device(const struct qemu_launch *l, struct qemu_argv *argv) {
    if (l->probe || (l->tee_fd < 0 && l->host_fd < 0)) {
        return;
    }
    add(argv, "-device");
    add(argv, "virtio-serial-pci,id=dstack-ports");
    const struct {
        int fd;
        const char *id, *name;
    } ports[] = {{l->host_fd, "hostport", HOST_PORT_API},
                 {l->guest_fd, "guestport", HOST_PORT_GUEST},
                 {l->tee_fd, "teeport", HOST_PORT_TEE}};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        if (ports[i].fd >= 0) {
            add(argv, "-chardev");
            add(argv, "socket,id=%s,fd=%d", ports[i].id, ports[i].fd);
            add(argv, "-device");
            add(argv, "virtserialport,bus=dstack-ports.0,nr=%zu,chardev=%s,name=%s", i + 1,
                ports[i].id, ports[i].name);
        }
    }
}

int qemu_argv_build(const struct qemu_launch *l, struct qemu_argv *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    /* Inside an option a comma would begin the next key. */
    if (strchr(l->work_dir, ',') != NULL || (l->rootfs != NULL && strchr(l->rootfs, ',') != NULL)) {
        return error_set(err, DSTACK_E_ARGUMENT, "a path given to QEMU may not contain a comma");
    }
    add(out, "%s", l->qemu);
    add(out, "-accel");
    add(out, "%s", l->probe ? "tcg" : l->accel);
    add(out, "-cpu");
    add(out, "%s", l->probe ? "max" : l->cpu);
    add(out, "-nographic");
    add(out, "-nodefaults");
    if (l->sandbox && !l->probe) {
        add(out, "-sandbox");
        add(out, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    if (l->no_reboot) {
        add(out, "-no-reboot");
    }
    add_console(l, out);
    add_boot(l, out);
    add_disks(l, out);
    int rc = add_nics(l, out, err);
    add_smbios(l, out);
    if (l->probe) {
        /* In the slot of the vsock device, which needs a kernel driver even to be looked at. */
        add(out, "-device");
        add(out, "virtio-rng-pci");
    } else if (l->vsock_cid != 0) {
        add(out, "-device");
        add(out, "vhost-vsock-pci,guest-cid=%" PRIu32, l->vsock_cid);
    }
    add_share(l, out);
    add_machine(l, out);
    add_ports_device(l, out);
    add(out, "-smp");
    add(out, "%" PRIu32, l->vcpu > 0 ? l->vcpu : 1);
    add(out, "-m");
    add(out, "%" PRIu32 "M", l->memory_mib);
    if (l->cmdline != NULL && l->cmdline[0] != 0 && !l->probe) {
        add(out, "-append");
        add(out, "%s", l->cmdline);
    }
    if (rc == 0 && out->failed) {
        rc = error_set(err, DSTACK_E_MEMORY, "building QEMU's arguments");
    }
    if (rc != 0) {
        qemu_argv_clear(out);
    }
    return rc;
}
