/* The engine's log stream and what GET /logs/<container> makes of it. Pure. */
#ifndef AGENT_SERVE_LOG_FORMAT_H
#define AGENT_SERVE_LOG_FORMAT_H

#include <stdbool.h>

#include <dstack/bytes.h>

/* The engine cuts what a container prints into pieces of 16 KiB. */
#define LOG_FRAME_MAX ((size_t)128 << 10)

typedef struct log_options {
    bool follow, text, bare, timestamps, ansi;
    int64_t since, until; /* UNIX seconds, 0: no limit */
    char tail[12];        /* digits or "all" */
} log_options;

/* A time as the query has it: digits are UNIX seconds; digits and s, m, h or d mean that long before
 * `now`; empty is 0. False for anything else. */
bool log_time_parse(const char *text, int64_t now, int64_t *out);
/* The request line's path for the engine. `container` has passed log_name_valid(). */
void log_engine_path(const char *container, const log_options *options, dstack_buf *out);
/* A name that cannot reach another resource of the engine: [A-Za-z0-9][A-Za-z0-9_.-]*, at most 128. */
bool log_name_valid(const char *name);

/* What the engine's answer begins with. */
typedef struct log_head {
    int status;
    bool multiplexed; /* by its content type: frames for certain */
    size_t len;       /* with the empty line; 0 while that has not come */
} log_head;

/* Reads the head at the start of `text`. DSTACK_E_FORMAT when it cannot become one. */
int log_head_parse(dstack_bytes text, log_head *out, dstack_error *err);
/* Whether an answer that need not have frames begins with one: a container with a terminal gets none.
 * `text` holds at least 4 bytes, or all that there is. */
bool log_is_framed(dstack_bytes text);
/* As log_frames_format(), for a stream without frames: the channel is "console". What may be the start
 * of a character or of an escape sequence stays until the rest has come, or until `last`. */
int log_console_format(dstack_buf *stream, bool last, const log_options *options, dstack_buf *out,
                       dstack_error *err);
/* Takes frames out of `stream` (header of 8 bytes: channel, zeros, length u32 BE) and appends their
 * output; what is not a whole frame yet stays. DSTACK_E_FORMAT, DSTACK_E_LIMIT. */
int log_frames_format(dstack_buf *stream, const log_options *options, dstack_buf *out,
                      dstack_error *err);

#endif
