#include "service/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <config.h> /* the build's, not service/config.h */

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "service/daemon_help.h"
#include "service/log.h"
#include "service/systemd.h"

#define HOUR_MS 3600000

/* Of the process: its command line and signals. */
static bool insecure;
static sigset_t taken;
static atomic_bool stop_wanted;
static int64_t last_warning;

bool daemon_insecure(void) {
    return insecure;
}

static void print_version(const daemon_description *d) {
    printf("%s v%s (%s)%s\n", d->name, DSTACK_PROJECT_VERSION, DSTACK_REVISION,
           DSTACK_TEST_HOOKS ? " with test hooks" : "");
}

typedef struct command_line {
    bool check;
    bool print;
    bool done; /* nothing further to do */
    const char *log_level;
} command_line;

static int usage_error(const daemon_description *d, const char *text, const char *argument) {
    fprintf(stderr, "%s: %s%s (see %s --help)\n", d->name, text, argument, d->name);
    return 2;
}

static bool own_flag(const daemon_description *d, const char *name, daemon_options *options) {
    for (unsigned i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        if (strcmp(d->flags[i], name) == 0) {
            options->flags_given |= 1U << i;
            return true;
        }
    }
    return false;
}

static int read_command_line(const daemon_description *d, int argc, char **argv,
                             daemon_options *options, command_line *line) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--config") == 0 || strcmp(name, "-c") == 0) {
            if (i + 1 == argc) {
                return usage_error(d, "a file name must follow ", name);
            }
            options->config_path = argv[++i];
        } else if (strcmp(name, "--log-level") == 0 && i + 1 < argc) {
            line->log_level = argv[++i];
        } else if (strcmp(name, "--check-config") == 0) {
            line->check = true;
        } else if (strcmp(name, "--print-config") == 0) {
            line->print = true;
        } else if (strcmp(name, "--insecure-dev") == 0) {
            options->insecure_dev = true;
        } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            daemon_help(d, stdout);
            line->done = true;
            return 0;
        } else if (strcmp(name, "--man") == 0) {
            daemon_man(d, stdout);
            line->done = true;
            return 0;
        } else if (strcmp(name, "--completion") == 0 && i + 1 < argc) {
            line->done = true;
            return daemon_completion(d, argv[i + 1], stdout)
                       ? 0
                       : usage_error(d, "completion is for bash, zsh or fish, not ", argv[i + 1]);
        } else if (strcmp(name, "--version") == 0) {
            print_version(d);
            line->done = true;
            return 0;
        } else if (strcmp(name, "--") == 0) {
            i++;
            break;
        } else if (strncmp(name, "--", 2) != 0 || !own_flag(d, name + 2, options)) {
            return usage_error(d, "unknown option ", name);
        }
    }
    options->arguments = argv + i;
    options->argument_count = argc - i;
    return 0;
}

/* Nobody on this machine but root reads our memory; nothing we start gains rights. */
static void harden(void) {
    struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    umask(077);
}

static void warn_insecure(void) {
    LOG_WARN("running with --insecure-dev: not for production; certificates, reports and status "
             "answers of this process are marked");
    last_warning = clock_monotonic_ms();
}

static int load(const daemon_description *d, daemon_options *options, dstack_error *err) {
    options->config = config_load(options->config_path, d->keys, d->key_count, err);
    if (options->config == NULL) {
        return err->status;
    }
    return d->check != NULL ? d->check(options->config, options->insecure_dev, err) : 0;
}

int daemon_start(const daemon_description *d, int argc, char **argv, daemon_options *options) {
    command_line line = {.log_level = "info"};
    dstack_error err = {0};
    *options = (daemon_options){0};
    int rc = read_command_line(d, argc, argv, options, &line);
    if (rc != 0 || line.done) {
        return rc;
    }
    if (log_init(d->name, line.log_level, &err) != 0 || load(d, options, &err) != 0) {
        fprintf(stderr, "%s: %s\n", d->name, err.message);
        config_free(options->config);
        options->config = NULL;
        return 2;
    }
    if (line.check || line.print) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        if (line.print && config_print(options->config, &text, &err) == 0) {
            fputs(buf_text(&text), stdout);
        }
        if (line.check) {
            fprintf(stderr, "%s: configuration is valid\n", d->name);
        }
        config_free(options->config);
        options->config = NULL;
        return 0;
    }
    harden();
    insecure = options->insecure_dev;
    sigemptyset(&taken);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGHUP);
    sigaddset(&taken, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &taken, NULL); /* before any thread starts */
    signal(SIGPIPE, SIG_IGN);
    if (insecure) {
        warn_insecure();
    }
    return DAEMON_RUN;
}

void daemon_ready(const char *status) {
    DSTACK_AUTO(buf) dstack_buf state = {0};
    buf_put_fmt(&state, "READY=1\nSTATUS=%s", status);
    const char *text = buf_text(&state);
    systemd_notify(text != NULL ? text : "READY=1");
    LOG_INFO("ready", "status", status);
}

void daemon_request_stop(void) {
    atomic_store(&stop_wanted, true);
    kill(getpid(), SIGUSR2);
}

static int wait_signal(int timeout_ms) {
    struct timespec wait = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    return timeout_ms < 0 ? sigwaitinfo(&taken, NULL) : sigtimedwait(&taken, NULL, &wait);
}

daemon_event daemon_wait(int timeout_ms) {
    int64_t deadline = timeout_ms < 0 ? INT64_MAX : clock_monotonic_ms() + timeout_ms;
    while (!atomic_exchange(&stop_wanted, false)) {
        int64_t now = clock_monotonic_ms();
        if (insecure && now - last_warning >= HOUR_MS) {
            warn_insecure();
        }
        if (now >= deadline) {
            return DAEMON_TIMEOUT;
        }
        int64_t wait = deadline - now;
        wait = insecure && wait > HOUR_MS ? HOUR_MS : wait;
        int signal_number = wait_signal(wait > INT32_MAX ? -1 : (int)wait);
        if (signal_number == SIGHUP) {
            return DAEMON_RELOAD;
        }
        if (signal_number == SIGTERM || signal_number == SIGINT) {
            break;
        }
    }
    systemd_notify("STOPPING=1");
    return DAEMON_STOP;
}
