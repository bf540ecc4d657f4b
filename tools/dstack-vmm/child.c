#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

#define OUTPUT_LIMIT (64U << 10)

/* The tools that make file systems live in sbin, which an ordinary user's PATH leaves out. */
int child_find(const char *program, char *out, size_t size) {
    static const char *const folders[] = {"/usr/bin", "/usr/sbin",      "/sbin",
                                          "/bin",     "/usr/local/bin", "/usr/local/sbin"};
    if (strchr(program, '/') != NULL) {
        return snprintf(out, size, "%s", program) < (int)size && access(out, X_OK) == 0
                   ? 0
                   : DSTACK_E_NOT_FOUND;
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (snprintf(out, size, "%s/%s", folders[i], program) < (int)size &&
            access(out, X_OK) == 0) {
            return 0;
        }
    }
    return DSTACK_E_NOT_FOUND;
}

static int start(const char *path, const char *const argv[], int out_fd, pid_t *pid,
                 dstack_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    extern char **environ;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
    posix_spawn_file_actions_adddup2(&actions, out_fd, 2);
    int rc = posix_spawn(pid, path, &actions, &attributes, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc == 0 ? 0 : error_set(err, DSTACK_E_IO, "starting %s: %s", path, strerror(rc));
}

/* Reads until the end or the deadline; false at the deadline. */
static bool collect(int fd, int64_t deadline, dstack_buf *out) {
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        struct pollfd poll_fd = {fd, POLLIN, 0};
        if (left <= 0 || poll(&poll_fd, 1, (int)left) == 0) {
            return false;
        }
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return true;
        }
        if (n > 0 && out->len + (size_t)n <= OUTPUT_LIMIT) {
            buf_put(out, chunk, (size_t)n);
        }
    }
}

/* The last line of some text, without its line end. */
static const char *last_line(dstack_buf *text) {
    while (text->len > 0 &&
           (text->data[text->len - 1] == '\n' || text->data[text->len - 1] == '\r')) {
        text->len--;
    }
    const char *all = buf_text(text);
    const char *line = all != NULL ? strrchr(all, '\n') : NULL;
    return line != NULL ? line + 1 : (all != NULL ? all : "");
}

static int run(const char *const argv[], int timeout_ms, dstack_buf *output, int *status,
               dstack_error *err) {
    char path[256];
    int pipe_fds[2];
    pid_t pid = 0;
    if (child_find(argv[0], path, sizeof path) != 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "the program %s is not installed", argv[0]);
    }
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "pipe");
    }
    DSTACK_AUTO(fd) int read_fd = pipe_fds[0];
    int rc = start(path, argv, pipe_fds[1], &pid, err);
    close(pipe_fds[1]);
    if (rc != 0) {
        return rc;
    }
    bool ended = collect(read_fd, clock_monotonic_ms() + timeout_ms, output);
    if (!ended) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
    }
    return ended ? 0
                 : error_set(err, DSTACK_E_TIMEOUT, "%s took longer than %d s", argv[0],
                             timeout_ms / 1000);
}

int child_run(const char *const argv[], int timeout_ms, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf output = {0};
    int status = 0;
    int rc = run(argv, timeout_ms, &output, &status, err);
    if (out != NULL) {
        buf_put(out, output.data, output.len);
    }
    if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        rc = error_set(err, DSTACK_E_IO, "%s failed: %s", argv[0], last_line(&output));
    }
    return rc;
}

int child_status(const char *const argv[], int timeout_ms, int *status, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf output = {0};
    int raw = 0;
    int rc = run(argv, timeout_ms, &output, &raw, err);
    *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    return rc;
}
