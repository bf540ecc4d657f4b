#include "client/http_message.h"

#include <string.h>
#include <strings.h>

#include "base/cursor.h"
#include "base/error.h"

bool http_is_token(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

dstack_bytes http_next_line(cursor *c) {
    const uint8_t *start = c->data + c->pos;
    const uint8_t *end = memchr(start, '\n', cursor_left(c));
    if (end == NULL) {
        return cursor_take(c, cursor_left(c) + 1); /* fails */
    }
    dstack_bytes line = cursor_take(c, (size_t)(end - start));
    cursor_skip(c, 1);
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

int http_headers_check(dstack_bytes lines, dstack_error *err) {
    cursor c = cursor_init(lines);
    while (cursor_left(&c) > 0) {
        dstack_bytes line = http_next_line(&c);
        if (!cursor_ok(&c)) {
            return error_set(err, DSTACK_E_FORMAT, "HTTP header line does not end");
        }
        size_t name = 0;
        while (name < line.len && http_is_token(line.data[name])) {
            name++;
        }
        if (name == 0 || name == line.len || line.data[name] != ':') {
            return error_set(err, DSTACK_E_FORMAT, "HTTP header line has no name");
        }
        for (size_t i = name; i < line.len; i++) {
            if ((line.data[i] < ' ' && line.data[i] != '\t') || line.data[i] == 0x7f) {
                return error_set(err, DSTACK_E_FORMAT, "HTTP header holds a control character");
            }
        }
    }
    return 0;
}

const char *http_headers_find(const char *lines, const char *name, size_t *len) {
    size_t name_len = strlen(name);
    for (const char *line = lines; line != NULL && *line != 0;) {
        const char *end = strchr(line, '\n');
        size_t line_len = end != NULL ? (size_t)(end - line) : strlen(line);
        if (line_len > name_len && strncasecmp(line, name, name_len) == 0 &&
            line[name_len] == ':') {
            const char *value = line + name_len + 1;
            const char *stop = line + line_len;
            while (value < stop && (*value == ' ' || *value == '\t')) {
                value++;
            }
            while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r')) {
                stop--;
            }
            *len = (size_t)(stop - value);
            return value;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return NULL;
}

/* RFC 9110, section 15; RFC 6585 */
const char *http_status_text(int status) {
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return "";
}
