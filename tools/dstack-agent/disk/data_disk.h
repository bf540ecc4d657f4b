/* The data disk: the one place of the guest that outlives a reboot. Encrypted with the app's key,
 * ext4 inside. */
#ifndef AGENT_DISK_DATA_DISK_H
#define AGENT_DISK_DATA_DISK_H

#include <stdbool.h>

#include <dstack/bytes.h>

/* Finds the device: `dstack.data_device=` of the kernel command line, else a partition labelled
 * dstack-data, else /dev/vdb. */
int data_disk_find(const char *cmdline, char device[300], dstack_error *err);
/* Whether the disk was ever committed. DSTACK_E_REFUSED when it holds something else. */
int data_disk_state(const char *device, bool *initialised, dstack_error *err);
/* Opens the disk, making it first when it is new, and mounts it. `grow` lets the file system follow
 * a disk that was enlarged. */
int data_disk_mount(const char *device, const dstack_secret *key, bool initialised,
                    const char *mapping, const char *mount_point, dstack_error *err);

#endif
