/* Runs another program and waits for it, without a shell. Secrets never go into argv: hand them
 * over by a file descriptor or a 0600 file. */
#ifndef SERVICE_RUN_H
#define SERVICE_RUN_H

#include <dstack/bytes.h>

/* argv ends with NULL; argv[0] is looked up in PATH. Standard input is empty, standard output (at
 * most 1 MiB) is appended to out (NULL: dropped), standard error goes with it when `merge`. The
 * environment holds PATH and LANG=C only. 0 when the program ended with status 0; DSTACK_E_NOT_FOUND
 * when there is no such program; DSTACK_E_TIMEOUT when it had to be killed; DSTACK_E_IO with the
 * exit status and the last line of its output otherwise. */
int run_program(const char *const *argv, bool merge, dstack_buf *out, int64_t timeout_ms,
                dstack_error *err);

#endif
