/* A log file of bounded size: what the guest prints on its serial port. */
#ifndef VMM_SERIAL_LOG_H
#define VMM_SERIAL_LOG_H

#include <stdint.h>

#include <dstack/bytes.h>

struct serial_log {
    char *path;
    int fd;
    uint64_t size, max_bytes; /* max 0: no rotation */
    uint32_t max_backups;
};

/* Opens for appending, after moving the content of an earlier boot to path.1, and writes a line
 * that marks the boot. now: UNIX seconds. */
int serial_log_open(struct serial_log *log, const char *path, uint64_t max_bytes,
                    uint32_t max_backups, int64_t now, dstack_error *err);
/* Appends; past max_bytes the file is rotated. A full disk loses output, never stops the VM. */
void serial_log_write(struct serial_log *log, dstack_bytes data);
void serial_log_close(struct serial_log *log);

#endif
