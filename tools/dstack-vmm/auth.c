#include <string.h>

#include <sodium.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "rpc_vmm.h"

int vmm_auth_fill(struct vmm_app *app, const service_config *config, dstack_error *err) {
    const char *const *tokens = NULL;
    size_t count = config_list(config, "auth.tokens", &tokens);
    app->auth_enabled = config_bool(config, "auth.enabled");
    if (count > VMM_MAX_TOKENS) {
        return error_set(err, DSTACK_E_LIMIT, "auth.tokens: more than %d", VMM_MAX_TOKENS);
    }
    for (size_t i = 0; i < count; i++) {
        if (tokens[i][0] != 0) {
            hash_sha256(bytes_of_str(tokens[i]), app->tokens[app->token_count++]);
        }
    }
    return 0;
}

/* Every entry is compared, in constant time, whatever matched before. */
static bool is_token(const struct vmm_app *app, const char *text) {
    uint8_t digest[32];
    int matches = 0;
    hash_sha256(bytes_of_str(text), digest);
    for (size_t i = 0; i < app->token_count; i++) {
        matches |= sodium_memcmp(digest, app->tokens[i], sizeof digest) == 0;
    }
    return matches != 0;
}

bool vmm_auth_accepts(const struct vmm_app *app, http_request *request) {
    if (!app->auth_enabled) {
        return true;
    }
    const char *admin = http_request_header(request, "X-Admin-Token");
    if (admin != NULL && is_token(app, admin)) {
        return true;
    }
    const char *authorization = http_request_header(request, "Authorization");
    if (authorization != NULL && strncmp(authorization, "Bearer ", 7) == 0) {
        return is_token(app, authorization + 7 + strspn(authorization + 7, " "));
    }
    const char *query = strcmp(http_request_method(request), "GET") == 0
                            ? http_request_arg(request, "token")
                            : NULL;
    return query != NULL && is_token(app, query);
}
