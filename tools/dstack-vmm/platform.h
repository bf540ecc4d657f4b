/* The simulated TEE of one VM: measured from the image and the machine, then served to the guest. */
#ifndef VMM_PLATFORM_H
#define VMM_PLATFORM_H

#include "launch.h"
#include "service/sim/sim_server.h"

struct platform {
    sim_keys *keys;
    sim_vm *vm; /* NULL when the VM has no simulated TEE */
};

/* Measures image and machine: MRTD and RTMR0 to RTMR2 and starts the VM's TEE with them. */
int platform_start(const struct launch *launch, const char *dir, struct platform *out,
                   dstack_error *err);
/* Holds the tables that QEMU gives (probed) against those that every verifier generates for the same
 * machine: DSTACK_E_REFUSED names the first that differs. A QEMU whose tables are not known passes
 * with a warning in the log. */
int platform_check_acpi(const dstack_vm_shape *probed, dstack_error *err);
void platform_clear(struct platform *platform);

#endif
