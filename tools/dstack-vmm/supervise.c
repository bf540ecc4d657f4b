#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "config.h"
#include "host_api.h"
#include "launch.h"
#include "lock.h"
#include "platform.h"
#include "qmp.h"
#include "serial_log.h"
#include "service/link.h"
#include "service/log.h"

#define READY_FD 3
#define STDERR_TAIL 4096
#define SHUTDOWN_ANSWER_MS 5000
#define LISTENER "host"

enum { END_SERIAL, END_QMP, END_HOST, END_GUEST, END_TEE, END_COUNT };

struct supervisor {
    const char *dir;
    struct launch launch;
    struct platform platform;
    struct host_api api;
    struct serial_log log;
    struct qmp qmp;
    http_server *server;
    service_link *link;  /* the guest's requests */
    service_link *guest; /* requests to its agent */
    pthread_t tee_thread, shutdown_thread;
    bool tee_running, shutdown_running;
    int ends[END_COUNT]; /* our ends of the sockets; -1 */
    int stop_fd, signal_fd, qemu_fd;
    pid_t qemu;
    int ready_fd; /* -1 once the VMM has its answer */
};

/* ---- answer to the VMM ---- */

static void answer(struct supervisor *s, const char *text) {
    if (s->ready_fd >= 0) {
        if (write(s->ready_fd, text, strlen(text)) < 0) {
            LOG_WARN("the VMM is gone");
        }
        close(s->ready_fd);
        s->ready_fd = -1;
    }
}

/* What QEMU printed last, without its program name, as the reason of a failed start. */
static void answer_qemu_failure(struct supervisor *s) {
    DSTACK_AUTO(str) char *path = vm_path(s->dir, "stderr.log");
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const char *reason = "QEMU ended at once; see stderr.log";
    if (path != NULL && file_read(path, STDERR_TAIL, &text, NULL) == 0) {
        while (text.len > 0 && text.data[text.len - 1] == '\n') {
            text.len--;
        }
        const char *all = buf_text(&text);
        const char *line = all != NULL ? strrchr(all, '\n') : NULL;
        line = line != NULL ? line + 1 : all;
        reason = line != NULL && line[0] != 0 ? line : reason;
    }
    LOG_ERROR("QEMU failed to start", "reason", reason);
    answer(s, reason);
}

/* ---- QEMU ---- */

