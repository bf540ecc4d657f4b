#include "service/rpc.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <gnutls/crypto.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/log.h"
#include "service/rate.h"
#include "service/rpc_internal.h"

typedef enum wire { WIRE_JSON, WIRE_PROTOBUF } wire;

const char *rpc_caller_name(rpc_caller caller) {
    static const char *const names[] = {"attested", "anyone", "token",         "local",
                                        "guest",    "custom", "token+attested"};
    return names[caller];
}

const rpc_method *rpc_service_find(const rpc_service *service, const char *name) {
    for (size_t i = 0; i < service->method_count; i++) {
        if (strcmp(service->methods[i].name, name) == 0) {
            return &service->methods[i];
        }
    }
    return NULL;
}

static const char *without_prefix(const rpc_service *service, const char *name) {
    size_t len = service->prefix != NULL ? strlen(service->prefix) : 0;
    while (len > 0 && strncmp(name, service->prefix, len) == 0) {
        name += len;
    }
    return name;
}

/* ---- form of the bodies -----------------------------------------------------------------------
 */

static bool asks_for_json(http_request *http) {
    const char *json = http_request_arg(http, "json");
    return json != NULL && (json[0] == 0 || strcmp(json, "1") == 0 || strcmp(json, "true") == 0);
}

static bool is_json_type(const char *type) {
    size_t len = type != NULL ? strcspn(type, "; \t") : 0;
    return len == 16 && strncasecmp(type, "application/json", 16) == 0;
}

static wire wire_of(http_request *http) {
    bool json = strcmp(http_request_method(http), "GET") == 0 || asks_for_json(http) ||
                is_json_type(http_request_header(http, "Content-Type"));
    return json ? WIRE_JSON : WIRE_PROTOBUF;
}

/* message { string message = 1; } */
static void protobuf_error(http_response *response, int status, const char *text) {
    dstack_buf body = {0};
    size_t len = strlen(text);
    buf_put_u8(&body, 0x0a);
    for (size_t rest = len;; rest >>= 7) {
        buf_put_u8(&body, (uint8_t)(rest < 0x80 ? rest : (rest & 0x7f) | 0x80));
        if (rest < 0x80) {
            break;
        }
    }
    buf_put_str(&body, text);
    http_response_buf(response, status, "application/octet-stream", &body, false);
}

static void answer_error(http_response *response, wire form, int status, const char *text) {
    if (form == WIRE_JSON) {
        http_response_error(response, status, text);
    } else {
        protobuf_error(response, status, text);
    }
}

static int answer_message(http_response *response, wire form, rpc_call *call, dstack_error *err) {
    dstack_buf body = call->encoded;
    int rc = 0;
    call->encoded = (dstack_buf){0};
    if (body.len > 0) {
        rc = buf_check(&body, err);
    } else if (call->method->response == NULL) {
        buf_put_str(&body, form == WIRE_JSON ? "null" : "");
    } else if (form == WIRE_JSON) {
        rc = rpc_message_to_json(call->response, &body, err);
    } else {
        rc = rpc_message_to_protobuf(call->response, &body, err);
    }
    if (rc != 0) {
        buf_wipe(&body);
        return rc;
    }
    http_response_buf(response, 200,
                      form == WIRE_JSON ? "application/json" : "application/octet-stream", &body,
                      true);
    return 0;
}

/* Stands in where a method has no message: Empty. */
static void empty_init(ProtobufCMessage *message);
static const ProtobufCMessageDescriptor empty_descriptor = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "google.protobuf.Empty",
    .short_name = "Empty",
    .c_name = "Empty",
    .package_name = "google.protobuf",
    .sizeof_message = sizeof(ProtobufCMessage),
    .message_init = empty_init,
};
static void empty_init(ProtobufCMessage *message) {
    *message = (ProtobufCMessage)PROTOBUF_C_MESSAGE_INIT(&empty_descriptor);
}

