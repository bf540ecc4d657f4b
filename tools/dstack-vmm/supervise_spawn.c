/* The VMM's end of starting a supervisor. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "lock.h"
#include "supervise.h"

#define ANSWER_LIMIT 4096

static int spawn(const char *self, const char *dir, int ready_fd, pid_t *pid, dstack_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    char *argv[] = {(char *)self, (char *)"supervise", (char *)dir, NULL};
    char *environment[] = {
        (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)"LANG=C", NULL};
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ready_fd, 3);
    /* Nothing else of the VMM, listening sockets above all, may live on in the supervisor. */
    posix_spawn_file_actions_addclosefrom_np(&actions, 4);
    int rc = posix_spawn(pid, self, &actions, &attributes, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc == 0 ? 0 : error_set(err, DSTACK_E_IO, "starting %s: %s", self, strerror(rc));
}

static bool read_answer(int fd, int timeout_ms, dstack_buf *answer) {
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        struct pollfd poll_fd = {fd, POLLIN, 0};
        if (left <= 0 || poll(&poll_fd, 1, (int)left) == 0) {
            return false;
        }
        char chunk[1024];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n > 0 && answer->len < ANSWER_LIMIT) {
            buf_put(answer, chunk, (size_t)n);
        } else if (n == 0 || (n < 0 && errno != EINTR)) {
            return true;
        }
    }
}

int supervise_spawn(const char *self, const char *dir, int timeout_ms, dstack_error *err) {
    int fds[2];
    pid_t pid = 0;
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "pipe");
    }
    DSTACK_AUTO(fd) int read_fd = fds[0];
    int rc = spawn(self, dir, fds[1], &pid, err);
    close(fds[1]);
    if (rc != 0) {
        return rc;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    bool ended = read_answer(read_fd, timeout_ms, &answer);
    const char *text = buf_text(&answer);
    if (ended && text != NULL && strcmp(text, "ok") == 0) {
        return 0;
    }
    if (!ended) {
        vm_lock_signal(dir, SIGKILL);
        return error_set(err, DSTACK_E_TIMEOUT, "QEMU did not come up within %d s",
                         timeout_ms / 1000);
    }
    return error_set(err, DSTACK_E_IO, "%s",
                     text != NULL && text[0] != 0 ? text : "the supervisor ended without a word");
}
