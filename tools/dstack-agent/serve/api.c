/* The tables: which method lives on which surface, and who may call it there. */
#include <string.h>

#include "guest_v0.pb-c.h"
#include "guest_v1.pb-c.h"
#include "serve/agent.h"
#include "serve/guard.h"
#include "serve/pages.h"

#define V0(name) &dstack_guest__##name##__descriptor
#define V1(name) &dstack__guest__v1__##name##__descriptor
#define QUICK true
/* What keys are derived from may hold any character, also zero. */
static const char *const path_texts[] = {"path", NULL};
static const char *const path_purpose_texts[] = {"path", "purpose", NULL};
static const char *const domain_texts[] = {"domain", NULL};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const rpc_method v0_methods[] = {
    {"GetTlsKey", V0(get_tls_key_args), V0(get_tls_key_response), RPC_CALLER_LOCAL, v0_get_tls_key,
     0},
    {"GetKey", V0(get_key_args), V0(get_key_response), RPC_CALLER_LOCAL, v0_get_key, 0, QUICK,
     path_purpose_texts},
    {"GetQuote", V0(raw_quote_args), V0(get_quote_response), RPC_CALLER_LOCAL, v0_get_quote, 0},
    {"Attest", V0(raw_quote_args), V0(attest_response), RPC_CALLER_LOCAL, v0_attest, 0},
    {"EmitEvent", V0(emit_event_args), NULL, RPC_CALLER_LOCAL, v0_emit_event, 0, QUICK},
    {"Info", NULL, V0(app_info), RPC_CALLER_LOCAL, v0_info, 0},
    {"Sign", V0(sign_request), V0(sign_response), RPC_CALLER_LOCAL, v0_sign, 0, QUICK},
    {"Verify", V0(verify_request), V0(verify_response), RPC_CALLER_LOCAL, v0_verify, 0, QUICK},
    {"Version", NULL, V0(worker_version), RPC_CALLER_LOCAL, agent_version, 0, QUICK},
};

static const rpc_method v1_methods[] = {
    {"IssueCert", V1(issue_cert_request), V1(issue_cert_response), RPC_CALLER_LOCAL, v1_issue_cert,
     0},
    {"GetKey", V1(get_key_request), V1(get_key_response), RPC_CALLER_LOCAL, v1_get_key, 0, QUICK,
     domain_texts},
    {"Attest", V1(attest_request), V1(attest_response), RPC_CALLER_LOCAL, v1_attest, 0},
    {"AttestGpu", V1(attest_gpu_request), V1(attest_gpu_response), RPC_CALLER_LOCAL, v1_attest_gpu,
     0},
    {"Info", NULL, V1(info_response), RPC_CALLER_LOCAL, v1_info, 0},
    {"Version", NULL, V1(version_response), RPC_CALLER_LOCAL, agent_version_v1, 0, QUICK},
};

static const rpc_method tappd_methods[] = {
    {"DeriveKey", V0(derive_key_args), V0(get_tls_key_response), RPC_CALLER_LOCAL, tappd_derive_key,
     0, false, path_texts},
    {"DeriveK256Key", V0(get_key_args), V0(derive_k256_key_response), RPC_CALLER_LOCAL,
     tappd_derive_k256_key, 0, QUICK, path_purpose_texts},
    {"TdxQuote", V0(tdx_quote_args), V0(tdx_quote_response), RPC_CALLER_LOCAL, tappd_tdx_quote, 0},
    {"RawQuote", V0(raw_quote_args), V0(tdx_quote_response), RPC_CALLER_LOCAL, tappd_raw_quote, 0},
    {"Info", NULL, V0(app_info), RPC_CALLER_LOCAL, v0_info, 0},
    {"Version", NULL, V0(worker_version), RPC_CALLER_LOCAL, agent_version, 0, QUICK},
};

static const rpc_method worker_methods[] = {
    {"Info", NULL, V0(app_info), RPC_CALLER_ANYONE, worker_info, 0},
    {"Version", NULL, V0(worker_version), RPC_CALLER_ANYONE, agent_version, 0, QUICK},
    {"GetAttestationForAppKey", V0(get_attestation_for_app_key_request), V0(get_quote_response),
     RPC_CALLER_ANYONE, worker_attest_app_key, 0},
};

