/* The frame of a daemon: command line, hardening, signals, readiness.
 *
 *     int main(int argc, char **argv) {
 *         daemon_options options = {0};
 *         int rc = daemon_start(&description, argc, argv, &options); // handles --help, --version,
 *         if (rc != DAEMON_RUN) return rc;                           // --check-config,
 * --print-config
 *         ... start listeners ...
 *         daemon_ready("listening on ...");
 *         for (;;) switch (daemon_wait(-1)) { case DAEMON_RELOAD: ...; case DAEMON_STOP: ... }
 *     }
 */
#ifndef SERVICE_DAEMON_H
#define SERVICE_DAEMON_H

#include "service/config.h"

typedef struct daemon_description {
    const char *name;    /* "dstack-kms" */
    const char *summary; /* one line for --help */
    const config_key *keys;
    size_t key_count;
    /* Further long flags without value that this daemon knows, NULL-terminated; may be NULL. */
    const char *const *flags;
    /* Checks that need more than one key; may be NULL. Run by --check-config too. */
    int (*check)(const service_config *config, bool insecure_dev, dstack_error *err);
} daemon_description;

typedef struct daemon_options {
    service_config *config; /* owned; config_free at the end */
    const char *config_path;
    bool insecure_dev;    /* --insecure-dev: the only way in, never a configuration key */
    unsigned flags_given; /* bit i: description->flags[i] was given */
    char **arguments;     /* what follows the options */
    int argument_count;
} daemon_options;

enum { DAEMON_RUN = -1 };
/* Parses the command line, loads the configuration, starts the log, closes inherited doors (core
 * dumps off, PR_SET_DUMPABLE 0, umask 077, no new privileges), blocks the signals that daemon_wait
 * takes. Returns DAEMON_RUN, or the exit status the program should end with: 0 after --help and the
 * like, 2 for a wrong command line or configuration. */
int daemon_start(const daemon_description *description, int argc, char **argv,
                 daemon_options *options);

/* Tells systemd (NOTIFY_SOCKET) and the log. */
void daemon_ready(const char *status);
typedef enum daemon_event { DAEMON_STOP, DAEMON_RELOAD, DAEMON_TIMEOUT } daemon_event;
/* Waits for SIGTERM or SIGINT (stop), SIGHUP (reload), or timeout_ms (-1: forever). Repeats the
 * insecure-dev warning once an hour while waiting. */
daemon_event daemon_wait(int timeout_ms);
/* Makes a daemon_wait return DAEMON_STOP, from any thread (a listener died). */
void daemon_request_stop(void);
/* Whether --insecure-dev was given; status answers carry "insecure_dev": true then, and
 * certificates that the process issues OU=DAEMON_INSECURE_OU. */
bool daemon_insecure(void);
#define DAEMON_INSECURE_OU "dstack insecure-dev"

#endif
