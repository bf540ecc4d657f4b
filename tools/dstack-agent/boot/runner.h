/* Runs a table of boot stages, each within its deadline. */
#ifndef AGENT_BOOT_RUNNER_H
#define AGENT_BOOT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/error.h>

typedef struct boot_stage {
    const char *name;     /* in error texts and logs */
    const char *progress; /* told to the host when the stage begins; NULL: nothing */
    int deadline_ms;
    int (*run)(void *context, dstack_error *err);
    /* Told when it failed; NULL: the failure ends the boot. */
    void (*tolerate)(void *context, const dstack_error *err);
} boot_stage;

typedef struct boot_observer {
    void (*begin)(void *context, const boot_stage *stage);
    void (*end)(void *context, const boot_stage *stage, int64_t took_ms);
} boot_observer;

/* Runs the stages in order. A failure gives its status with the stage's name in front of the
 * message. A stage that overruns its deadline is DSTACK_E_TIMEOUT and goes on in a thread that
 * nobody waits for: the caller ends the machine. */
int boot_run_stages(const boot_stage *stages, size_t count, const boot_observer *observer,
                    void *context, dstack_error *err);

#endif
