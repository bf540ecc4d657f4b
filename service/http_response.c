#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"
#include "service/http_internal.h"

static void drop_body(http_response *response) {
    free(response->content_type);
    response->content_type = NULL;
    if (response->secret) {
        buf_wipe(&response->body);
    } else {
        dstack_buf_clear(&response->body);
    }
    response->secret = false;
    if (response->stream != NULL) {
        http_stream_discard(response->stream);
        response->stream = NULL;
    }
}

void http_response_clear(http_response *response) {
    drop_body(response);
    free(response->headers);
    *response = (http_response){0};
}

void http_response_bytes(http_response *response, int status, const char *content_type,
                         dstack_bytes body) {
    drop_body(response);
    response->status = status;
    response->content_type = strdup(content_type);
    buf_put_bytes(&response->body, body);
}

void http_response_text(http_response *response, int status, const char *text) {
    http_response_bytes(response, status, "text/plain; charset=utf-8", bytes_of_str(text));
}

void http_response_page(http_response *response, int status) {
    DSTACK_AUTO(buf) dstack_buf page = {0};
    const char *text = http_status_text(status);
    buf_put_fmt(&page,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<title>%d %s</title></head><body><h1>%d %s</h1></body></html>\n",
                status, text, status, text);
    http_response_bytes(response, status, "text/html; charset=utf-8", bytes_of_buf(&page));
}

void http_response_buf(http_response *response, int status, const char *content_type,
                       dstack_buf *body, bool secret) {
    drop_body(response);
    response->status = status;
    response->content_type = strdup(content_type);
    response->body = *body;
    response->secret = secret;
    *body = (dstack_buf){0};
}

void http_response_json(http_response *response, int status, const json_t *value) {
    dstack_buf text = {0};
    json_write(value, false, &text, NULL);
    http_response_buf(response, status, "application/json", &text, false);
}

void http_response_error(http_response *response, int status, const char *message) {
    DSTACK_AUTO(json) json_t *value = json_pack("{s:s}", "error", message);
    dstack_buf text = {0};
    if (value == NULL) {
        /* A message that is not UTF-8 came from outside; it says nothing useful then. */
        buf_put_str(&text, "{\n  \"error\": \"invalid text in error message\"\n}");
    } else {
        json_write(value, true, &text, NULL);
    }
    http_response_buf(response, status, "application/json", &text, false);
}

void http_response_header(http_response *response, const char *name, const char *value) {
    dstack_buf lines = {0};
    buf_put_str(&lines, response->headers != NULL ? response->headers : "");
    size_t before = lines.len;
    buf_put_fmt(&lines, "%s: %s\r\n", name, value);
    /* A value with a line break would write headers of its own. */
    bool sound = http_headers_check(bytes_of(lines.data + before, lines.len - before), NULL) == 0 &&
                 strpbrk(value, "\r\n") == NULL;
    char *text = sound ? buf_detach_text(&lines) : NULL;
    if (text != NULL) {
        free(response->headers);
        response->headers = text;
    }
    dstack_buf_clear(&lines);
}

void http_response_each_header(const http_request *request, http_header_visitor *visit,
                               void *user) {
    const http_listener *listener = request->connection->listener;
    const http_response *response = &request->response;
    size_t len;
    visit(user, "Content-Type",
          response->content_type != NULL ? response->content_type : "text/plain");
    if (response->headers == NULL || http_headers_find(response->headers, "server", &len) == NULL) {
        visit(user, "server", listener->server_header);
    }
    visit(user, "x-content-type-options", "nosniff");
    visit(user, "x-frame-options", "SAMEORIGIN");
    visit(user, "permissions-policy", "interest-cohort=()");
    if (listener->version_header != NULL) {
        visit(user, "X-App-Version", listener->version_header);
    }
    visit(user, "X-Request-Id", request->id);
    /* The handler's own: lines that http_response_header() has checked. */
    for (const char *line = response->headers; line != NULL && *line != 0;) {
        size_t name_len = strcspn(line, ":"), line_len = strcspn(line, "\r");
        DSTACK_AUTO(str) char *name = strndup(line, name_len);
        DSTACK_AUTO(str) char *value = strndup(line + name_len + 2, line_len - name_len - 2);
        if (name != NULL && value != NULL) {
            visit(user, name, value);
        }
        line += line_len + 2;
    }
}

static void put_header(void *user, const char *name, const char *value) {
    buf_put_str(user, name);
    buf_put_str(user, ": ");
    buf_put_str(user, value);
    buf_put_str(user, "\r\n");
}

void http_response_head(const http_request *request, dstack_buf *out) {
    http_response_each_header(request, put_header, out);
}
