/* Finds the root partition and opens it through the kernel's dm-verity target. */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ZERO_SALT "0000000000000000000000000000000000000000000000000000000000000000"
#define SECTOR_SIZE 512u
#define POLL_MS 20

/* Compares the PARTNAME that the kernel read from the partition table of a block device. */
static bool partition_has_label(const char *name, const char *label) {
    char path[300];
    char line[256];
    bool found = false;
    snprintf(path, sizeof path, "/sys/class/block/%s/uevent", name);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "PARTNAME=", 9) == 0 && strcmp(line + 9, label) == 0) {
            found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

/*
 * The first virtio disk carries the root, but the host decides which disks there are: any partition
 * with this label will do, as only the one that matches the measured hash can be read.
 */
static bool partition_find(const char *label, char *path, size_t path_size) {
    bool found = false;
    DIR *dir = opendir("/sys/class/block");
    struct dirent *entry;
    while (dir && !found && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && partition_has_label(entry->d_name, label)) {
            snprintf(path, path_size, "/dev/%s", entry->d_name);
            found = true;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

void root_device_find(const struct root_spec *spec, int timeout_ms, char *path, size_t path_size) {
    bool by_label = strncmp(spec->device, "PARTLABEL=", 10) == 0;
    struct stat status;
    for (int waited = 0; waited <= timeout_ms; waited += POLL_MS) {
        if (by_label && partition_find(spec->device + 10, path, path_size)) {
            return;
        }
        if (!by_label && stat(spec->device, &status) == 0 && S_ISBLK(status.st_mode)) {
            snprintf(path, path_size, "%s", spec->device);
            return;
        }
        usleep(POLL_MS * 1000);
    }
    init_fail("no root device %s after %d s", spec->device, timeout_ms / 1000);
}

struct dm_request {
    struct dm_ioctl head;
    alignas(8) char payload[1024];
};

static void dm_call(int control, unsigned long command, const char *what,
                    struct dm_request *request) {
    struct dm_ioctl *head = &request->head;
    head->version[0] = DM_VERSION_MAJOR;
    head->data_size = sizeof *request;
    head->data_start = sizeof request->head;
    strcpy(head->name, "rootfs");
    if (ioctl(control, command, request) < 0) {
        init_fail("device-mapper cannot %s: %s", what, strerror(errno));
    }
}

static void verity_table_load(int control, const char *device, const struct root_spec *spec) {
    struct dm_request request = {0};
    uint64_t blocks = spec->size / INIT_BLOCK_SIZE;
    struct dm_target_spec target = {
        .sector_start = 0,
        .length = spec->size / SECTOR_SIZE,
        .next = 0,
    };
    strcpy(target.target_type, "verity");
    memcpy(request.payload, &target, sizeof target);
    /* One block of superblock lies between the data and the hash tree. */
    int len = snprintf(request.payload + sizeof target, sizeof request.payload - sizeof target,
                       "1 %s %s %u %u %llu %llu sha256 %s " ZERO_SALT " 1 panic_on_corruption",
                       device, device, INIT_BLOCK_SIZE, INIT_BLOCK_SIZE, (unsigned long long)blocks,
                       (unsigned long long)blocks + 1, spec->hash);
    if (len < 0 || (size_t)len >= sizeof request.payload - sizeof target) {
        init_fail("the verity table is too long");
    }
    request.head.target_count = 1;
    request.head.flags = DM_READONLY_FLAG;
    dm_call(control, DM_TABLE_LOAD, "load the verity table", &request);
}

void verity_open(const char *device, const struct root_spec *spec, char *path, size_t path_size) {
    int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
        init_fail("cannot open /dev/mapper/control: %s", strerror(errno));
    }
    struct dm_request request = {0};
    request.head.flags = DM_READONLY_FLAG;
    dm_call(control, DM_DEV_CREATE, "create the root device", &request);
    unsigned number = minor(request.head.dev);
    verity_table_load(control, device, spec);
    memset(&request, 0, sizeof request);
    dm_call(control, DM_DEV_SUSPEND, "start the root device", &request);
    close(control);
    snprintf(path, path_size, "/dev/dm-%u", number);
}
