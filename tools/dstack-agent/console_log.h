/* The log of the programs that the guest's units start. */
#ifndef AGENT_CONSOLE_LOG_H
#define AGENT_CONSOLE_LOG_H

#include <stdlib.h>

#include "service/log.h"

/* Lines to stderr, which the units send to journal and console: records written to the journal
 * itself would never reach the console, where the boot is watched from. */
static inline void log_to_console(const char *program) {
    unsetenv("JOURNAL_STREAM");
    log_init(program, "info", NULL);
}

#endif
