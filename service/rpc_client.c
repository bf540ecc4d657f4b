#include "service/rpc_client.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

#define ERROR_TEXT_MAX 400

static int write_call(const char *mount, const char *method, const ProtobufCMessage *request,
                      dstack_buf *path, dstack_buf *body, dstack_error *err) {
    buf_put_fmt(path, "%s/%s?json", mount, method);
    if (request == NULL) {
        buf_put_str(body, "null");
        return buf_check(body, err);
    }
    int rc = rpc_message_to_json(request, body, err);
    return rc != 0 ? rc : buf_check(path, err);
}

/* The server's own words from {"error": "..."}; anything else is shown as it came. */
static int peer_error(const char *method, const http_client_response *response, dstack_error *err) {
    dstack_bytes body = bytes_of_buf(&response->body);
    DSTACK_AUTO(json) json_t *value = json_parse(body, (size_t)64 << 10, "error", NULL);
    const char *text = json_string_value(json_object_get(value, "error"));
    if (text != NULL) {
        return error_set(err, DSTACK_E_PEER, "%.*s", ERROR_TEXT_MAX, text);
    }
    return error_set(err, DSTACK_E_PEER, "%s: HTTP status %d: %.*s", method, response->status,
                     (int)(body.len < ERROR_TEXT_MAX ? body.len : ERROR_TEXT_MAX),
                     body.data != NULL ? (const char *)body.data : "");
}

static int read_answer(const char *method, const http_client_response *response,
                       const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out,
                       dstack_error *err) {
    if (response->status != 200) {
        return peer_error(method, response, err);
    }
    if (descriptor == NULL) {
        return 0;
    }
    int rc = rpc_message_from_json(descriptor, bytes_of_buf(&response->body), out, err);
    return rc != 0 ? error_prefix(err, rc, "answer to %s", method) : 0;
}

int rpc_client_call(http_client *client, const char *mount, const char *method,
                    const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *response_descriptor,
                    ProtobufCMessage **response, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    dstack_buf body = {0};
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int rc = write_call(mount, method, request, &path, &body, err);
    http_client_request call = {
        .method = "POST", .path = buf_text(&path), .body = bytes_of_buf(&body)};
    rc = rc != 0 ? rc : http_client_send(client, &call, &answer, err);
    buf_wipe(&body);
    return rc != 0 ? rc : read_answer(method, &answer, response_descriptor, response, err);
}

int rpc_link_call(service_link *link, const char *mount, const char *method,
                  const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *response_descriptor,
                  ProtobufCMessage **response, int timeout_ms, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    dstack_buf body = {0};
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int rc = write_call(mount, method, request, &path, &body, err);
    http_client_request call = {
        .method = "POST", .path = buf_text(&path), .body = bytes_of_buf(&body)};
    rc = rc != 0 ? rc : service_link_send(link, &call, timeout_ms, &answer, err);
    buf_wipe(&body);
    return rc != 0 ? rc : read_answer(method, &answer, response_descriptor, response, err);
}
