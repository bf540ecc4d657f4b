/* The guest's first program: loads modules, opens the verified root and hands over to systemd. */
#ifndef DSTACK_OS_INIT_H
#define DSTACK_OS_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#define INIT_BLOCK_SIZE 4096u
#define INIT_HASH_HEX_LEN 64u

/* What the measured kernel command line says about the root file system. */
struct root_spec {
    char hash[INIT_HASH_HEX_LEN + 1]; /* dm-verity root hash, lower-case hex */
    uint64_t size;                    /* bytes of data before the verity superblock */
    char device[128];                 /* "PARTLABEL=name" or "/dev/..." */
};

/* Writes a line to the console. */
void init_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes a line to the console and ends the program: the kernel panics and, by panic=1, reboots. */
noreturn void init_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Reads dstack.rootfs_{hash,size,device} out of a kernel command line. Returns NULL, or what is
 * wrong: an option that is missing, given twice or malformed.
 */
const char *root_spec_parse(const char *cmdline, struct root_spec *spec);

/* Loads the modules that the file at list_path names, one path a line, in that order. */
void modules_load(const char *list_path);

/* Waits up to timeout_ms for the partition or device that spec names and writes its path. */
void root_device_find(const struct root_spec *spec, int timeout_ms, char *path, size_t path_size);

/* Opens the device through dm-verity; writes the path of the verified block device. */
void verity_open(const char *device, const struct root_spec *spec, char *path, size_t path_size);

#endif
