#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"

static const char *const DEFAULT_ENV[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

/* A descriptor whose content is `input`. */
static int input_open(dstack_bytes input, dstack_error *err) {
    if (input.len == 0) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return fd >= 0 ? fd : error_set_errno(err, DSTACK_E_IO, "cannot open /dev/null");
    }
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0 || write(fd, input.data, input.len) != (ssize_t)input.len ||
        lseek(fd, 0, SEEK_SET) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return error_set_errno(err, DSTACK_E_IO, "cannot pass input to a program");
    }
    return fd;
}

static int child_start(const proc_spec *spec, int in, int out, pid_t *pid, dstack_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (out >= 0) {
        posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    }
    posix_spawn_file_actions_addchdir_np(&actions, spec->cwd != NULL ? spec->cwd : "/");
    /* A child of its own process group, with no signal blocked, so that a kill reaches all of it. */
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(pid, spec->argv[0], &actions, &attributes, (char *const *)spec->argv,
                         (char *const *)(spec->envp != NULL ? spec->envp : DEFAULT_ENV));
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? 0
                   : error_set(err, DSTACK_E_NOT_FOUND, "cannot run %s: %s", spec->argv[0],
                               strerror(rc));
}

/* Waits on a pidfd, so that no signal handling is needed. */
static int child_wait(pid_t pid, int timeout_ms, int *status, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int64_t until = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        int64_t left = until - clock_monotonic_ms();
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int n = fd < 0 || left <= 0 ? 0 : poll(&poll_fd, 1, (int)left);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            kill(-pid, SIGKILL);
            waitpid(pid, status, 0);
            return error_set(err, DSTACK_E_TIMEOUT, "did not end within %d ms", timeout_ms);
        }
        waitpid(pid, status, 0);
        return 0;
    }
}

/* The last non-empty line of the captured output. */
static void last_line(int fd, char *out, size_t size) {
    char tail[1024];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof tail - 1 ? end - (off_t)(sizeof tail - 1) : 0;
    ssize_t got = fd < 0 ? 0 : pread(fd, tail, sizeof tail - 1, from);
    size_t len = got > 0 ? (size_t)got : 0;
    while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == ' ')) {
        len--;
    }
    tail[len] = '\0';
    const char *line = strrchr(tail, '\n');
    line = line != NULL ? line + 1 : tail;
    size_t keep = strlen(line) < size - 1 ? strlen(line) : size - 1;
    memcpy(out, line, keep);
    out[keep] = '\0';
}

int proc_run(const proc_spec *spec, dstack_error *err) {
    int in_fd = input_open(spec->input, err);
    if (in_fd < 0) {
        return in_fd;
    }
    DSTACK_AUTO(fd) int in = in_fd;
    DSTACK_AUTO(fd) int out = spec->show_output ? -1 : memfd_create("output", MFD_CLOEXEC);
    pid_t pid = 0;
    int status = 0;
    int rc = child_start(spec, in, out, &pid, err);
    if (rc != 0 || (rc = child_wait(pid, spec->timeout_ms, &status, err)) != 0) {
        return rc == DSTACK_E_TIMEOUT ? error_prefix(err, rc, "%s", spec->argv[0]) : rc;
    }
    unsigned ok = spec->ok_codes != 0 ? spec->ok_codes : 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) < 32 && (ok >> WEXITSTATUS(status) & 1) != 0) {
        return 0;
    }
    char line[300] = "";
    if (out >= 0) {
        last_line(out, line, sizeof line);
    }
    return error_set(err, DSTACK_E_IO, "%s ended with %s %d%s%s", spec->argv[0],
                     WIFEXITED(status) ? "code" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                     line[0] != '\0' ? ": " : "", line);
}
