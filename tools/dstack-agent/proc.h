/* Running the few programs of the image that have no library: mkfs, e2fsck, nft, docker compose.
 * No secret is ever an argument or in a child's environment. */
#ifndef AGENT_PROC_H
#define AGENT_PROC_H

#include <dstack/bytes.h>

typedef struct proc_spec {
    const char *const *argv; /* argv[0] is an absolute path; NULL-terminated */
    const char *const *envp; /* NULL: PATH alone */
    const char *cwd;         /* NULL: / */
    dstack_bytes input;      /* standard input; empty: /dev/null */
    bool show_output;        /* to this program's own output; otherwise kept for the error text */
    int timeout_ms;          /* then the child is killed */
    unsigned ok_codes;       /* bit n: exit code n is success; 0 means only code 0 */
} proc_spec;

/* Runs to the end. DSTACK_E_NOT_FOUND when it cannot be started, DSTACK_E_TIMEOUT, or DSTACK_E_IO
 * with exit code and the last line of output. */
int proc_run(const proc_spec *spec, dstack_error *err);

#endif
