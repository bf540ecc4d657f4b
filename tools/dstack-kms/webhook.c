#include "webhook.h"

#include <string.h>

#include <dstack/version.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "client/http_client.h"

#define ANSWER_LIMIT ((size_t)64 << 10)
#define SHOWN 400

static int ask(const char *url, int timeout_ms, const http_client_request *request,
               http_client_response *response, dstack_error *err) {
    http_client_config config = {.url = url,
                                 .connect_timeout_ms = timeout_ms,
                                 .total_timeout_ms = timeout_ms,
                                 .attempts = 2,
                                 .body_limit = ANSWER_LIMIT,
                                 .user_agent = "dstack-kms/" DSTACK_VERSION};
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, err);
    if (client == NULL) {
        return DSTACK_E_ARGUMENT;
    }
    int rc = http_client_send(client, request, response, err);
    if (rc != 0) {
        return error_prefix(err, rc, "auth api %s%s", url, request->path);
    }
    if (response->status < 200 || response->status > 299) {
        const char *text = buf_text(&response->body);
        return error_set(err, DSTACK_E_PEER, "auth api %s%s returned %d: %.*s", url, request->path,
                         response->status, SHOWN, text != NULL ? text : "");
    }
    return 0;
}

static int bad_answer(const char *url, const http_client_request *request,
                      http_client_response *response, dstack_error *err) {
    const char *text = buf_text(&response->body);
    return error_set(err, DSTACK_E_FORMAT,
                     "failed to decode response from %s%s, status=%d, body=%.*s", url,
                     request->path, response->status, SHOWN, text != NULL ? text : "");
}

int kms_webhook_decide(const char *url, int timeout_ms, kms_boot_kind kind, dstack_bytes boot_info,
                       kms_decision *decision, dstack_error *err) {
    http_client_request request = {.method = "POST",
                                   .path = kind == KMS_BOOT_KMS ? "/bootAuth/kms" : "/bootAuth/app",
                                   .content_type = "application/json",
                                   .body = boot_info};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    *decision = (kms_decision){0};
    int rc = ask(url, timeout_ms, &request, &response, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *answer = json_parse(bytes_of_buf(&response.body), ANSWER_LIMIT, "answer", NULL);
    const json_t *allowed = json_object_get(answer, "isAllowed");
    const char *gateway = json_string_value(json_object_get(answer, "gatewayAppId"));
    const char *reason = json_string_value(json_object_get(answer, "reason"));
    if (!json_is_boolean(allowed) || gateway == NULL || reason == NULL ||
        strlen(gateway) >= sizeof decision->gateway_app_id) {
        return bad_answer(url, &request, &response, err);
    }
    decision->allowed = json_is_true(allowed);
    snprintf(decision->gateway_app_id, sizeof decision->gateway_app_id, "%s", gateway);
    snprintf(decision->reason, sizeof decision->reason, "%s", reason);
    /* Told by dstack-auth; 0 where it is not told. */
    decision->policy_time = json_integer_value(json_object_get(answer, "policyTime"));
    return 0;
}

static bool take_text(const json_t *answer, const char *name, char *out, size_t room) {
    const char *text = json_string_value(json_object_get(answer, name));
    if (text == NULL || strlen(text) >= room) {
        return false;
    }
    snprintf(out, room, "%s", text);
    return true;
}

int kms_webhook_info(const char *url, int timeout_ms, kms_auth_info *info, dstack_error *err) {
    http_client_request request = {.method = "GET", .path = ""};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    *info = (kms_auth_info){0};
    int rc = ask(url, timeout_ms, &request, &response, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *answer = json_parse(bytes_of_buf(&response.body), ANSWER_LIMIT, "answer", NULL);
    const json_t *chain = json_object_get(answer, "chainId");
    if (!take_text(answer, "kmsContractAddr", info->contract_address,
                   sizeof info->contract_address) ||
        !take_text(answer, "gatewayAppId", info->gateway_app_id, sizeof info->gateway_app_id) ||
        !take_text(answer, "appImplementation", info->app_implementation,
                   sizeof info->app_implementation) ||
        !json_is_integer(chain) || json_integer_value(chain) < 0) {
        return bad_answer(url, &request, &response, err);
    }
    (void)take_text(answer, "ethRpcUrl", info->eth_rpc_url, sizeof info->eth_rpc_url);
    info->chain_id = (uint64_t)json_integer_value(chain);
    info->has_contract = true;
    return 0;
}
