#include "serve/guard.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "serve/caller.h"

bool guard_waits(const http_request *request, const agent *a) {
    return a->callers != NULL && http_request_connection_data(request) == NULL;
}

/* Who connected: found at the first call of the connection and kept with it. */
static int caller_of(rpc_call *call, const agent *a, const caller **out, dstack_error *err) {
    *out = http_request_connection_data(call->http);
    if (*out != NULL) {
        return 0;
    }
    caller *found = calloc(1, sizeof *found);
    if (found == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const http_peer *peer = http_request_peer(call->http);
    DSTACK_AUTO(fd) int pidfd = http_request_peer_pidfd(call->http);
    const caller_process process = {.pid = peer->pid, .uid = peer->uid, .pidfd = pidfd};
    int rc = caller_identify(a->callers, &process, found, err);
    if (rc != 0) {
        free(found);
        call->http_status = rc == DSTACK_E_REFUSED ? 403 : 503;
        return error_prefix(err, rc, "key policy");
    }
    http_request_set_connection_data(call->http, found, free);
    *out = found;
    return 0;
}

/* The caller and its grant; `*grant` NULL: everything is granted. */
static int grant_of(rpc_call *call, const caller **who, const dstack_key_grant **grant,
                    dstack_error *err) {
    const agent *a = call->app;
    *grant = NULL;
    if (a->callers == NULL) {
        return 0;
    }
    int rc = caller_of(call, a, who, err);
    if (rc != 0 || (*who)->kind == CALLER_GUEST) {
        return rc;
    }
    if ((*who)->kind == CALLER_STRANGER) {
        call->http_status = 403;
        return error_set(err, DSTACK_E_REFUSED, "key policy: the caller is no service of this app");
    }
    *grant = dstack_manifest_key_grant(a->manifest, (*who)->service);
    return 0;
}

static int refuse(rpc_call *call, const caller *who, const char *what, dstack_error *err) {
    call->http_status = 403;
    return error_set(err, DSTACK_E_REFUSED, "key policy: service %s may not ask for %s",
                     who->service, what);
}

int guard_path(rpc_call *call, dstack_bytes path, dstack_error *err) {
    const caller *who = NULL;
    const dstack_key_grant *grant = NULL;
    int rc = grant_of(call, &who, &grant, err);
    return rc != 0 || grant == NULL ||
                   dstack_key_name_matches(grant->paths, grant->path_count, path)
               ? rc
               : refuse(call, who, "the key of this path", err);
}

int guard_domain(rpc_call *call, dstack_bytes domain, dstack_error *err) {
    const caller *who = NULL;
    const dstack_key_grant *grant = NULL;
    int rc = grant_of(call, &who, &grant, err);
    return rc != 0 || grant == NULL ||
                   dstack_key_name_matches(grant->domains, grant->domain_count, domain)
               ? rc
               : refuse(call, who, "the key of this domain", err);
}

int guard_right_of(rpc_call *call, guard_right right, dstack_error *err) {
    static const char *const names[] = {[GUARD_SIGN] = "signatures",
                                        [GUARD_CERTIFICATES] = "certificates",
                                        [GUARD_ATTEST] = "evidence"};
    const caller *who = NULL;
    const dstack_key_grant *grant = NULL;
    int rc = grant_of(call, &who, &grant, err);
    if (rc != 0 || grant == NULL) {
        return rc;
    }
    const bool granted[] = {[GUARD_SIGN] = grant->sign,
                            [GUARD_CERTIFICATES] = grant->certificates,
                            [GUARD_ATTEST] = grant->attest};
    return granted[right] ? 0 : refuse(call, who, names[right], err);
}
