/* Whether KVM can really run a guest here. */
#ifndef VMM_KVM_PROBE_H
#define VMM_KVM_PROBE_H

#include <stdbool.h>

/* Lets a seven-byte guest run under KVM and say that it did. A /dev/kvm that cannot be opened, or
 * under which the guest hangs or QEMU fails (some nested set-ups), is no KVM. */
bool kvm_works(const char *qemu);

#endif