static void exec_qemu(struct supervisor *s, const int theirs[END_COUNT], pid_t parent) {
    /* QEMU lives no longer than its supervisor: a VM whose TEE is gone must not run on. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    DSTACK_AUTO(str) char *out = vm_path(s->dir, "stdout.log");
    DSTACK_AUTO(str) char *error = vm_path(s->dir, "stderr.log");
    int out_fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0640);
    int error_fd = open(error, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0640);
    if (out_fd < 0 || error_fd < 0) {
        _exit(127);
    }
    dup2(out_fd, 1);
    dup2(error_fd, 2);
    static const int numbers[END_COUNT] = {LAUNCH_FD_SERIAL, LAUNCH_FD_QMP, LAUNCH_FD_HOST,
                                           LAUNCH_FD_GUEST, LAUNCH_FD_TEE};
    int high[END_COUNT];
    for (int i = 0; i < END_COUNT; i++) {
        high[i] = theirs[i] >= 0 ? fcntl(theirs[i], F_DUPFD, 64) : -1;
    }
    for (int i = 0; i < END_COUNT; i++) {
        if (high[i] >= 0) {
            dup2(high[i], numbers[i]);
        }
    }
    close_range(LAUNCH_FD_END, ~0U, 0);
    execv(s->launch.qemu[0], s->launch.qemu);
    dprintf(2, "%s: %s\n", s->launch.qemu[0], strerror(errno));
    _exit(127);
}

static int start_qemu(struct supervisor *s, dstack_error *err) {
    bool wanted[END_COUNT] = {true, true, s->launch.has_host_port, s->launch.has_host_port,
                              s->platform.vm != NULL};
    int theirs[END_COUNT] = {-1, -1, -1, -1, -1};
    int rc = 0;
    for (int i = 0; i < END_COUNT && rc == 0; i++) {
        int pair[2];
        if (wanted[i] && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
            rc = error_set_errno(err, DSTACK_E_IO, "socketpair");
        } else if (wanted[i]) {
            s->ends[i] = pair[0];
            theirs[i] = pair[1];
        }
    }
    pid_t parent = getpid();
    s->qemu = rc == 0 ? fork() : -1;
    if (s->qemu == 0) {
        exec_qemu(s, theirs, parent);
    }
    if (rc == 0 && s->qemu < 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "fork");
    }
    for (int i = 0; i < END_COUNT; i++) {
        if (theirs[i] >= 0) {
            close(theirs[i]);
        }
    }
    if (rc == 0) {
        s->qemu_fd = (int)syscall(SYS_pidfd_open, s->qemu, 0);
        s->qmp.fd = s->ends[END_QMP];
        rc = s->qemu_fd >= 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "pidfd_open");
    }
    return rc;
}

/* ---- the guest's ports ---- */

static void *serve_tee(void *user) {
    struct supervisor *s = user;
    dstack_error err = {0};
    if (sim_serve_fd(s->platform.vm, s->ends[END_TEE], s->stop_fd, &err) != 0) {
        LOG_ERROR("the simulated TEE's channel ended", "reason", err.message);
    }
    return NULL;
}

static int start_ports(struct supervisor *s, dstack_error *err) {
    int rc = 0;
    if (s->launch.has_host_port) {
        s->server = http_server_new(&(http_server_config){.name = "dstack-vmm", .workers = 1});
        rc = s->server != NULL
                 ? http_server_listen(s->server,
                                      &(http_listener_config){.name = LISTENER,
                                                              .address = "none",
                                                              .routes = host_api_routes,
                                                              .route_count = host_api_route_count,
                                                              .user = &s->api},
                                      err)
                 : error_set(err, DSTACK_E_MEMORY, "no memory");
        if (rc == 0) {
            s->link = service_link_new(s->ends[END_HOST],
                                       &(service_link_config){.side = SERVICE_LINK_HOST,
                                                              .name = "guest",
                                                              .server = s->server,
                                                              .listener = LISTENER},
                                       err);
            s->ends[END_HOST] = -1;
            s->guest =
                s->link == NULL
                    ? NULL
                    : service_link_new(
                          s->ends[END_GUEST],
                          &(service_link_config){.side = SERVICE_LINK_HOST, .name = "guest"}, err);
            s->ends[END_GUEST] = -1;
            rc = s->guest != NULL ? 0 : DSTACK_E_IO;
        }
    }
    if (rc == 0 && s->platform.vm != NULL) {
        s->tee_running = pthread_create(&s->tee_thread, NULL, serve_tee, s) == 0;
        rc = s->tee_running ? 0 : error_set(err, DSTACK_E_MEMORY, "no thread");
    }
    return rc;
}

/* ---- events ---- */

static void record(struct supervisor *s, const char *event, const char *body) {
    dstack_error err = {0};
    if (host_api_notify(&s->api, event, body, clock_unix() * 1000, &err) != 0) {
        LOG_WARN("recording an event", "event", event, "reason", err.message);
    }
}

static void on_qmp_event(void *user, const char *name, const json_t *data) {
    struct supervisor *s = user;
    const char *reason = json_string_value(json_object_get(data, "reason"));
    LOG_INFO("qemu", "event", name, "reason", reason);
    if (strcmp(name, "SHUTDOWN") == 0 && reason != NULL) {
        pthread_mutex_lock(&s->api.mutex);
        s->api.runtime.powered_off =
            s->api.runtime.powered_off || strcmp(reason, "guest-shutdown") == 0;
        pthread_mutex_unlock(&s->api.mutex);
        record(s, "vmm.shutdown", reason);
    } else if (strcmp(name, "BLOCK_IO_ERROR") == 0) {
        record(s, "vmm.disk.error",
               json_is_true(json_object_get(data, "nospace"))
                   ? "no space left on the host for the VM's disk; the VM is paused"
                   : "the host could not read or write the VM's disk");
    }
}

static void *ask_shutdown(void *user) {
    struct supervisor *s = user;
    dstack_error err = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    int rc = s->guest == NULL
                 ? DSTACK_E_UNSUPPORTED
                 : service_link_send(s->guest,
                                     &(http_client_request){.method = "POST",
                                                            .path = "/api/Shutdown?json",
                                                            .content_type = "application/json",
                                                            .body = bytes_of_str("null")},
                                     SHUTDOWN_ANSWER_MS, &response, &err);
    if (rc != 0 || response.status != 200) {
        LOG_INFO("the guest agent does not answer; pressing the power button", "reason",
                 err.message);
        qmp_command(&s->qmp, "system_powerdown", NULL);
    }
    return NULL;
}

static void on_signal(struct supervisor *s) {
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof info) != sizeof info) {
        return;
    }
    if (info.ssi_signo == SUPERVISE_STOP) {
        LOG_INFO("stopping: QEMU is killed");
        kill(s->qemu, SIGKILL);
    } else if (info.ssi_signo == SUPERVISE_SHUTDOWN && !s->shutdown_running) {
        s->shutdown_running = pthread_create(&s->shutdown_thread, NULL, ask_shutdown, s) == 0;
    }
}

