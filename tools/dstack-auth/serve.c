/* Statuses and bodies are those of the reference's webhooks, which KMSes of either kind ask. What
 * ours say more (policyTime, blockNumber, blockHash) others ignore. */
#include "serve.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "chain/boot_info.h"
#include "service/daemon.h"
#include "service/log.h"

#define BODY_LIMIT ((size_t)256 << 10)
#define PEM_LIMIT ((size_t)1 << 20)
#define NO_ADDRESS "0x0000000000000000000000000000000000000000"

/* ---- answers ----------------------------------------------------------------------------------
 */

static void answer(http_response *response, int status, json_t *body) {
    DSTACK_AUTO(json) json_t *owned = body;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (json_write(owned, false, &text, NULL) == 0) {
        http_response_bytes(response, status, "application/json; charset=utf-8",
                            bytes_of_buf(&text));
    } else {
        http_response_text(response, 500, "out of memory\n");
    }
}

static void decline(http_response *response, int status, const char *reason) {
    answer(response, status,
           json_pack("{s:b,s:s,s:s}", "isAllowed", 0, "reason", reason, "gatewayAppId", ""));
}

static void backend_away(http_response *response) {
    answer(
        response, 500,
        json_pack("{s:s,s:s}", "status", "error", "message", "authorization backend unavailable"));
}

static void count(auth_service *s, const char *kind, const char *result) {
    char labels[80];
    snprintf(labels, sizeof labels, "kind=\"%s\",result=\"%s\"", kind, result);
    metrics_add(metrics_get(s->metrics, METRICS_COUNTER, "dstack_auth_decisions_total", labels,
                            "Questions answered, by what was asked about and the answer."),
                1);
}

/* ---- decisions --------------------------------------------------------------------------------
 */

static void answer_decision(http_response *response, const kms_decision *decision) {
    json_t *body = json_pack("{s:b,s:s,s:s,s:I}", "isAllowed", decision->allowed, "reason",
                             decision->reason, "gatewayAppId", decision->gateway_app_id,
                             "policyTime", (json_int_t)decision->policy_time);
    if (decision->block_hash[0] != 0) {
        json_object_set_new(body, "blockNumber", json_integer((json_int_t)decision->block_number));
        json_object_set_new(body, "blockHash", json_string(decision->block_hash));
    }
    answer(response, 200, body);
}

static void decide(auth_service *s, http_request *request, http_response *response,
                   kms_boot_kind kind) {
    const char *name = kind == KMS_BOOT_KMS ? "kms" : "app", *id = http_request_id(request);
    DSTACK_AUTO(buf) dstack_buf unused = {0};
    dstack_error err = {0};
    kms_decision decision;
    DSTACK_AUTO(json)
    json_t *info = json_parse(http_request_body(request), BODY_LIMIT, "boot info", &err);
    if (info == NULL) {
        count(s, name, "invalid");
        backend_away(response);
        return;
    }
    /* The contracts' form is what every policy is asked in. */
    if (chain_boot_info_encode(kind == KMS_BOOT_KMS, info, &unused, &err) != 0) {
        count(s, name, "invalid");
        LOG_INFO("invalid request", "kind", name, "reason", err.message, "request", id);
        decline(response, 400, "invalid authorization request");
        return;
    }
    if (kms_auth_decide(s->policy, kind, http_request_body(request), &decision, &err) != 0) {
        count(s, name, "error");
        LOG_ERROR("no decision", "kind", name, "reason", err.message, "request", id);
        decline(response, 200, "authorization backend unavailable");
        return;
    }
    const char *app = json_string_value(json_object_get(info, "appId"));
    count(s, name, decision.allowed ? "allowed" : "denied");
    LOG_INFO(decision.allowed ? "allowed" : "denied", "kind", name, "app_id", app, "reason",
             decision.reason, "block", decision.block_hash, "request", id);
    answer_decision(response, &decision);
}

static bool admitted(auth_service *s, http_request *request, http_response *response) {
    if (rate_limit_take(s->rate, http_request_peer(request), clock_monotonic_ms())) {
        return true;
    }
    decline(response, 429, "too many requests");
    return false;
}

static void boot_app(http_request *request, http_response *response, void *user) {
    if (admitted(user, request, response)) {
        decide(user, request, response, KMS_BOOT_APP);
    }
}

static void boot_kms(http_request *request, http_response *response, void *user) {
    if (admitted(user, request, response)) {
        decide(user, request, response, KMS_BOOT_KMS);
    }
}

/* ---- information ------------------------------------------------------------------------------
 */

static void show_info(http_request *request, http_response *response, void *user) {
    auth_service *s = user;
    kms_auth_info info;
    dstack_error err = {0};
    if (!admitted(s, request, response)) {
        return;
    }
    if (kms_auth_info_get(s->policy, &info, &err) != 0) {
        LOG_ERROR("no information", "reason", err.message, "request", http_request_id(request));
        backend_away(response);
        return;
    }
    const char *implementation = info.has_contract ? info.app_implementation : NO_ADDRESS;
    json_t *body = json_pack("{s:s,s:s}", "status", "ok", "kmsContractAddr",
                             info.has_contract ? info.contract_address : NO_ADDRESS);
    if (info.has_contract) {
        json_object_set_new(body, "ethRpcUrl", json_string(info.eth_rpc_url));
    }
    json_object_set_new(body, "gatewayAppId", json_string(info.gateway_app_id));
    json_object_set_new(body, "chainId", json_integer((json_int_t)info.chain_id));
    json_object_set_new(body, "appAuthImplementation", json_string(implementation));
    json_object_set_new(body, "appImplementation", json_string(implementation));
    if (daemon_insecure()) {
        json_object_set_new(body, "insecure_dev", json_true());
    }
    answer(response, 200, body);
}

