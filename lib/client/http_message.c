#include "client/http_message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "dstack/version.h"

/* ---- reading from a source --------------------------------------------------------------------
 */

static dstack_bytes unread(const http_reader *reader) {
    return bytes_of(reader->buf.data + reader->pos, reader->buf.len - reader->pos);
}

static int read_more(http_reader *reader, dstack_error *err) {
    if (reader->more == NULL) {
        reader->eof = true;
    }
    if (reader->eof) {
        return 0;
    }
    if (reader->pos > 0 && reader->pos == reader->buf.len) {
        buf_reset(&reader->buf);
        reader->pos = 0;
    }
    int rc = reader->more(reader->user, &reader->buf, &reader->eof, err);
    return rc != 0 ? rc : buf_check(&reader->buf, err);
}

/* Bytes up to and including the blank line that ends a head. */
static int read_head(http_reader *reader, dstack_bytes *head, dstack_error *err) {
    for (;;) {
        dstack_bytes have = unread(reader);
        for (size_t i = 0; i < have.len; i++) {
            if (have.data[i] != '\n') {
                continue;
            }
            size_t left = have.len - i - 1;
            const uint8_t *next = have.data + i + 1;
            size_t blank = left >= 1 && next[0] == '\n'                      ? 1
                           : left >= 2 && next[0] == '\r' && next[1] == '\n' ? 2
                                                                             : 0;
            if (blank != 0) {
                *head = bytes_of(have.data, i + 1);
                reader->pos += i + 1 + blank;
                return 0;
            }
        }
        if (have.len > HTTP_HEAD_LIMIT) {
            return error_set(err, DSTACK_E_LIMIT, "HTTP head is longer than %zu bytes",
                             HTTP_HEAD_LIMIT);
        }
        if (reader->eof) {
            return error_set(err, have.len == 0 ? DSTACK_E_NETWORK : DSTACK_E_FORMAT,
                             have.len == 0 ? "peer closed the connection without an answer"
                                           : "HTTP message ends within its head");
        }
        int rc = read_more(reader, err);
        if (rc != 0) {
            return rc;
        }
    }
}

/* Appends exactly `want` bytes to out (NULL: drops them). */
static int read_exact(http_reader *reader, uint64_t want, dstack_buf *out, dstack_error *err) {
    while (want > 0) {
        dstack_bytes have = unread(reader);
        if (have.len > 0) {
            size_t use = have.len < want ? have.len : (size_t)want;
            if (out != NULL) {
                buf_put(out, have.data, use);
            }
            reader->pos += use;
            want -= use;
            continue;
        }
        if (reader->eof) {
            return error_set(err, DSTACK_E_FORMAT, "HTTP body is shorter than announced");
        }
        int rc = read_more(reader, err);
        if (rc != 0) {
            return rc;
        }
    }
    return out != NULL ? buf_check(out, err) : 0;
}

static int read_line(http_reader *reader, char *line, size_t room, dstack_error *err) {
    size_t len = 0;
    for (;;) {
        uint8_t c;
        dstack_bytes have = unread(reader);
        if (have.len == 0) {
            if (reader->eof) {
                return error_set(err, DSTACK_E_FORMAT, "chunked HTTP body ends early");
            }
            int rc = read_more(reader, err);
            if (rc != 0) {
                return rc;
            }
            continue;
        }
        c = have.data[0];
        reader->pos++;
        if (c == '\n') {
            break;
        }
        if (len + 1 >= room) {
            return error_set(err, DSTACK_E_LIMIT, "line of a chunked HTTP body is too long");
        }
        line[len++] = (char)c;
    }
    if (len > 0 && line[len - 1] == '\r') {
        len--;
    }
    line[len] = 0;
    return 0;
}

static int over_limit(size_t limit, dstack_error *err) {
    return error_set(err, DSTACK_E_LIMIT, "HTTP body is larger than %zu bytes", limit);
}

static int read_chunked(http_reader *reader, size_t limit, dstack_buf *out, dstack_error *err) {
    char line[256];
    for (;;) {
        int rc = read_line(reader, line, sizeof line, err);
        if (rc != 0) {
            return rc;
        }
        size_t digits = strspn(line, "0123456789abcdefABCDEF");
        if (digits == 0 || digits > 8 ||
            (line[digits] != 0 && strchr("; \t", line[digits]) == NULL)) {
            return error_set(err, DSTACK_E_FORMAT, "chunk size is not hex");
        }
        uint64_t size = strtoull(line, NULL, 16);
        if (size == 0) {
            break;
        }
        if (size > limit || out->len > limit - size) {
            return over_limit(limit, err);
        }
        rc = read_exact(reader, size, out, err);
        rc = rc != 0 ? rc : read_line(reader, line, sizeof line, err);
        if (rc != 0) {
            return rc;
        }
        if (line[0] != 0) {
            return error_set(err, DSTACK_E_FORMAT, "chunk is longer than announced");
        }
    }
    do { /* trailers are dropped */
        int rc = read_line(reader, line, sizeof line, err);
        if (rc != 0) {
            return rc;
        }
    } while (line[0] != 0);
    return 0;
}

