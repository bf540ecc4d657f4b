/* One request through a listener's routes without a socket: bytes in, bytes out. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/http_internal.h"

static void write_answer(http_request *request, dstack_buf *out) {
    http_response *response = &request->response;
    if (response->stream != NULL) {
        http_response_error(response, 501, "streams are not served on this link");
    }
    buf_put_fmt(out, "HTTP/1.1 %d %s\r\n", response->status, http_status_text(response->status));
    http_response_head(request, out);
    buf_put_fmt(out, "Content-Length: %zu\r\n\r\n", response->body.len);
    if (!http_method_is_head(request)) {
        buf_put_bytes(out, bytes_of_buf(&response->body));
    }
}

int http_server_exchange(http_server *server, const char *listener_name, dstack_bytes head_and_body,
                         const http_peer *peer, dstack_buf *response, dstack_error *err) {
    http_listener *listener = http_server_find(server, listener_name);
    if (listener == NULL) {
        return error_set(err, DSTACK_E_NOT_FOUND, "no listener is named %s", listener_name);
    }
    DSTACK_AUTO(http_request_message) http_request_message message = {0};
    http_reader reader = {.buf = {.data = (uint8_t *)head_and_body.data, .len = head_and_body.len},
                          .eof = true};
    int rc = http_read_request(&reader, head_and_body.len, &message, err);
    if (rc != 0) {
        return rc;
    }
    http_request *request = http_request_new(message.target, err);
    if (request == NULL) {
        return DSTACK_E_MEMORY;
    }
    http_connection connection = {
        .listener = listener, .peer = *peer, .fd = -1, .client_cert_known = true};
    request->connection = &connection;
    free(message.target);
    message.target = NULL;
    request->message = message;
    message = (http_request_message){0};
    http_request_prepare(request);
    if (request->message.body.len > request->body_limit) {
        request->message.oversize = true;
        buf_wipe(&request->message.body);
    }
    http_request_run(request);
    write_answer(request, response);
    http_request_free(request);
    if (connection.data != NULL && connection.free_data != NULL) {
        connection.free_data(connection.data);
    }
    return buf_check(response, err);
}
