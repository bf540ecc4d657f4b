#include "service/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

#define OUTPUT_MAX ((size_t)1 << 20)

static int start(const char *const *argv, bool merge, int output, pid_t *pid) {
    static char *const environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (merge) {
        posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    }
    /* The daemon blocks the signals that it waits for; its children must not inherit that. */
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv,
                          environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

/* Reads until the program closes its output. False when the deadline passed. */
static bool collect(int fd, dstack_buf *out, int64_t deadline) {
    char chunk[4096];
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&ready, 1, (int)(left > 60000 ? 60000 : left)) < 0) {
            return errno == EINTR && left > 0;
        }
        if (ready.revents == 0) {
            continue;
        }
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got <= 0) {
            return true;
        }
        if (out->len + (size_t)got <= OUTPUT_MAX) {
            buf_put(out, chunk, (size_t)got);
        }
    }
}

static bool reap(pid_t pid, int *status, int64_t deadline) {
    for (;;) {
        pid_t done = waitpid(pid, status, WNOHANG);
        if (done == pid) {
            return true;
        }
        if (done < 0 && errno != EINTR) {
            *status = 0;
            return true;
        }
        if (clock_monotonic_ms() >= deadline) {
            return false;
        }
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
}

/* The last line of the output, for the error. */
static const char *last_line(dstack_buf *text) {
    while (text->len > 0 && text->data[text->len - 1] == '\n') {
        text->len--;
    }
    const char *all = buf_text(text);
    const char *line = all == NULL ? NULL : strrchr(all, '\n');
    return line != NULL ? line + 1 : all == NULL ? "" : all;
}

int run_program(const char *const *argv, bool merge, dstack_buf *out, int64_t timeout_ms,
                dstack_error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot make a pipe");
    }
    DSTACK_AUTO(fd) int reader = ends[0];
    pid_t pid = -1;
    int rc = start(argv, merge, ends[1], &pid);
    close(ends[1]);
    if (rc != 0) {
        errno = rc;
        return error_set_errno(err, rc == ENOENT ? DSTACK_E_NOT_FOUND : DSTACK_E_IO,
                               "cannot run %s", argv[0]);
    }
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    DSTACK_AUTO(buf) dstack_buf output = {0};
    int status = 0;
    if (!collect(reader, &output, deadline) || !reap(pid, &status, deadline)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return error_set(err, DSTACK_E_TIMEOUT, "%s did not end within %lld ms", argv[0],
                         (long long)timeout_ms);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        if (out != NULL) {
            buf_put_bytes(out, (dstack_bytes){output.data, output.len});
        }
        return out == NULL ? 0 : buf_check(out, err);
    }
    if (WIFSIGNALED(status)) {
        return error_set(err, DSTACK_E_IO, "%s was ended by signal %d", argv[0], WTERMSIG(status));
    }
    return error_set(err, DSTACK_E_IO, "%s failed with status %d: %s", argv[0], WEXITSTATUS(status),
                     last_line(&output));
}
