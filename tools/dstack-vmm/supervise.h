/* `dstack-vmm supervise`: the process that owns one VM's QEMU, its simulated TEE and its ports, and
 * so outlives the VMM. */
#ifndef VMM_SUPERVISE_H
#define VMM_SUPERVISE_H

#include <dstack/error.h>

/* Signals that the supervisor takes. */
#define SUPERVISE_STOP SIGTERM     /* QEMU is killed */
#define SUPERVISE_SHUTDOWN SIGUSR1 /* the guest is asked to power off */

/* Starts a supervisor for the VM in dir, detached, and waits until QEMU runs (0) or has failed (the
 * reason in err). self: this program. */
int supervise_spawn(const char *self, const char *dir, int timeout_ms, dstack_error *err);

/* The subcommand: argv[0] is "supervise", argv[1] the VM's folder. Returns the exit status. */
int supervise_command(int argc, char **argv);

#endif
