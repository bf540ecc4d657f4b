#include "service/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"

#define FIELDS_MAX 16

static const struct {
    const char *name;
    int priority; /* syslog(3) */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARN] = {"warn", 4},
    [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

/* Of the process, like stderr itself. */
static const char *program_name = "dstack";
static atomic_int highest = LOG_LEVEL_INFO;
static bool to_journal;

/* systemd names device and inode of the stream it gave us, sd-journal(3) JOURNAL_STREAM. */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat info;
    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

int log_init(const char *program, const char *level, dstack_error *err) {
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(level, levels[i].name) == 0) {
            program_name = program;
            highest = (int)i;
            to_journal = stderr_is_journal();
            return 0;
        }
    }
    return error_set(err, DSTACK_E_ARGUMENT, "log level '%s' is not error, warn, info or debug",
                     level);
}

bool log_enabled(log_level level) {
    return (int)level <= highest;
}

static void put_escaped(dstack_buf *out, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        if (*p == '"' || *p == '\\') {
            buf_put_fmt(out, "\\%c", *p);
        } else if (*p < ' ' || *p == 0x7f) {
            buf_put_fmt(out, "\\x%02x", *p);
        } else {
            buf_put_u8(out, *p);
        }
    }
}

static void put_time(dstack_buf *out) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    buf_put_fmt(out, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

static void to_stderr(log_level level, const char *message, const char **fields, size_t count) {
    DSTACK_AUTO(buf) dstack_buf line = {0};
    put_time(&line);
    buf_put_fmt(&line, " %-5s %s: ", levels[level].name, program_name);
    put_escaped(&line, message);
    for (size_t i = 0; i + 1 < count; i += 2) {
        buf_put_fmt(&line, " %s=\"", fields[i]);
        put_escaped(&line, fields[i + 1] != NULL ? fields[i + 1] : "");
        buf_put_u8(&line, '"');
    }
    buf_put_u8(&line, '\n');
    /* One write, so that lines of several threads do not mix. */
    if (!line.failed && write(STDERR_FILENO, line.data, line.len) < 0) {
        return; /* nowhere left to say it */
    }
}

static void put_field_name(dstack_buf *out, const char *name) {
    buf_put_str(out, "DSTACK_");
    for (const char *p = name; *p != 0; p++) {
        buf_put_u8(out, (uint8_t)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p));
    }
}

static void to_systemd(log_level level, const char *message, const char **fields, size_t count) {
    dstack_buf texts[FIELDS_MAX / 2 + 3] = {0};
    struct iovec parts[FIELDS_MAX / 2 + 3];
    size_t n = 0;
    buf_put_fmt(&texts[n++], "MESSAGE=%s", message);
    buf_put_fmt(&texts[n++], "PRIORITY=%d", levels[level].priority);
    buf_put_fmt(&texts[n++], "SYSLOG_IDENTIFIER=%s", program_name);
    for (size_t i = 0; i + 1 < count; i += 2) {
        put_field_name(&texts[n], fields[i]);
        buf_put_fmt(&texts[n++], "=%s", fields[i + 1] != NULL ? fields[i + 1] : "");
    }
    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct iovec){texts[i].data, texts[i].len};
    }
    sd_journal_sendv(parts, (int)n);
    for (size_t i = 0; i < n; i++) {
        dstack_buf_clear(&texts[i]);
    }
}

void log_write(log_level level, const char *message, ...) {
    if (!log_enabled(level)) {
        return;
    }
    const char *fields[FIELDS_MAX];
    size_t count = 0;
    va_list arguments;
    va_start(arguments, message);
    while (count + 1 < FIELDS_MAX) {
        const char *name = va_arg(arguments, const char *);
        if (name == NULL) {
            break;
        }
        fields[count++] = name;
        fields[count++] = va_arg(arguments, const char *);
    }
    va_end(arguments);
    if (to_journal) {
        to_systemd(level, message, fields, count);
    } else {
        to_stderr(level, message, fields, count);
    }
}
