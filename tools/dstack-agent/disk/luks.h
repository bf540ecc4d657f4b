/* LUKS2 through libcryptsetup, always with a detached header that lives in an anonymous memory
 * file: the bytes that were checked are the bytes that are used, whatever the disk answers later,
 * and a new disk gets its header only once its file system is complete. */
#ifndef AGENT_DISK_LUKS_H
#define AGENT_DISK_LUKS_H

#include <stdbool.h>

#include <dstack/bytes.h>

/* True in builds with libcryptsetup; the calls below give DSTACK_E_UNSUPPORTED in others. */
bool luks_supported(void);

/* An empty memory file of LUKS_HEADER_AREA bytes; the caller closes it. */
int luks_header_new(int *header_fd, dstack_error *err);
/* Copies the header area of the disk into a new memory file and checks that copy. */
int luks_header_load(const char *device, int *header_fd, dstack_error *err);
/* Writes a fresh header for `device` into the memory file; the disk is not touched. */
int luks_header_format(int header_fd, const char *device, const dstack_secret *passphrase,
                       dstack_error *err);
/* Writes the memory file's content to the disk: everything but the marker first, then, after a
 * sync, the marker. */
int luks_header_commit(int header_fd, const char *device, dstack_error *err);

/* Maps the disk's data as /dev/mapper/<name>. */
int luks_open(int header_fd, const char *device, const char *name, const dstack_secret *passphrase,
              dstack_error *err);
int luks_close(const char *name, dstack_error *err);

/* The passphrase of a disk key: its lower-case hex, as the reference system has it. */
dstack_secret *luks_passphrase(const dstack_secret *disk_key);

#endif
