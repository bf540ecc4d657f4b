/* Who supervises a VM: the process that holds a record lock on <vm>/supervise.lock. The kernel names
 * the holder and drops the lock with it, so there is no stale pid. */
#ifndef VMM_LOCK_H
#define VMM_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

#include <dstack/error.h>

/* Takes the lock for this process until it ends. *fd stays open; no other descriptor of that file
 * may be closed by this process meanwhile. DSTACK_E_STATE when another process holds it. */
int vm_lock_take(const char *dir, int *fd, dstack_error *err);
/* Pid of the holder, 0 when there is none. */
pid_t vm_lock_holder(const char *dir);
/* Sends a signal to the holder, and to no other process even if its pid is reused meanwhile. False
 * when there is none. */
bool vm_lock_signal(const char *dir, int signal);
/* Waits until there is no holder; false at the deadline. */
bool vm_lock_wait_gone(const char *dir, int timeout_ms);

#endif