static int read_request(rpc_call *call, wire form, dstack_error *err) {
    const ProtobufCMessageDescriptor *descriptor = call->method->request;
    if (descriptor == NULL) {
        call->request = rpc_new_message(&empty_descriptor);
        return call->request != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const char *const *texts = call->method->texts;
    if (strcmp(http_request_method(call->http), "GET") == 0) {
        return rpc_request_from_query(descriptor, texts, http_request_query(call->http),
                                      &call->request, err);
    }
    dstack_bytes body = http_request_body(call->http);
    return form == WIRE_JSON
               ? rpc_request_from_json(descriptor, texts, body, &call->request, err)
               : rpc_request_from_protobuf(descriptor, texts, body, &call->request, err);
}

/* ---- who may call -----------------------------------------------------------------------------
 */

/* What a connection's certificate turned out to be; kept with the connection. */
typedef struct rpc_peer {
    void *identity;
    void (*free_identity)(void *identity);
    int refusal; /* 0, or why the evidence is not valid */
    char reason[DSTACK_ERROR_MESSAGE_SIZE];
} rpc_peer;

static void free_peer(void *data) {
    rpc_peer *peer = data;
    if (peer->identity != NULL && peer->free_identity != NULL) {
        peer->free_identity(peer->identity);
    }
    free(peer);
}

/* Verifies the certificate at the first call on its connection. */
static int learn_identity(rpc_call *call, dstack_error *err) {
    dstack_bytes cert = http_request_client_cert(call->http);
    if (cert.len == 0 || call->service->attest == NULL) {
        return 0;
    }
    rpc_peer *peer = http_request_connection_data(call->http);
    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        dstack_error reason = {0};
        peer->free_identity = call->service->free_identity;
        peer->refusal = call->service->attest(call, cert, &peer->identity, &reason);
        if (peer->refusal != 0) {
            memcpy(peer->reason, reason.message, sizeof peer->reason);
        }
        http_request_set_connection_data(call->http, peer, free_peer);
    }
    if (peer->refusal != 0) {
        return error_set(err, (dstack_status)peer->refusal, "%s", peer->reason);
    }
    call->identity = peer->identity;
    return 0;
}

/* Hashes of both, so that time tells nothing about the token. */
static bool same_token(const void *given, size_t len, const uint8_t *wanted) {
    uint8_t hash[32];
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, given, len, hash) == 0 &&
           sodium_memcmp(hash, wanted, sizeof hash) == 0;
}

/* "user:password" in base64. */
static bool basic_is_right(const char *encoded, const uint8_t *wanted) {
    uint8_t text[512];
    size_t len = 0;
    if (sodium_base642bin(text, sizeof text, encoded, strlen(encoded), " ", &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0) {
        return false;
    }
    const uint8_t *colon = memchr(text, ':', len);
    size_t user = colon != NULL ? (size_t)(colon - text) : len;
    size_t password = colon != NULL ? len - user - 1 : 0;
    bool right = colon != NULL && (password > 0 ? same_token(colon + 1, password, wanted)
                                                : same_token(text, user, wanted));
    sodium_memzero(text, sizeof text);
    return right;
}

bool rpc_token_is_right(http_request *http, const uint8_t token_hash[32]) {
    const char *token = http_request_header(http, "X-Admin-Token");
    if (token_hash == NULL) {
        return false;
    }
    if (token != NULL && same_token(token, strlen(token), token_hash)) {
        return true;
    }
    const char *header = http_request_header(http, "Authorization");
    if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0) {
        const char *given = header + 7 + strspn(header + 7, " ");
        size_t len = strlen(given);
        while (len > 0 && (given[len - 1] == ' ' || given[len - 1] == '\t')) {
            len--;
        }
        return same_token(given, len, token_hash);
    }
    return header != NULL && strncasecmp(header, "Basic ", 6) == 0 &&
           basic_is_right(header + 6, token_hash);
}

static const char *no_evidence_text(const rpc_call *call) {
    return call->service->no_attestation_text != NULL
               ? call->service->no_attestation_text(call->method)
               : "No attestation provided";
}

int rpc_check_caller(rpc_call *call, const rpc_binding *binding, dstack_error *err) {
    const http_peer *peer = http_request_peer(call->http);
    int status = 400;
    const char *text = NULL;
    switch (call->method->caller) {
    case RPC_CALLER_ANYONE:
        return 0;
    case RPC_CALLER_ATTESTED:
        if (call->identity != NULL) {
            return 0;
        }
        text = no_evidence_text(call);
        break;
    case RPC_CALLER_TOKEN:
    case RPC_CALLER_TOKEN_ATTESTED:
        if (!rpc_token_is_right(call->http, binding->token_hash)) {
            status = 401;
            text = "a bearer token is required";
            break;
        }
        if (call->method->caller == RPC_CALLER_TOKEN || call->identity != NULL) {
            return 0;
        }
        text = no_evidence_text(call);
        break;
    case RPC_CALLER_LOCAL:
        if (peer->kind == HTTP_PEER_UNIX) {
            return 0;
        }
        text = "this method is for callers on the local socket only";
        break;
    case RPC_CALLER_GUEST:
        if (peer->kind == HTTP_PEER_LINK) {
            return 0;
        }
        text = "this method is for a virtual machine's own channel only";
        break;
    case RPC_CALLER_CUSTOM:
        if (call->service->custom != NULL) {
            if (call->service->custom(call, err) == 0) {
                return 0;
            }
            return call->http_status != 0 ? call->http_status : 400;
        }
        text = "no rule admits callers of this method";
        break;
    }
    error_set(err, DSTACK_E_REFUSED, "%s", text != NULL ? text : "caller is not admitted");
    return status;
}

