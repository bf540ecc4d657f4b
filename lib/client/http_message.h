/* HTTP/1.1 messages (RFC 9112) as bytes: heads, header look-up, bodies read from any source. */
#ifndef CLIENT_HTTP_MESSAGE_H
#define CLIENT_HTTP_MESSAGE_H

#include "base/cursor.h"
#include "client/http_client.h"

#define HTTP_HEAD_LIMIT ((size_t)64 << 10)

/* Where bytes come from: appends at least one byte to buf, or sets *eof. */
typedef int http_more(void *user, dstack_buf *buf, bool *eof, dstack_error *err);

typedef struct http_reader {
    http_more *more; /* NULL: buf is all there is */
    void *user;
    dstack_buf buf;
    size_t pos;
    bool eof;
} http_reader;

/* A character of a token, as names of headers and methods are (RFC 9110, section 5.6.2). */
bool http_is_token(uint8_t c);
/* The next line without its CRLF (a lone LF is taken too, RFC 9112 section 2.2); the cursor fails
 * where no line ends. */
dstack_bytes http_next_line(cursor *c);
/* Checks the form of header lines "Name: value\r\n...": no folded lines, no control characters. */
int http_headers_check(dstack_bytes lines, dstack_error *err);
/* Value of the first header of that name in zero-terminated lines, with its length; NULL if absent.
 */
const char *http_headers_find(const char *lines, const char *name, size_t *len);

/* Reads head and body of a response. `keep` tells whether the connection may carry another. */
int http_read_response(http_reader *reader, bool head_request, size_t body_limit,
                       http_client_response *response, bool *keep, dstack_error *err);

typedef struct http_request_message {
    char method[16];
    char *target;  /* as sent */
    char *headers; /* raw lines, zero-terminated */
    dstack_buf body;
    bool oversize; /* body was longer than the limit and is left out */
} http_request_message;
int http_read_request(http_reader *reader, size_t body_limit, http_request_message *request,
                      dstack_error *err);
void http_request_message_clear(http_request_message *request);
DSTACK_AUTO_DEFINE_CLEAR(http_request_message, http_request_message, http_request_message_clear)

const char *http_status_text(int status);

#endif
