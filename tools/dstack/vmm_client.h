/* Talking to a VMM: where it is, its RPCs as JSON, and its logs as they come. */
#ifndef DSTACK_VMM_CLIENT_H
#define DSTACK_VMM_CLIENT_H

#include <jansson.h>

#include "cli.h"
#include "client/http_client.h"

/* Options of every command that talks to a VMM; use as the last rows of a table. */
#define VMM_OPTIONS                                                                                \
    {"vmm", 0, "URL", "the VMM: unix:PATH or http(s)://HOST:PORT"},                                \
        {"state", 0, "DIR", "folder whose vmm.sock is the VMM"},                                   \
        {"token-file", 0, "FILE", "file holding the VMM's token"}, {                               \
        NULL                                                                                       \
    }

struct vmm_client {
    http_client *http;
    char *url;   /* as given */
    char *token; /* NULL: none */
};

/* Finds the VMM by --vmm, by --state, or at unix:/run/dstack/vmm.sock. */
int vmm_client_open(const struct cli *cli, struct vmm_client *out, dstack_error *err);
void vmm_client_close(struct vmm_client *client);
DSTACK_AUTO_DEFINE_CLEAR(vmm_client, struct vmm_client, vmm_client_close)

/* Calls a method. arguments may be NULL; *out (may be NULL) is owned by the caller. An error of the
 * VMM is DSTACK_E_PEER with its text. */
int vmm_client_call(struct vmm_client *client, const char *method, const json_t *arguments,
                    json_t **out, dstack_error *err);

/* VmInfo of the one VM that `name` means: its id, the beginning of its id, or its name.
 * DSTACK_E_REFUSED when there is none or more than one. */
int vmm_client_find(struct vmm_client *client, const char *name, json_t **out, dstack_error *err);

/* Copies a log to `out`; with follow until the connection ends. */
int vmm_client_logs(struct vmm_client *client, const char *id, const char *channel, int64_t lines,
                    bool follow, bool ansi, FILE *out, dstack_error *err);

/* Waits until the VM has booted, telling each step on cli->diag. 0 when the guest reported "done";
 * DSTACK_E_REFUSED with the guest's own error when it gave up; DSTACK_E_STATE when it ended without
 * one; DSTACK_E_TIMEOUT. */
int vmm_client_wait_boot(struct cli *cli, struct vmm_client *client, const char *id,
                         int64_t timeout_s, dstack_error *err);
/* Waits until the VM no longer runs. DSTACK_E_TIMEOUT. */
int vmm_client_wait_stopped(struct vmm_client *client, const char *id, int64_t timeout_s,
                            dstack_error *err);

/* A string member, "" when missing or null. */
const char *vmm_text(const json_t *object, const char *key);

#endif