/* Takes what a socket holds; false when it has ended. */
static bool drain(struct supervisor *s, int end) {
    char chunk[16384];
    ssize_t n = recv(s->ends[end], chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    if (end == END_SERIAL) {
        serial_log_write(&s->log, bytes_of(chunk, (size_t)n));
        return true;
    }
    dstack_error err = {0};
    bool was_ready = s->qmp.ready;
    if (qmp_feed(&s->qmp, bytes_of(chunk, (size_t)n), &err) != 0) {
        LOG_ERROR("QMP", "reason", err.message);
        return false;
    }
    if (s->qmp.ready && !was_ready) {
        LOG_INFO("QEMU runs");
        answer(s, "ok");
    }
    return true;
}

static void run(struct supervisor *s) {
    bool exited = false;
    while (!exited) {
        struct pollfd fds[] = {{s->signal_fd, POLLIN, 0},
                               {s->qemu_fd, POLLIN, 0},
                               {s->ends[END_SERIAL], POLLIN, 0},
                               {s->ends[END_QMP], POLLIN, 0}};
        if (poll(fds, 4, -1) < 0 && errno != EINTR) {
            break;
        }
        for (int i = 0; i < 2; i++) {
            int end = i == 0 ? END_SERIAL : END_QMP;
            if (fds[2 + i].revents != 0 && !drain(s, end)) {
                close(s->ends[end]);
                s->ends[end] = -1;
            }
        }
        if (fds[0].revents != 0) {
            on_signal(s);
        }
        exited = fds[1].revents != 0;
    }
}

static void finish(struct supervisor *s) {
    int status = 0;
    if (s->qemu > 0) {
        kill(s->qemu, SIGKILL);
        while (waitpid(s->qemu, &status, 0) < 0 && errno == EINTR) {
        }
    }
    for (int end = END_SERIAL; end <= END_QMP; end++) {
        for (int i = 0; i < 1024 && s->ends[end] >= 0 && drain(s, end); i++) {
            struct pollfd more = {s->ends[end], POLLIN, 0};
            if (poll(&more, 1, 0) <= 0) {
                break;
            }
        }
    }
    if (s->ready_fd >= 0) {
        answer_qemu_failure(s);
    }
    uint64_t one = 1;
    if (write(s->stop_fd, &one, sizeof one) < 0) {
        LOG_WARN("eventfd");
    }
    if (s->shutdown_running) {
        pthread_join(s->shutdown_thread, NULL);
    }
    if (s->tee_running) {
        pthread_join(s->tee_thread, NULL);
    }
    service_link_free(s->guest);
    service_link_free(s->link);
    http_server_free(s->server);
    if (s->qemu > 0) {
        char text[64];
        snprintf(text, sizeof text,
                 WIFSIGNALED(status) ? "QEMU ended by signal %d" : "QEMU exited with %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        record(s, "vmm.exited", text);
    }
    pthread_mutex_lock(&s->api.mutex);
    s->api.runtime.exited_at = clock_unix();
    s->api.runtime.exit_status = status;
    dstack_error err = {0};
    if (vm_runtime_write(s->dir, &s->api.runtime, &err) != 0) {
        LOG_ERROR("writing the VM's state", "reason", err.message);
    }
    pthread_mutex_unlock(&s->api.mutex);
    serial_log_close(&s->log);
    LOG_INFO("the VM has ended");
}

static int prepare(struct supervisor *s, dstack_error *err) {
    sigset_t signals;
    DSTACK_AUTO(str) char *log = vm_path(s->dir, "serial.log");
    sigemptyset(&signals);
    sigaddset(&signals, SUPERVISE_STOP);
    sigaddset(&signals, SUPERVISE_SHUTDOWN);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->signal_fd < 0 || s->stop_fd < 0 || log == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "signalfd");
    }
    int rc = launch_read(s->dir, &s->launch, err);
    rc = rc != 0 ? rc
                 : serial_log_open(&s->log, log, s->launch.log_max_bytes, s->launch.log_max_backups,
                                   clock_unix(), err);
    s->api.runtime.started_at = clock_unix();
    snprintf(s->api.runtime.boot_progress, sizeof s->api.runtime.boot_progress, "booting");
    rc = rc != 0 ? rc : vm_runtime_write(s->dir, &s->api.runtime, err);
    rc = rc != 0 ? rc : platform_start(&s->launch, s->dir, &s->platform, err);
    rc = rc != 0 ? rc : start_qemu(s, err);
    return rc != 0 ? rc : start_ports(s, err);
}