static void health(http_request *request, http_response *response, void *user) {
    (void)request;
    (void)user;
    http_response_text(response, 200, "OK\n");
}

/* Whether there is a policy to answer by. */
static void ready(http_request *request, http_response *response, void *user) {
    auth_service *s = user;
    kms_auth_info info;
    dstack_error err = {0};
    if (!admitted(s, request, response)) {
        return;
    }
    if (kms_auth_info_get(s->policy, &info, &err) == 0) {
        http_response_text(response, 200, "OK\n");
    } else {
        LOG_WARN("not ready", "reason", err.message);
        http_response_text(response, 503, "no policy\n");
    }
}

static void show_metrics(http_request *request, http_response *response, void *user) {
    auth_service *s = user;
    kms_auth_measure(s->policy, s->metrics, "dstack_auth");
    metrics_handle(request, response, s->metrics);
}

static void not_found(http_request *request, http_response *response, void *user) {
    char text[300];
    (void)user;
    snprintf(text, sizeof text, "Route %.16s:%.200s not found", http_request_method(request),
             http_request_path(request));
    answer(response, 404,
           json_pack("{s:s,s:s,s:i}", "message", text, "error", "Not Found", "statusCode", 404));
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static size_t fill_routes(auth_service *s) {
    size_t n = 0;
    s->routes[n++] = (http_route){"POST", "/bootAuth/app", boot_app, s, BODY_LIMIT, 0};
    s->routes[n++] = (http_route){"POST", "/bootAuth/kms", boot_kms, s, BODY_LIMIT, 0};
    s->routes[n++] = (http_route){"GET", "/", show_info, s, 4096, 0};
    s->routes[n++] = (http_route){"GET", "/health", health, s, 4096, HTTP_ROUTE_INLINE};
    s->routes[n++] = (http_route){"GET", "/ready", ready, s, 4096, 0};
    if (config_bool(s->config, "metrics")) {
        s->routes[n++] = (http_route){"GET", "/metrics", show_metrics, s, 4096, 0};
    }
    s->routes[n++] = (http_route){"*", "/**", not_found, s, BODY_LIMIT, HTTP_ROUTE_INLINE};
    return n;
}

static int read_certificate(const auth_service *s, dstack_buf *certificate, dstack_buf *key,
                            dstack_error *err) {
    int rc = file_read(config_str(s->config, "tls.certificate"), PEM_LIMIT, certificate, err);
    return rc != 0 ? rc : file_read(config_str(s->config, "tls.key"), PEM_LIMIT, key, err);
}

static int open_tls(auth_service *s, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf certificate = {0};
    DSTACK_AUTO(wiped_buf) dstack_buf key = {0};
    if (config_str(s->config, "tls.certificate")[0] == 0) {
        return 0;
    }
    int rc = read_certificate(s, &certificate, &key, err);
    if (rc == 0) {
        http_tls_config config = {.certificate_pem = bytes_of_buf(&certificate),
                                  .key_pem = bytes_of_buf(&key)};
        s->tls = http_tls_new(&config, err);
        rc = s->tls != NULL ? 0 : DSTACK_E_FORMAT;
    }
    return rc;
}

int auth_service_reload(auth_service *s, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf certificate = {0};
    DSTACK_AUTO(wiped_buf) dstack_buf key = {0};
    if (s->tls == NULL) {
        return 0;
    }
    int rc = read_certificate(s, &certificate, &key, err);
    return rc != 0 ? rc
                   : http_tls_replace(s->tls, bytes_of_buf(&certificate), bytes_of_buf(&key), err);
}

static int listen_for(auth_service *s, dstack_error *err) {
    const char *address = config_str(s->config, "address");
    char where[200];
    if (strncmp(address, "unix:", 5) == 0) {
        snprintf(where, sizeof where, "%s", address);
    } else {
        snprintf(where, sizeof where, strchr(address, ':') != NULL ? "[%s]:%d" : "%s:%d", address,
                 (int)config_int(s->config, "port"));
    }
    http_listener_config listener = {.name = "http",
                                     .address = where,
                                     .tls = s->tls,
                                     .routes = s->routes,
                                     .route_count = fill_routes(s),
                                     .user = s};
    config_http_limits(s->config, "limits", &listener.limits);
    http_server_config server = {.name = "dstack-auth",
                                 .metrics = s->metrics,
                                 .workers = (unsigned)config_int(s->config, "workers")};
    s->server = http_server_new(&server);
    int rc = s->server != NULL ? http_server_listen(s->server, &listener, err)
                               : error_set(err, DSTACK_E_MEMORY, "out of memory");
    return rc != 0 ? error_prefix(err, rc, "listening on %s", where) : 0;
}

int auth_service_open(auth_service *s, const service_config *config, dstack_error *err) {
    *s = (auth_service){.config = config};
    s->metrics = metrics_new();
    s->rate =
        rate_limit_new((unsigned)config_int(config, "rate"), (unsigned)config_int(config, "burst"));
    if (s->metrics == NULL || s->rate == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = kms_auth_open(&s->policy, config, "policy", NULL, err);
    rc = rc != 0 ? rc : open_tls(s, err);
    return rc != 0 ? rc : listen_for(s, err);
}

void auth_service_close(auth_service *s) {
    if (s->server != NULL) {
        http_server_drain(s->server, 5000);
        http_server_free(s->server);
    }
    http_tls_free(s->tls);
    kms_auth_free(s->policy);
    rate_limit_free(s->rate);
    metrics_free(s->metrics);
    *s = (auth_service){0};
}
