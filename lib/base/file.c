#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"

static int read_all(int fd, const char *path, size_t limit, dstack_buf *out, dstack_error *err) {
    size_t total = 0;
    for (;;) {
        size_t chunk = limit - total < 65536 ? limit - total + 1 : 65536;
        if (out->cap - out->len > 0 && out->cap - out->len < chunk) {
            chunk = out->cap - out->len; /* the room that the file's size asked for */
        }
        buf_reserve(out, chunk);
        if (out->failed) {
            return buf_check(out, err);
        }
        ssize_t got = read(fd, out->data + out->len, chunk);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return error_set_errno(err, DSTACK_E_IO, "cannot read %s", path);
        }
        if (got == 0) {
            return 0;
        }
        total += (size_t)got;
        if (total > limit) {
            return error_set(err, DSTACK_E_LIMIT, "%s is larger than %zu bytes", path, limit);
        }
        out->len += (size_t)got;
    }
}

int file_read(const char *path, size_t limit, dstack_buf *out, dstack_error *err) {
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, "standard input", limit, out, err);
    }
    DSTACK_AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return error_set_errno(err, errno == ENOENT ? DSTACK_E_NOT_FOUND : DSTACK_E_IO,
                               "cannot open %s", path);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot stat %s", path);
    }
    if (S_ISDIR(info.st_mode)) {
        return error_set(err, DSTACK_E_IO, "%s is a folder, not a file", path);
    }
    if (S_ISREG(info.st_mode) && info.st_size > 0 && (uintmax_t)info.st_size <= limit) {
        buf_reserve(out, (size_t)info.st_size + 1); /* growing large files would copy them often */
    }
    return read_all(fd, path, limit, out, err);
}

static int write_all(int fd, dstack_bytes content) {
    size_t done = 0;
    while (done < content.len) {
        ssize_t put = write(fd, content.data + done, content.len - done);
        if (put < 0 && errno != EINTR) {
            return -1;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

/* Syncs the folder that holds path, so that a rename survives a power cut. */
static int sync_parent(const char *path, dstack_error *err) {
    DSTACK_AUTO(str) char *dir = strdup(path);
    if (dir == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    char *slash = strrchr(dir, '/');
    if (slash == dir) {
        slash[1] = '\0';
    } else if (slash != NULL) {
        *slash = '\0';
    }
    DSTACK_AUTO(fd) int fd = open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot sync the folder of %s", path);
    }
    return 0;
}

static int write_temporary(const char *path, char **temporary, dstack_bytes content, mode_t mode,
                           dstack_error *err) {
    if (sodium_init() < 0 || asprintf(temporary, "%s.%08x.tmp", path, randombytes_random()) < 0) {
        *temporary = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    DSTACK_AUTO(fd)
    int fd = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode & 0777);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot create %s", *temporary);
    }
    if (fchmod(fd, mode & 0777) != 0 || write_all(fd, content) != 0 || fsync(fd) != 0) {
        int rc = error_set_errno(err, DSTACK_E_IO, "cannot write %s", path);
        unlink(*temporary);
        return rc;
    }
    return 0;
}

int file_write_atomic(const char *path, dstack_bytes content, mode_t mode, dstack_error *err) {
    DSTACK_AUTO(str) char *temporary = NULL;
    int rc = write_temporary(path, &temporary, content, mode, err);
    if (rc != 0) {
        return rc;
    }
    if (rename(temporary, path) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot replace %s", path);
        unlink(temporary);
        return rc;
    }
    return sync_parent(path, err);
}

int file_write_new(const char *path, dstack_bytes content, mode_t mode, dstack_error *err) {
    DSTACK_AUTO(str) char *temporary = NULL;
    int rc = write_temporary(path, &temporary, content, mode, err);
    if (rc != 0) {
        return rc;
    }
    /* link() fails where rename() would replace. */
    if (link(temporary, path) != 0) {
        rc = error_set_errno(err, errno == EEXIST ? DSTACK_E_EXISTS : DSTACK_E_IO,
                             "cannot create %s", path);
    }
    unlink(temporary);
    return rc != 0 ? rc : sync_parent(path, err);
}

int file_make_dirs(const char *path, mode_t mode, dstack_error *err) {
    DSTACK_AUTO(str) char *copy = strdup(path);
    if (copy == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    for (char *at = copy + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char end = *at;
        *at = '\0';
        if (mkdir(copy, mode) != 0 && errno != EEXIST) {
            return error_set_errno(err, DSTACK_E_IO, "cannot create folder %s", copy);
        }
        if (end == '\0') {
            break;
        }
        *at = end;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return error_set(err, DSTACK_E_IO, "%s is not a folder", path);
    }
    return 0;
}

int file_check_name(const char *name, const char *what, dstack_error *err) {
    size_t len = strlen(name);
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (len == 0 || len > 128) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s must have 1 to 128 characters, has %zu", what,
                         len);
    }
    if (name[0] == '.' || name[0] == '-') {
        return error_set(err, DSTACK_E_ARGUMENT, "%s must not start with '%c'", what, name[0]);
    }
    if (strspn(name, allowed) != len) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "%s may hold only letters, digits, '.', '_' and '-'", what);
    }
    return 0;
}

int file_open_beneath(int dir_fd, const char *name, int flags, mode_t mode, dstack_error *err) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = (flags & O_CREAT) != 0 ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS) {
        int rc = file_check_name(name, "file name", err);
        if (rc != 0) {
            return rc;
        }
        fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    }
    if (fd < 0) {
        return error_set_errno(err, errno == ENOENT ? DSTACK_E_NOT_FOUND : DSTACK_E_IO,
                               "cannot open %s", name);
    }
    return (int)fd;
}
