#include "disk/data_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "cmdline.h"
#include "disk/luks.h"
#include "disk/luks_header.h"
#include "proc.h"

#define PARTITION_LABEL "dstack-data"
#define DEFAULT_DEVICE "/dev/vdb"
#define TOOL_TIMEOUT_MS 120000

/* The kernel tells a partition's GPT label in its uevent file. */
static bool partition_has_label(const char *name, const char *label) {
    char path[300], want[160];
    snprintf(path, sizeof path, "/sys/class/block/%.200s/uevent", name);
    int len = snprintf(want, sizeof want, "PARTNAME=%.100s\n", label);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return file_read(path, 4096, &text, NULL) == 0 &&
           memmem(text.data, text.len, want, (size_t)len) != NULL;
}

static bool partition_find(const char *label, char device[300]) {
    DIR *dir = opendir("/sys/class/block");
    bool found = false;
    for (struct dirent *entry; !found && dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.' && partition_has_label(entry->d_name, label)) {
            snprintf(device, 300, "/dev/%s", entry->d_name);
            found = true;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

int data_disk_find(const char *cmdline, char device[300], dstack_error *err) {
    char option[200];
    int rc = cmdline_option(cmdline, "dstack.data_device", option, sizeof option, err);
    if (rc == 0 && strncmp(option, "PARTLABEL=", 10) == 0) {
        return partition_find(option + 10, device)
                   ? 0
                   : error_set(err, DSTACK_E_NOT_FOUND, "no partition is labelled %s", option + 10);
    }
    if (rc == 0 && strncmp(option, "/dev/", 5) == 0) {
        snprintf(device, 300, "%s", option);
        return 0;
    }
    if (rc != DSTACK_E_NOT_FOUND) {
        return rc == 0 ? error_set(err, DSTACK_E_FORMAT,
                                   "dstack.data_device must be PARTLABEL=name or /dev/name")
                       : rc;
    }
    if (!partition_find(PARTITION_LABEL, device)) {
        snprintf(device, 300, DEFAULT_DEVICE);
    }
    return access(device, F_OK) == 0
               ? 0
               : error_set(err, DSTACK_E_NOT_FOUND, "there is no data disk (%s)", device);
}

int data_disk_state(const char *device, bool *initialised, dstack_error *err) {
    uint8_t start[LUKS_MARKER_SIZE];
    DSTACK_AUTO(fd) int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, start, sizeof start, 0) != (ssize_t)sizeof start) {
        return error_set_errno(err, DSTACK_E_IO, "cannot read %s", device);
    }
    luks_presence presence = luks_header_presence(bytes_of(start, sizeof start));
    if (presence == LUKS_FOREIGN) {
        return error_set(err, DSTACK_E_REFUSED,
                         "%s holds something that is no data disk of this app", device);
    }
    *initialised = presence == LUKS_PRESENT;
    return 0;
}

static int file_system_make(const char *path, dstack_error *err) {
    const char *argv[] = {"/usr/sbin/mkfs.ext4",
                          "-q",
                          "-F",
                          "-E",
                          "lazy_itable_init=1,lazy_journal_init=1",
                          path,
                          NULL};
    return proc_run(&(proc_spec){.argv = argv, .timeout_ms = TOOL_TIMEOUT_MS}, err);
}

static int file_system_check(const char *path, dstack_error *err) {
    const char *check[] = {"/usr/sbin/e2fsck", "-f", "-p", path, NULL};
    const char *grow[] = {"/usr/sbin/resize2fs", path, NULL};
    /* Exit code 1: errors were there and have been corrected. */
    int rc = proc_run(
        &(proc_spec){.argv = check, .timeout_ms = TOOL_TIMEOUT_MS, .ok_codes = 1 << 0 | 1 << 1},
        err);
    return rc != 0 ? rc : proc_run(&(proc_spec){.argv = grow, .timeout_ms = TOOL_TIMEOUT_MS}, err);
}

/* A new disk: header in memory, file system through it, and only then header and marker on the
 * disk. Power lost before the marker leaves a disk that counts as new, and nothing was stored yet. */
static int disk_make(const char *device, const dstack_secret *passphrase, const char *mapping,
                     const char *mapped, dstack_error *err) {
    DSTACK_AUTO(fd) int header = -1;
    int rc;
    if ((rc = luks_header_new(&header, err)) != 0 ||
        (rc = luks_header_format(header, device, passphrase, err)) != 0 ||
        (rc = luks_open(header, device, mapping, passphrase, err)) != 0 ||
        (rc = file_system_make(mapped, err)) != 0) {
        return rc;
    }
    DSTACK_AUTO(fd) int fd = open(mapped, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot sync %s", mapped);
    }
    return luks_header_commit(header, device, err);
}

static int disk_open(const char *device, const dstack_secret *passphrase, const char *mapping,
                     const char *mapped, dstack_error *err) {
    DSTACK_AUTO(fd) int header = -1;
    int rc;
    if ((rc = luks_header_load(device, &header, err)) != 0 ||
        (rc = luks_open(header, device, mapping, passphrase, err)) != 0) {
        return rc;
    }
    return file_system_check(mapped, err);
}

int data_disk_mount(const char *device, const dstack_secret *key, bool initialised,
                    const char *mapping, const char *mount_point, dstack_error *err) {
    char mapped[300];
    snprintf(mapped, sizeof mapped, "/dev/mapper/%s", mapping);
    DSTACK_AUTO(secret) dstack_secret *passphrase = luks_passphrase(key);
    if (passphrase == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = initialised ? disk_open(device, passphrase, mapping, mapped, err)
                         : disk_make(device, passphrase, mapping, mapped, err);
    if (rc != 0 || (rc = file_make_dirs(mount_point, 0755, err)) != 0) {
        return rc;
    }
    if (mount(mapped, mount_point, "ext4", MS_NOATIME, "discard") != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot mount the data disk");
    }
    return 0;
}
