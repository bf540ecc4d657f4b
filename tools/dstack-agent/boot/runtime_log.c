#include "boot/runtime_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"

typedef struct log_paths {
    char log[256];
    char version[256];
    char lock[256];
} log_paths;

static void paths_of(const char *dir, log_paths *out) {
    snprintf(out->log, sizeof out->log, "%s/runtime_events.log", dir);
    snprintf(out->version, sizeof out->version, "%s/runtime_event_version", dir);
    snprintf(out->lock, sizeof out->lock, "%s/runtime_event.lock", dir);
}

static int version_read(const char *path, uint32_t *version, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(path, 8, &text, err);
    if (rc != 0) {
        return rc;
    }
    const char *s = buf_text(&text);
    if (s == NULL || (strcmp(s, "1") != 0 && strcmp(s, "2") != 0)) {
        return error_set(err, DSTACK_E_FORMAT, "%s holds no event version", path);
    }
    *version = (uint32_t)(s[0] - '0');
    return 0;
}

int runtime_log_set_version(const char *dir, uint32_t version, dstack_error *err) {
    if (version != 1 && version != 2) {
        return error_set(err, DSTACK_E_ARGUMENT, "unknown event log version: %u", version);
    }
    log_paths paths;
    paths_of(dir, &paths);
    int rc = file_make_dirs(dir, 0700, err);
    if (rc != 0) {
        return rc;
    }
    if (chmod(dir, 0700) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot protect %s", dir);
    }
    uint32_t have = 0;
    rc = version_read(paths.version, &have, NULL);
    if (rc == DSTACK_E_NOT_FOUND) {
        char text[2] = {(char)('0' + version), '\0'};
        return file_write_new(paths.version, bytes_of_str(text), 0600, err);
    }
    if (rc != 0 || have != version) {
        return error_set(err, DSTACK_E_STATE,
                         "the event version of this boot is fixed; restart the guest to change it");
    }
    return 0;
}

static int line_append(const char *path, dstack_bytes line, dstack_error *err) {
    DSTACK_AUTO(fd)
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s", path);
    }
    if (write(fd, line.data, line.len) != (ssize_t)line.len) {
        return error_set_errno(err, DSTACK_E_IO, "cannot append to %s", path);
    }
    return 0;
}

int runtime_log_emit(const char *dir, dstack_tee *tee, const char *name, dstack_bytes payload,
                     dstack_error *err) {
    log_paths paths;
    paths_of(dir, &paths);
    DSTACK_AUTO(fd) int lock = open(paths.lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot lock %s", paths.lock);
    }
    uint32_t version = 0;
    if (version_read(paths.version, &version, NULL) != 0) {
        return error_set(err, DSTACK_E_STATE, "no event version is set: the boot has not begun");
    }
    uint8_t digest[DSTACK_REGISTER_SIZE];
    DSTACK_AUTO(buf) dstack_buf line = {0};
    int rc;
    if ((rc = dstack_runtime_event_digest(name, payload, version, digest, err)) != 0 ||
        (rc = dstack_runtime_event_line(name, payload, version, &line, err)) != 0 ||
        (rc = dstack_tee_extend(tee, DSTACK_RUNTIME_REGISTER, digest, name, err)) != 0) {
        return error_prefix(err, rc, "measuring %s", name);
    }
    return line_append(paths.log, bytes_of_buf(&line), err);
}

int runtime_log_load(const char *dir, dstack_event_log **out, dstack_error *err) {
    log_paths paths;
    paths_of(dir, &paths);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(paths.log, RUNTIME_LOG_MAX, &text, err);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    return dstack_event_log_parse_runtime(bytes_of_buf(&text), out, err);
}