static int read_to_end(http_reader *reader, size_t limit, dstack_buf *out, dstack_error *err) {
    for (;;) {
        dstack_bytes have = unread(reader);
        if (have.len > limit - out->len) {
            return over_limit(limit, err);
        }
        buf_put_bytes(out, have);
        reader->pos += have.len;
        if (reader->eof) {
            return buf_check(out, err);
        }
        int rc = read_more(reader, err);
        if (rc != 0) {
            return rc;
        }
    }
}

typedef struct framing {
    bool chunked;
    bool has_length;
    uint64_t length;
    bool close;
} framing;

static int read_framing(const char *headers, framing *out, dstack_error *err) {
    *out = (framing){0};
    size_t len;
    const char *value = http_headers_find(headers, "Transfer-Encoding", &len);
    if (value != NULL) {
        if (len != 7 || strncasecmp(value, "chunked", 7) != 0) {
            return error_set(err, DSTACK_E_UNSUPPORTED, "HTTP transfer encoding is not chunked");
        }
        out->chunked = true;
    }
    /* Every Content-Length there is, so that two that differ are seen (RFC 9112, section 6.3). */
    const char *rest = headers;
    while ((value = http_headers_find(rest, "Content-Length", &len)) != NULL) {
        uint64_t length = 0;
        for (size_t i = 0; i < len; i++) {
            if (value[i] < '0' || value[i] > '9' || i >= 15) {
                return error_set(err, DSTACK_E_FORMAT, "Content-Length is not a number");
            }
            length = length * 10 + (uint64_t)(value[i] - '0');
        }
        if (len == 0 || out->chunked || (out->has_length && out->length != length)) {
            return error_set(err, DSTACK_E_FORMAT, "HTTP body has more than one length");
        }
        out->has_length = true;
        out->length = length;
        rest = value + len;
        rest += strcspn(rest, "\n");
    }
    value = http_headers_find(headers, "Connection", &len);
    out->close = value != NULL && len == 5 && strncasecmp(value, "close", 5) == 0;
    return 0;
}

static int take_headers(dstack_bytes lines, char **out, dstack_error *err) {
    int rc = http_headers_check(lines, err);
    if (rc != 0) {
        return rc;
    }
    *out = strndup((const char *)lines.data, lines.len);
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

/* ---- responses --------------------------------------------------------------------------------
 */

static int read_status(dstack_bytes line, int *status, bool *keep, dstack_error *err) {
    if (line.len < 12 || memcmp(line.data, "HTTP/1.", 7) != 0 || line.data[8] != ' ' ||
        (line.len > 12 && line.data[12] != ' ')) {
        return error_set(err, DSTACK_E_FORMAT, "answer is not HTTP/1.1");
    }
    *status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') {
            return error_set(err, DSTACK_E_FORMAT, "HTTP status is not a number");
        }
        *status = *status * 10 + (line.data[i] - '0');
    }
    *keep = line.data[7] == '1';
    return 0;
}

int http_read_response(http_reader *reader, bool head_request, size_t body_limit,
                       http_client_response *response, bool *keep, dstack_error *err) {
    for (int interim = 0; interim < 8; interim++) {
        http_client_response_clear(response);
        dstack_bytes head = {0};
        int rc = read_head(reader, &head, err);
        cursor c = cursor_init(head);
        rc = rc != 0 ? rc : read_status(http_next_line(&c), &response->status, keep, err);
        rc = rc != 0 ? rc : take_headers(cursor_rest(&c), &response->headers, err);
        if (rc != 0) {
            return rc;
        }
        if (response->status >= 200) {
            break;
        }
    }
    framing body;
    int rc = read_framing(response->headers, &body, err);
    if (rc != 0) {
        return rc;
    }
    *keep = *keep && !body.close;
    if (response->status < 200) {
        return error_set(err, DSTACK_E_FORMAT, "no final HTTP answer after interim ones");
    }
    if (head_request || response->status == 204 || response->status == 304) {
        return 0;
    }
    if (body.chunked) {
        return read_chunked(reader, body_limit, &response->body, err);
    }
    if (!body.has_length) {
        *keep = false;
        return read_to_end(reader, body_limit, &response->body, err);
    }
    if (body.length > body_limit) {
        return over_limit(body_limit, err);
    }
    buf_reserve(&response->body, (size_t)body.length);
    return read_exact(reader, body.length, &response->body, err);
}