static int supervise(const char *dir, int ready_fd) {
    struct supervisor s = {.dir = dir,
                           .ends = {-1, -1, -1, -1, -1},
                           .stop_fd = -1,
                           .signal_fd = -1,
                           .qemu_fd = -1,
                           .qemu = -1,
                           .ready_fd = ready_fd};
    dstack_error err = {0};
    int lock_fd = -1;
    s.log.fd = -1;
    s.api.dir = dir;
    s.api.version = DSTACK_PROJECT_VERSION;
    pthread_mutex_init(&s.api.mutex, NULL);
    s.qmp.event = on_qmp_event;
    s.qmp.user = &s;
    int rc = vm_lock_take(dir, &lock_fd, &err);
    if (rc != 0) {
        answer(&s, err.message);
        return 1;
    }
    rc = prepare(&s, &err);
    if (rc == 0) {
        run(&s);
    } else {
        LOG_ERROR("the VM cannot be started", "reason", err.message);
        answer(&s, err.message);
    }
    finish(&s);
    qmp_clear(&s.qmp);
    platform_clear(&s.platform);
    launch_clear(&s.launch);
    vm_runtime_clear(&s.api.runtime);
    return rc == 0 ? 0 : 1;
}

/* ---- becoming a process of its own ---- */

static void redirect_output(const char *dir) {
    DSTACK_AUTO(str) char *path = vm_path(dir, "supervise.log");
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0640) : -1;
    if (fd >= 0) {
        dup2(fd, 1);
        dup2(fd, 2);
        if (fd > 2) {
            close(fd);
        }
    }
}

int supervise_command(int argc, char **argv) {
    if (argc != 2 || fcntl(READY_FD, F_GETFD) < 0) {
        fprintf(stderr, "dstack-vmm supervise is started by dstack-vmm alone\n");
        return 2;
    }
    setsid();
    pid_t pid = fork();
    if (pid != 0) {
        return pid > 0 ? 0 : 1;
    }
    /* Ready to be read by the VMM until answered; QEMU and helpers must not inherit it. */
    int ready_fd = fcntl(READY_FD, F_DUPFD_CLOEXEC, 10);
    close(READY_FD);
    umask(077);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
    redirect_output(argv[1]);
    log_init("dstack-vmm-supervise", "info", NULL);
    return supervise(argv[1], ready_fd);
}
