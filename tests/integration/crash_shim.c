/* LD_PRELOAD shim: ends the process by SIGKILL at the n-th call that changes files below a folder.
 *
 * CRASH_DIR: the folder. CRASH_AT: which call, from 1; 0 counts only. CRASH_COUNT: file that the
 * number of calls is appended to at each of them, one byte a call. A write that is hit leaves half
 * of its bytes. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static bool below(const char *path) {
    const char *dir = getenv("CRASH_DIR");
    return dir != NULL && path != NULL && strncmp(path, dir, strlen(dir)) == 0;
}

static bool fd_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    return below(path);
}

/* True when this call is the one. */
static bool hit(void) {
    const char *at = getenv("CRASH_AT");
    const char *count = getenv("CRASH_COUNT");
    int n = atomic_fetch_add(&calls, 1) + 1;
    if (count != NULL) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        int fd = real_open(count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            (void)!real_write(fd, ".", 1);
            close(fd);
        }
    }
    return at != NULL && atoi(at) == n;
}

static void die_when(bool now) {
    if (now) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *data, size_t len) {
    ssize_t (*real)(int, const void *, size_t) =
        REAL("write", ssize_t(*)(int, const void *, size_t));
    if (fd > 2 && fd_below(fd) && hit()) {
        (void)!real(fd, data, len / 2);
        die_when(true);
    }
    return real(fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) =
        REAL("pwrite", ssize_t(*)(int, const void *, size_t, off_t));
    if (fd_below(fd) && hit()) {
        (void)!real(fd, data, len / 2, at);
        die_when(true);
    }
    return real(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) {
    return pwrite(fd, data, len, at);
}

int fsync(int fd) {
    die_when(fd_below(fd) && hit());
    return REAL("fsync", int (*)(int))(fd);
}

int fdatasync(int fd) {
    die_when(fd_below(fd) && hit());
    return REAL("fdatasync", int (*)(int))(fd);
}

int ftruncate(int fd, off_t len) {
    die_when(fd_below(fd) && hit());
    return REAL("ftruncate", int (*)(int, off_t))(fd, len);
}

int ftruncate64(int fd, off_t len) {
    return ftruncate(fd, len);
}

int rename(const char *from, const char *to) {
    die_when(below(to) && hit());
    return REAL("rename", int (*)(const char *, const char *))(from, to);
}

int link(const char *from, const char *to) {
    die_when(below(to) && hit());
    return REAL("link", int (*)(const char *, const char *))(from, to);
}

int unlink(const char *path) {
    die_when(below(path) && hit());
    return REAL("unlink", int (*)(const char *))(path);
}

int mkdir(const char *path, mode_t mode) {
    die_when(below(path) && hit());
    return REAL("mkdir", int (*)(const char *, mode_t))(path, mode);
}

int rmdir(const char *path) {
    die_when(below(path) && hit());
    return REAL("rmdir", int (*)(const char *))(path);
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? (mode_t)va_arg(list, unsigned) : 0;
    va_end(list);
    die_when((flags & O_CREAT) != 0 && below(path) && hit());
    return REAL("open", int (*)(const char *, int, ...))(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? (mode_t)va_arg(list, unsigned) : 0;
    va_end(list);
    return open(path, flags, mode);
}
