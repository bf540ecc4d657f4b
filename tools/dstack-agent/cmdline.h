/* Options of the measured kernel command line. */
#ifndef AGENT_CMDLINE_H
#define AGENT_CMDLINE_H

#include <stddef.h>

#include <dstack/error.h>

/* The value of `name=value`. DSTACK_E_NOT_FOUND when absent, DSTACK_E_REFUSED when given twice,
 * DSTACK_E_LIMIT when it does not fit. */
int cmdline_option(const char *cmdline, const char *name, char *out, size_t size,
                   dstack_error *err);

#endif
