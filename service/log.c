#include "service/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/systemd.h"

/* Names and values; more than any message has. */
#define FIELDS_MAX 64

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
        put_escaped(&line, fields[i + 1]);
        buf_put_u8(&line, '"');
    }
    buf_put_u8(&line, '\n');
    /* One write, so that lines of several threads do not mix. */
    if (!line.failed && write(STDERR_FILENO, line.data, line.len) < 0) {
        return; /* nowhere left to say it */
    }
}

static bool to_systemd(log_level level, const char *message, const char **fields, size_t count) {
    DSTACK_AUTO(buf) dstack_buf entry = {0};
    const char priority[] = {(char)('0' + levels[level].priority), '\0'};
    systemd_journal_put(&entry, "MESSAGE", message);
    systemd_journal_put(&entry, "PRIORITY", priority);
    systemd_journal_put(&entry, "SYSLOG_IDENTIFIER", program_name);
    for (size_t i = 0; i + 1 < count; i += 2) {
        char name[64] = "DSTACK_";
        for (size_t n = 0, at = strlen(name); fields[i][n] != 0 && at + 1 < sizeof name; n++) {
            char c = fields[i][n];
            name[at++] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
        }
        systemd_journal_put(&entry, name, fields[i + 1]);
    }
    return !entry.failed && systemd_journal_send(bytes_of_buf(&entry));
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
        const char *value = va_arg(arguments, const char *);
        if (value != NULL) {
            fields[count++] = name;
            fields[count++] = value;
        }
    }
    va_end(arguments);
    if (!to_journal || !to_systemd(level, message, fields, count)) {
        to_stderr(level, message, fields, count);
    }
}
