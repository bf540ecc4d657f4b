/* The Vmm RPC service and the logs route. */
#ifndef VMM_RPC_H
#define VMM_RPC_H

#include "registry.h"
#include "service/config.h"
#include "service/rpc.h"

#define VMM_MAX_TOKENS 32

/* What handlers see as their app. */
struct vmm_app {
    struct registry registry;
    struct vmm_settings settings;
    bool auth_enabled;
    uint8_t tokens[VMM_MAX_TOKENS][32]; /* SHA-256 of each accepted token */
    size_t token_count;
};

extern const rpc_service vmm_service;

/* Keeps the hashes of the configured tokens. */
int vmm_auth_fill(struct vmm_app *app, const service_config *config, dstack_error *err);
/* Whether a request may pass: a token where auth is enabled (X-Admin-Token, Bearer, or for GET the
 * query's token), anybody otherwise, for then the listener is local. */
bool vmm_auth_accepts(const struct vmm_app *app, http_request *request);

/* GET /logs?id&follow&ansi&lines&ch */
void vmm_logs_handle(http_request *request, http_response *response, void *app);

#endif
