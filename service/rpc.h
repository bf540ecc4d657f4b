/* RPC over HTTP: one table per service, protobuf or JSON bodies, one access rule per method.
 *
 *     static const rpc_method kms_methods[] = {
 *         {"GetMeta", NULL, &kms__get_meta_response__descriptor, RPC_CALLER_ANYONE, kms_get_meta},
 *         {"GetAppKey", &kms__get_app_key_request__descriptor, &kms__app_key_response__descriptor,
 *          RPC_CALLER_ATTESTED, kms_get_app_key},
 *     };
 *     static const rpc_service kms_service = {.name = "kms", .prefix = "KMS.",
 *         .methods = kms_methods, .method_count = ARRAY_LEN(kms_methods), .attest = kms_attest};
 *     http_route routes[] = {{"*", "/prpc/" "*", rpc_handle, (void *)&binding}};
 *
 * Bodies: POST with `?json` (empty, 1 or true) or media type application/json is JSON, other POST
 * is protobuf, GET takes query arguments and answers JSON. Success is 200; a failing handler 400
 * (or call->http_status when it set one); an unknown method 404 "Service not found: <Method>"; a
 * body over the method's limit 413. JSON errors are {"error": "..."} in two-space form, protobuf
 * errors a message with the text in field 1. */
#ifndef SERVICE_RPC_H
#define SERVICE_RPC_H

#include <protobuf-c/protobuf-c.h>

#include "service/http.h"

/* Who may call. A row that names none is for attested callers only. */
typedef enum rpc_caller {
    RPC_CALLER_ATTESTED = 0, /* a client certificate whose evidence the service has verified */
    RPC_CALLER_ANYONE,       /* reached without any credential */
    RPC_CALLER_TOKEN,        /* rpc_token_is_right() */
    RPC_CALLER_LOCAL,        /* same machine by construction: unix socket */
    RPC_CALLER_GUEST,        /* the VM at the other end of a link */
    RPC_CALLER_CUSTOM,       /* service->custom decides (for example evidence inside the request) */
    RPC_CALLER_TOKEN_ATTESTED, /* both: first the token, then the evidence */
} rpc_caller;
/* Name for tests and documents: "attested", "anyone", ... */
const char *rpc_caller_name(rpc_caller caller);

typedef struct rpc_service rpc_service;

typedef struct rpc_call {
    const rpc_service *service;
    const struct rpc_method *method;
    http_request *http;         /* peer, headers, certificate, request id */
    void *app;                  /* rpc_binding.app */
    void *identity;             /* what service->attest gave; owned by the connection */
    ProtobufCMessage *request;  /* cast to the generated type; never NULL */
    ProtobufCMessage *response; /* initialised to defaults; fill it with rpc_set_* only */
    bool json;                  /* form of the answer: JSON, else protobuf */
    dstack_buf encoded;         /* not empty: the whole answer, which `response` is not asked for */
    int http_status;            /* 0; an error handler may ask for another status than 400 */
} rpc_call;

/* 0 or a status; err becomes the answer's text, so it must hold nothing secret. */
typedef int rpc_handler(rpc_call *call, dstack_error *err);

typedef struct rpc_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;  /* NULL: Empty, the body is ignored */
    const ProtobufCMessageDescriptor *response; /* NULL: Empty, `null` in JSON */
    rpc_caller caller;
    rpc_handler *handler;
    size_t body_limit; /* 0: 10 MiB or the route's */
    bool quick;        /* computes a short while and waits for nothing: see rpc_is_quick() */
    /* Fields of the request that are texts although their type is bytes, NULL-ended; NULL: none. A
     * zero character, which other texts refuse, is one of theirs. */
    const char *const *texts;
} rpc_method;

struct rpc_service {
    const char *name;   /* in logs and metrics */
    const char *prefix; /* "KMS."; removed as often as it stands at the start; NULL: none */
    const rpc_method *methods;
    size_t method_count;
    /* Verifies the evidence in the client's certificate. Called once per connection, when a
     * certificate was shown, before any method (a bad certificate fails every method, anonymous
     * ones too). Gives an identity that `free_identity` releases with the connection. NULL:
     * attested methods are refused. */
    int (*attest)(rpc_call *call, dstack_bytes client_cert, void **identity, dstack_error *err);
    void (*free_identity)(void *identity);
    int (*custom)(rpc_call *call, dstack_error *err);
    /* Text for an attested method without evidence; NULL: "No attestation provided". */
    const char *(*no_attestation_text)(const rpc_method *method);
};

