#include "serve/log_format.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

/* Docker Engine API, "Attach to a container", stream format. */
#define FRAME_HEADER 8

/* The last is for streams without frames. */
static const char *const CHANNELS[] = {"stdin", "stdout", "stderr", "console"};
#define CONSOLE 3

#define HEAD_MAX 16384
/* Longer ones are no escape sequences that anybody means. */
#define ESCAPE_MAX 64

bool log_time_parse(const char *text, int64_t now, int64_t *out) {
    size_t digits = strspn(text, "0123456789");
    *out = 0;
    if (text[0] == '\0') {
        return true;
    }
    if (digits == 0 || digits > 12) {
        return false;
    }
    int64_t value = strtoll(text, NULL, 10);
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    if (text[digits] == '\0') {
        *out = value;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            *out = now - value * units[i].seconds;
            return true;
        }
    }
    return false;
}

bool log_name_valid(const char *name) {
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t len = strlen(name);
    return len > 0 && len <= 128 && strchr("_.-", name[0]) == NULL && strspn(name, all) == len;
}

void log_engine_path(const char *container, const log_options *options, dstack_buf *out) {
    buf_put_fmt(out, "/containers/%s/logs?follow=%s&stdout=true&stderr=true&since=%lld", container,
                options->follow ? "true" : "false", (long long)options->since);
    if (options->until != 0) {
        buf_put_fmt(out, "&until=%lld", (long long)options->until);
    }
    buf_put_fmt(out, "&timestamps=%s&tail=%s", options->timestamps ? "true" : "false",
                options->tail);
}

/* Length of one valid UTF-8 sequence at the start (RFC 3629), 0 when there is none. */
static size_t utf8_len(const uint8_t *s, size_t left) {
    size_t want = s[0] < 0x80                   ? 1
                  : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                  : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                  : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                : 0;
    if (want == 0 || want > left) {
        return 0;
    }
    for (size_t i = 1; i < want; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || beyond ? 0 : want;
}

/* Bytes of an escape sequence at the start: CSI (ECMA-48, 5.4) or a two-character one; 0 for none. */
static size_t escape_len(const uint8_t *s, size_t left) {
    if (s[0] != 0x1b || left < 2) {
        return 0;
    }
    if (s[1] != '[') {
        return s[1] >= 0x40 && s[1] <= 0x5f ? 2 : 0;
    }
    size_t i = 2;
    while (i < left && s[i] >= 0x20 && s[i] <= 0x3f) {
        i++;
    }
    return i < left && s[i] >= 0x40 && s[i] <= 0x7e ? i + 1 : 0;
}

static void put_text(dstack_buf *out, dstack_bytes message, bool keep_escapes) {
    for (size_t i = 0; i < message.len;) {
        size_t left = message.len - i;
        size_t escape = keep_escapes ? 0 : escape_len(message.data + i, left);
        if (escape > 0) {
            i += escape;
            continue;
        }
        size_t len = utf8_len(message.data + i, left);
        if (len == 0) {
            buf_put_str(out, "\xef\xbf\xbd");
            i++;
        } else {
            buf_put(out, message.data + i, len);
            i += len;
        }
    }
}

static int frame_format(uint8_t channel, dstack_bytes message, const log_options *options,
                        dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (options->text) {
        put_text(&text, message, !options->bare || options->ansi);
    } else {
        base64_encode(message, BASE64_STANDARD, &text);
    }
    if (options->bare) {
        buf_put_bytes(out, bytes_of_buf(&text));
        return buf_check(out, err);
    }
    DSTACK_AUTO(json) json_t *line = json_object();
    json_object_set_new(line, "channel", json_string(CHANNELS[channel]));
    json_object_set_new(line, "message", json_stringn((const char *)text.data, text.len));
    int rc = json_write(line, false, out, err);
    buf_put_u8(out, '\n');
    return rc;
}

/* ---- the engine's answer ------------------------------------------------------------------------ */

/* RFC 9112, 4 and 5: the status and whether one header line says so, in any case. */
int log_head_parse(dstack_bytes text, log_head *out, dstack_error *err) {
    static const char version[] = "HTTP/1.";
    static const char multiplexed[] = "content-type: application/vnd.docker.multiplexed-stream\r\n";
    *out = (log_head){0};
    const uint8_t *end = text.len > 0 ? memmem(text.data, text.len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return text.len > HEAD_MAX
                   ? error_set(err, DSTACK_E_FORMAT, "the engine's answer is not HTTP")
                   : 0;
    }
    size_t len = (size_t)(end - text.data) + 4;
    DSTACK_AUTO(buf) dstack_buf copy = {0};
    buf_put(&copy, text.data, len);
    const char *head = buf_text(&copy);
    if (head == NULL || strncmp(head, version, sizeof version - 1) != 0 ||
        strspn(head + 9, "0123456789") != 3 || head[8] != ' ') {
        return error_set(err, DSTACK_E_FORMAT, "the engine's answer is not HTTP");
    }
    out->status = atoi(head + 9);
    out->multiplexed = strcasestr(head, multiplexed) != NULL;
    out->len = len;
    return 0;
}

bool log_is_framed(dstack_bytes text) {
    return text.len >= 4 && text.data[0] <= 2 && text.data[1] == 0 && text.data[2] == 0 &&
           text.data[3] == 0;
}

/* Bytes at the end that may go on: an unfinished character or escape sequence. */
static size_t unfinished_tail(dstack_bytes text) {
    size_t most = text.len < ESCAPE_MAX ? text.len : ESCAPE_MAX;
    for (size_t tail = 1; tail <= most; tail++) {
        const uint8_t *at = text.data + text.len - tail;
        if (at[0] == 0x1b) {
            return escape_len(at, tail) == 0 && (tail == 1 || at[1] == '[') ? tail : 0;
        }
    }
    for (size_t tail = 1; tail <= 3 && tail <= text.len; tail++) {
        uint8_t c = text.data[text.len - tail];
        if ((c & 0xc0) != 0x80) {
            size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
            return want > tail ? tail : 0;
        }
    }
    return 0;
}

int log_console_format(dstack_buf *stream, bool last, const log_options *options, dstack_buf *out,
                       dstack_error *err) {
    dstack_bytes whole = bytes_of_buf(stream);
    size_t ready = whole.len - (last || !options->text ? 0 : unfinished_tail(whole));
    if (ready == 0) {
        return 0;
    }
    int rc = frame_format(CONSOLE, bytes_of(whole.data, ready), options, out, err);
    memmove(stream->data, stream->data + ready, stream->len - ready);
    stream->len -= ready;
    return rc;
}

int log_frames_format(dstack_buf *stream, const log_options *options, dstack_buf *out,
                      dstack_error *err) {
    cursor c = cursor_init(bytes_of_buf(stream));
    size_t done = 0;
    int rc = 0;
    while (rc == 0 && cursor_left(&c) >= FRAME_HEADER) {
        uint8_t channel = cursor_u8(&c);
        cursor_skip(&c, 3);
        uint32_t len = cursor_u32be(&c);
        if (channel > 2) {
            return error_set(err, DSTACK_E_FORMAT, "the engine's log stream has no frames");
        }
        if (len > LOG_FRAME_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "a log frame is larger than 128 KiB");
        }
        if (cursor_left(&c) < len) {
            break;
        }
        rc = frame_format(channel, cursor_take(&c, len), options, out, err);
        done = c.pos;
    }
    if (done > 0) {
        memmove(stream->data, stream->data + done, stream->len - done);
        stream->len -= done;
    }
    return rc;
}
