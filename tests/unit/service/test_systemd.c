/* What daemons tell systemd, read from the other end. */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "service/systemd.h"

/* A bound datagram socket at an abstract name ('@' form in `name`) or a path. */
static int listen_at(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, name);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    return fd;
}

static void readiness_reaches_the_socket_that_the_environment_names(void **state) {
    char path[] = "/tmp/dstack-notify-XXXXXX", file[64], abstract[64];
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/s", path);
    snprintf(abstract, sizeof abstract, "@dstack-notify-%d", getpid());
    const char *const names[] = {file, abstract};
    for (size_t i = 0; i < 2; i++) {
        char got[64] = "";
        int fd = listen_at(names[i]);
        setenv("NOTIFY_SOCKET", names[i], 1);
        systemd_notify("READY=1\nSTATUS=up");
        assert_int_equal(recv(fd, got, sizeof got - 1, 0), 17);
        assert_string_equal(got, "READY=1\nSTATUS=up");
        close(fd);
    }
    unlink(file);
    rmdir(path);
}

static void nobody_listening_is_no_failure(void **state) {
    static const char *const names[] = {"/nonexistent/socket", "relative", "@", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        systemd_notify("READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    systemd_notify("READY=1");
}

static void sockets_are_taken_only_when_they_are_for_this_process(void **state) {
    char pid[24];
    snprintf(pid, sizeof pid, "%d", getpid());
    int copy = dup2(STDERR_FILENO, SYSTEMD_LISTEN_FDS_START);
    assert_int_equal(copy, SYSTEMD_LISTEN_FDS_START);
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", "1", 1);
    assert_int_equal(systemd_listen_fds(), 0);
    assert_null(getenv("LISTEN_FDS"));
    setenv("LISTEN_FDS", "1x", 1);
    setenv("LISTEN_PID", pid, 1);
    assert_int_equal(systemd_listen_fds(), 0);
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", pid, 1);
    assert_int_equal(systemd_listen_fds(), 1);
    assert_int_equal(fcntl(copy, F_GETFD), FD_CLOEXEC);
    assert_int_equal(systemd_listen_fds(), 0); /* once */
    close(copy);
}

static void the_watchdog_is_the_one_meant_for_this_process(void **state) {
    assert_int_equal(systemd_watchdog_us(), 0);
    setenv("WATCHDOG_USEC", "20000000", 1);
    assert_int_equal(systemd_watchdog_us(), 20000000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(systemd_watchdog_us(), 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(systemd_watchdog_us(), 0);
    unsetenv("WATCHDOG_USEC");
}

/* A value cannot become a field of its own. */
static void line_breaks_stay_within_their_journal_field(void **state) {
    DSTACK_AUTO(buf) dstack_buf entry = {0};
    systemd_journal_put(&entry, "MESSAGE", "up");
    systemd_journal_put(&entry, "DSTACK_X", "a\nPRIORITY=0");
    static const char want[] = "MESSAGE=up\nDSTACK_X\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";
    assert_int_equal(entry.len, sizeof want - 1);
    assert_memory_equal(entry.data, want, entry.len);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readiness_reaches_the_socket_that_the_environment_names),
        cmocka_unit_test(nobody_listening_is_no_failure),
        cmocka_unit_test(sockets_are_taken_only_when_they_are_for_this_process),
        cmocka_unit_test(the_watchdog_is_the_one_meant_for_this_process),
        cmocka_unit_test(line_breaks_stay_within_their_journal_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