/* One mount: what a route's `user` points at. */
typedef struct rpc_binding {
    const rpc_service *service;
    void *app;
    struct rate_limit
        *rate; /* applied to RPC_CALLER_ANYONE and _CUSTOM methods (429); NULL: none */
    const uint8_t *token_hash; /* SHA-256 of the token, 32 bytes; NULL: no token is right */
    const char *realm; /* 401 answers are empty and ask for Basic credentials of it; NULL: they name
                          the reason and ask for a bearer token */
    /* Told after each call, for metrics and audit; may be NULL. status is the HTTP status. */
    void (*observe)(const rpc_call *call, int status, int64_t microseconds);
} rpc_binding;

/* The http_handler of a mount; the pattern's first capture is the method name. */
void rpc_handle(http_request *request, http_response *response, void *binding);
/* As rpc_handle with the method named by the caller, for mounts whose paths are not captures. */
void rpc_dispatch(http_request *request, http_response *response, const rpc_binding *binding,
                  const char *method_name);
/* X-Admin-Token; or else Authorization: Bearer with the token, or Basic with the token as password,
 * or as user with an empty password. Compared as hashes, so that time tells nothing about it. */
bool rpc_token_is_right(http_request *http, const uint8_t token_hash[32]);
/* Answers 401 as the binding says; err is the reason. */
void rpc_refuse_token(http_response *response, const rpc_binding *binding);
/* Whether a request's method is a quick one; for the `is_quick` of a route of this service, whose
 * first capture is the method. */
bool rpc_is_quick(const http_request *request, const rpc_service *service);
const rpc_method *rpc_service_find(const rpc_service *service, const char *name);
/* The access check alone: 0, or 401 / 400 as HTTP status with err set. */
int rpc_check_caller(rpc_call *call, const rpc_binding *binding, dstack_error *err);

/* Fill fields of response messages: all memory of a message comes from one wiping allocator.
 * A value that can't be copied for want of memory makes the call answer an error by itself. */
void rpc_set_str(char **field, const char *text);
void rpc_set_bytes(ProtobufCBinaryData *field, dstack_bytes bytes);
/* Appends to a repeated field: (&msg->n_items, &msg->items). */
void rpc_add_str(size_t *count, char ***items, const char *text);
void rpc_add_bytes(size_t *count, ProtobufCBinaryData **items, dstack_bytes bytes);
/* New sub-message appended to a repeated message field; cast the result. */
ProtobufCMessage *rpc_add_message(size_t *count, void *items,
                                  const ProtobufCMessageDescriptor *descriptor);
/* New sub-message for a singular field. */
ProtobufCMessage *rpc_new_message(const ProtobufCMessageDescriptor *descriptor);
/* Optional fields are one-member oneofs (`oneof opt_x { uint64 x = 2; }`): set the value and
 * `message->opt_x_case = <TYPE>__OPT_X_X`; strings with rpc_set_str. */
void rpc_free_message(ProtobufCMessage *message);
extern ProtobufCAllocator rpc_allocator;

/* ---- encodings (also for clients) --------------------------------------------------------------
 */

/* snake_case names, every field in declaration order, bytes as lower-case hex, unset optional =
 * null, map<K,V> = object. */
int rpc_message_to_json(const ProtobufCMessage *message, dstack_buf *out, dstack_error *err);
/* Any field may be missing, unknown ones are ignored; bytes accept repeated "0x"; null only for
 * optional fields and sub-messages. Free with rpc_free_message. */
int rpc_message_from_json(const ProtobufCMessageDescriptor *descriptor, dstack_bytes text,
                          ProtobufCMessage **out, dstack_error *err);
/* Query arguments: a=1&b[0]=x&c[]=y. */
int rpc_message_from_query(const ProtobufCMessageDescriptor *descriptor, const char *query,
                           ProtobufCMessage **out, dstack_error *err);
int rpc_message_from_protobuf(const ProtobufCMessageDescriptor *descriptor, dstack_bytes body,
                              ProtobufCMessage **out, dstack_error *err);
int rpc_message_to_protobuf(const ProtobufCMessage *message, dstack_buf *out, dstack_error *err);

#endif
