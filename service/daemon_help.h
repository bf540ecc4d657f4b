/* What a daemon says of itself, all of it made from its description: help, manual page, completion. */
#ifndef SERVICE_DAEMON_HELP_H
#define SERVICE_DAEMON_HELP_H

#include <stdio.h>

#include "service/daemon.h"

void daemon_help(const daemon_description *d, FILE *out);
/* Section 1, in man(7) macros. */
void daemon_man(const daemon_description *d, FILE *out);
/* False for a shell other than bash, zsh and fish. */
bool daemon_completion(const daemon_description *d, const char *shell, FILE *out);

#endif
