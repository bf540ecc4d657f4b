#include "serial_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

static int open_file(struct serial_log *log, dstack_error *err) {
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    struct stat info;
    if (log->fd < 0 || fstat(log->fd, &info) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", log->path);
    }
    log->size = (uint64_t)info.st_size;
    return 0;
}

/* path.N-1 to path.N, ..., path to path.1. */
static void rotate_names(const struct serial_log *log) {
    char from[4096], to[4096];
    for (uint32_t i = log->max_backups; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%" PRIu32, log->path, i);
        if (i > 1) {
            snprintf(from, sizeof from, "%s.%" PRIu32, log->path, i - 1);
        } else {
            snprintf(from, sizeof from, "%s", log->path);
        }
        rename(from, to);
    }
    if (log->max_backups == 0) {
        unlink(log->path);
    }
}

static void put(struct serial_log *log, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(log->fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        data += n;
        len -= (size_t)n;
        log->size += (uint64_t)n;
    }
}

static void mark(struct serial_log *log, const char *what, int64_t now) {
    char stamp[32], line[96];
    time_t seconds = (time_t)now;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
    int len = snprintf(line, sizeof line, "\n===== %s @ %s =====\n\n", what, stamp);
    put(log, line, (size_t)len);
}

int serial_log_open(struct serial_log *log, const char *path, uint64_t max_bytes,
                    uint32_t max_backups, int64_t now, dstack_error *err) {
    *log = (struct serial_log){
        .path = strdup(path), .fd = -1, .max_bytes = max_bytes, .max_backups = max_backups};
    if (log->path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    struct stat info;
    if (stat(path, &info) == 0 && info.st_size > 0) {
        rotate_names(log);
    }
    int rc = open_file(log, err);
    if (rc == 0) {
        mark(log, "boot", now);
    } else {
        serial_log_close(log);
    }
    return rc;
}

void serial_log_write(struct serial_log *log, dstack_bytes data) {
    if (log->fd >= 0 && log->max_bytes > 0 && log->size + data.len > log->max_bytes &&
        log->size > 0) {
        close(log->fd);
        rotate_names(log);
        if (open_file(log, NULL) == 0) {
            mark(log, "rotated", (int64_t)time(NULL));
        }
    }
    if (log->fd >= 0) {
        put(log, (const char *)data.data, data.len);
    }
}

void serial_log_close(struct serial_log *log) {
    if (log->fd >= 0) {
        close(log->fd);
    }
    free(log->path);
    *log = (struct serial_log){.fd = -1};
}