int http_client_response_parse(dstack_bytes text, size_t body_limit, http_client_response *response,
                               dstack_error *err) {
    http_reader reader = {.buf = {.data = (uint8_t *)text.data, .len = text.len}, .eof = true};
    bool keep;
    return http_read_response(&reader, false, body_limit, response, &keep, err);
}

void http_client_response_clear(http_client_response *response) {
    free(response->headers);
    buf_wipe(&response->body);
    *response = (http_client_response){0};
}

bool http_client_response_header(const http_client_response *response, const char *name, char *out,
                                 size_t room) {
    size_t len;
    const char *value = http_headers_find(response->headers, name, &len);
    if (value == NULL || len >= room) {
        return false;
    }
    memcpy(out, value, len);
    out[len] = 0;
    return true;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

int http_client_request_write(const http_client_request *request, const char *host,
                              const char *user_agent, dstack_buf *out, dstack_error *err) {
    if (strpbrk(request->path, " \r\n") != NULL || strpbrk(request->method, " \r\n") != NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "HTTP method or path holds blanks");
    }
    if (request->headers != NULL) {
        int rc = http_headers_check(bytes_of_str(request->headers), err);
        if (rc != 0) {
            return rc;
        }
    }
    buf_put_fmt(out, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n", request->method,
                request->path[0] != 0 ? request->path : "/", host,
                user_agent != NULL ? user_agent : "dstack/" DSTACK_VERSION);
    if (request->content_type != NULL) {
        buf_put_fmt(out, "Content-Type: %s\r\n", request->content_type);
    }
    if (request->body.len > 0 || strcmp(request->method, "POST") == 0 ||
        strcmp(request->method, "PUT") == 0) {
        buf_put_fmt(out, "Content-Length: %zu\r\n", request->body.len);
    }
    buf_put_str(out, request->headers != NULL ? request->headers : "");
    buf_put_str(out, "\r\n");
    buf_put_bytes(out, request->body);
    return buf_check(out, err);
}

static int read_request_line(dstack_bytes line, http_request_message *request, dstack_error *err) {
    size_t method = 0;
    while (method < line.len && http_is_token(line.data[method])) {
        method++;
    }
    if (method == 0 || method >= sizeof request->method || method == line.len ||
        line.data[method] != ' ') {
        return error_set(err, DSTACK_E_FORMAT, "request line has no method");
    }
    memcpy(request->method, line.data, method);
    request->method[method] = 0;
    size_t end = method + 1;
    while (end < line.len && line.data[end] > ' ' && line.data[end] != 0x7f) {
        end++;
    }
    if (line.len != end + 9 || memcmp(line.data + end, " HTTP/1.", 8) != 0 ||
        line.data[method + 1] != '/') {
        return error_set(err, DSTACK_E_FORMAT, "request line is not '<method> /<path> HTTP/1.1'");
    }
    request->target = strndup((const char *)line.data + method + 1, end - method - 1);
    return request->target != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

int http_read_request(http_reader *reader, size_t body_limit, http_request_message *request,
                      dstack_error *err) {
    http_request_message_clear(request);
    dstack_bytes head = {0};
    int rc = read_head(reader, &head, err);
    cursor c = cursor_init(head);
    rc = rc != 0 ? rc : read_request_line(http_next_line(&c), request, err);
    rc = rc != 0 ? rc : take_headers(cursor_rest(&c), &request->headers, err);
    framing body;
    rc = rc != 0 ? rc : read_framing(request->headers, &body, err);
    if (rc != 0) {
        return rc;
    }
    if (body.chunked) {
        rc = read_chunked(reader, body_limit, &request->body, err);
        request->oversize = rc == DSTACK_E_LIMIT;
        return request->oversize ? 0 : rc;
    }
    if (body.length > body_limit) {
        request->oversize = true;
        return read_exact(reader, body.length, NULL, err);
    }
    return read_exact(reader, body.length, &request->body, err);
}

void http_request_message_clear(http_request_message *request) {
    free(request->target);
    free(request->headers);
    buf_wipe(&request->body);
    *request = (http_request_message){0};
}
