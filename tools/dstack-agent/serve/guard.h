/* The manifest's key policy at the calls that it is about. Without a policy everything is granted.
 *
 * A refusal is 403; 503 where the caller cannot be told because the engine does not answer. */
#ifndef AGENT_SERVE_GUARD_H
#define AGENT_SERVE_GUARD_H

#include "serve/agent.h"

typedef enum guard_right { GUARD_SIGN, GUARD_CERTIFICATES, GUARD_ATTEST } guard_right;

int guard_path(rpc_call *call, dstack_bytes path, dstack_error *err);
int guard_domain(rpc_call *call, dstack_bytes domain, dstack_error *err);
int guard_right_of(rpc_call *call, guard_right right, dstack_error *err);

/* Whether the caller must first be looked up, which may wait for the engine. */
bool guard_waits(const http_request *request, const agent *a);

#endif
