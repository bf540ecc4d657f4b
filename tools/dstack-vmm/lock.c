#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "vm.h"

#define LOCK_FILE "supervise.lock"

int vm_lock_take(const char *dir, int *fd, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, LOCK_FILE);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (*fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s/" LOCK_FILE, dir);
    }
    if (fcntl(*fd, F_SETLK, &lock) != 0) {
        int saved = errno;
        close(*fd);
        *fd = -1;
        errno = saved;
        return saved == EACCES || saved == EAGAIN
                   ? error_set(err, DSTACK_E_STATE, "the VM is running already")
                   : error_set_errno(err, DSTACK_E_IO, "locking %s", path);
    }
    return 0;
}

pid_t vm_lock_holder(const char *dir) {
    DSTACK_AUTO(str) char *path = vm_path(dir, LOCK_FILE);
    DSTACK_AUTO(fd) int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) {
        return 0;
    }
    return lock.l_pid;
}

bool vm_lock_signal(const char *dir, int signal) {
    pid_t pid = vm_lock_holder(dir);
    if (pid <= 0) {
        return false;
    }
    DSTACK_AUTO(fd) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    /* Only if the same process still holds the lock does the descriptor mean the supervisor. */
    return pidfd >= 0 && vm_lock_holder(dir) == pid &&
           syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0;
}

bool vm_lock_wait_gone(const char *dir, int timeout_ms) {
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    while (vm_lock_holder(dir) != 0) {
        if (clock_monotonic_ms() >= deadline) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    }
    return true;
}