/* ---- dispatch ---------------------------------------------------------------------------------
 */

static bool within_rate(const rpc_call *call, const rpc_binding *binding) {
    rpc_caller caller = call->method->caller;
    return binding->rate == NULL || (caller != RPC_CALLER_ANYONE && caller != RPC_CALLER_CUSTOM) ||
           rate_limit_take(binding->rate, http_request_peer(call->http), clock_monotonic_ms());
}

/* Returns the HTTP status; err is set unless it is 200. */
static int run_method(rpc_call *call, const rpc_binding *binding, wire form,
                      http_response *response, dstack_error *err) {
    size_t limit = call->method->body_limit;
    if (http_request_oversize(call->http) ||
        (limit != 0 && http_request_body(call->http).len > limit)) {
        error_set(err, DSTACK_E_LIMIT, "failed to read data: payload too large");
        return 413;
    }
    if (!within_rate(call, binding)) {
        error_set(err, DSTACK_E_LIMIT, "too many requests");
        return 429;
    }
    /* The token first: who has none makes nobody verify evidence. */
    rpc_caller caller = call->method->caller;
    bool refused = (caller == RPC_CALLER_TOKEN || caller == RPC_CALLER_TOKEN_ATTESTED) &&
                   !rpc_token_is_right(call->http, binding->token_hash);
    if (!refused && learn_identity(call, err) != 0) {
        return 400;
    }
    int status = rpc_check_caller(call, binding, err);
    if (status != 0) {
        return status;
    }
    call->response = rpc_new_message(call->method->response != NULL ? call->method->response
                                                                    : &empty_descriptor);
    if (call->response == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return 503;
    }
    if (read_request(call, form, err) != 0) {
        return 400;
    }
    int rc = call->method->handler(call, err);
    rc = rc != 0 ? rc : answer_message(response, form, call, err);
    if (rc == 0) {
        return 200;
    }
    return call->http_status != 0 ? call->http_status : 400;
}

void rpc_refuse_token(http_response *response, const rpc_binding *binding) {
    char text[128];
    if (binding->realm == NULL) {
        http_response_header(response, "WWW-Authenticate", "Bearer");
        return;
    }
    snprintf(text, sizeof text, "Basic realm=\"%s\"", binding->realm);
    http_response_text(response, 401, "");
    http_response_header(response, "WWW-Authenticate", text);
}

static int64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void rpc_dispatch(http_request *http, http_response *response, const rpc_binding *binding,
                  const char *method_name) {
    const char *method = http_request_method(http);
    if (strcmp(method, "GET") != 0 && strcmp(method, "POST") != 0) {
        http_response_page(response, 404);
        return;
    }
    wire form = wire_of(http);
    dstack_error err = {0};
    const char *name = without_prefix(binding->service, method_name);
    rpc_call call = {.service = binding->service,
                     .method = rpc_service_find(binding->service, name),
                     .http = http,
                     .app = binding->app,
                     .json = form == WIRE_JSON};
    if (call.method == NULL) {
        error_set(&err, DSTACK_E_NOT_FOUND, "Service not found: %.200s", name);
        answer_error(response, form, 404, err.message);
        return;
    }
    int64_t begin = microseconds();
    int status = run_method(&call, binding, form, response, &err);
    if (status != 200) {
        answer_error(response, form, status, err.message);
        if (status == 401) {
            rpc_refuse_token(response, binding);
        }
        LOG_INFO("call refused", "service", binding->service->name, "method", name, "peer",
                 http_request_peer(http)->address, "request", http_request_id(http), "reason",
                 err.message);
    }
    if (binding->observe != NULL) {
        binding->observe(&call, status, microseconds() - begin);
    }
    dstack_buf_clear(&call.encoded);
    rpc_free_message(call.request);
    rpc_free_message(call.response);
}

bool rpc_is_quick(const http_request *request, const rpc_service *service) {
    const char *name = http_request_capture(request, 0);
    const rpc_method *method =
        name != NULL ? rpc_service_find(service, without_prefix(service, name)) : NULL;
    return method == NULL || method->quick;
}

void rpc_handle(http_request *request, http_response *response, void *user) {
    const char *name = http_request_capture(request, 0);
    rpc_dispatch(request, response, user, name != NULL ? name : "");
}