static const rpc_method worker_v1_methods[] = {
    {"Info", NULL, V1(info_response), RPC_CALLER_ANYONE, worker_info_v1, 0},
    {"Version", NULL, V1(version_response), RPC_CALLER_ANYONE, agent_version_v1, 0, QUICK},
    {"Health", NULL, V1(health_response), RPC_CALLER_ANYONE, worker_health, 0, QUICK},
};

#define SERVICE(variable, text, strip, table)                                                      \
    static const rpc_service variable = {                                                          \
        .name = text, .prefix = strip, .methods = table, .method_count = COUNT(table)}

SERVICE(v0_service, "DstackGuest", NULL, v0_methods);
SERVICE(v1_service, "DstackGuestV1", NULL, v1_methods);
SERVICE(tappd_service, "Tappd", "Tappd.", tappd_methods);
SERVICE(worker_service, "Worker", "Worker.", worker_methods);
SERVICE(worker_v1_service, "WorkerV1", NULL, worker_v1_methods);

/* A route's user is the agent; the service comes with the handler. */
static void dispatch(http_request *request, http_response *response, void *user,
                     const rpc_service *service) {
    const rpc_binding binding = {.service = service, .app = user};
    rpc_handle(request, response, (void *)(uintptr_t)&binding);
}

/* Recorded evidence is there at once, and so is an identity that is known. */
static bool answers_at_once(const http_request *request, const agent *a,
                            const rpc_service *service) {
    const char *name = http_request_capture(request, 0);
    if (guard_waits(request, a)) {
        return false;
    }
    return a->evidence_at_once || rpc_is_quick(request, service) ||
           (agent_info_is_known(a) && name != NULL && strcmp(name, "Info") == 0);
}

#define MOUNT(name, service)                                                                       \
    static void name(http_request *request, http_response *response, void *user) {                 \
        dispatch(request, response, user, &service);                                               \
    }                                                                                              \
    static bool name##_is_quick(const http_request *request, void *user) {                         \
        return answers_at_once(request, user, &service);                                           \
    }

MOUNT(mount_v0, v0_service)
MOUNT(mount_v1, v1_service)
MOUNT(mount_tappd, tappd_service)
MOUNT(mount_worker, worker_service)
MOUNT(mount_worker_v1, worker_v1_service)

#define AT(path, mount)                                                                            \
    { "*", path, mount, NULL, 0, 0, mount##_is_quick }

/* A request for the method without a name. */
static void no_method(http_request *request, http_response *response, void *user) {
    const char *method = http_request_method(request);
    bool known = strcmp(method, "GET") == 0 || strcmp(method, "POST") == 0;
    http_response_page(response, known ? 422 : 404);
}

const http_route agent_internal_routes[] = {
    {"*", "/", no_method, NULL, 0, 0},
    AT("/v1/*", mount_v1),
    AT("/v0/*", mount_v0),
    AT("/*", mount_v0),
};
const size_t agent_internal_route_count = COUNT(agent_internal_routes);

const http_route agent_tappd_routes[] = {
    AT("/prpc/*", mount_tappd),
};
const size_t agent_tappd_route_count = COUNT(agent_tappd_routes);

const http_route agent_external_routes[] = {
    {"GET", "/.well-known/dstack/evidence", evidence_endpoint, NULL, 0, 0},
    AT("/prpc/v1/*", mount_worker_v1),
    AT("/prpc/v0/*", mount_worker),
    AT("/prpc/*", mount_worker),
    {"GET", "/", page_dashboard, NULL, 0, 0},
    {"GET", "/page/live", page_live, NULL, 0, 0},
    {"GET", "/page/*", page_file, NULL, 0, HTTP_ROUTE_INLINE},
    {"GET", "/view/*", page_viewer, NULL, 0, HTTP_ROUTE_INLINE},
    {"GET", "/metrics", page_metrics, NULL, 0, 0},
    {"GET", "/logs/*", page_logs, NULL, 0, 0},
};
const size_t agent_external_route_count = COUNT(agent_external_routes);
