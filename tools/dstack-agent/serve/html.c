#include "serve/html.h"

#include <string.h>
#include <time.h>

#include "base/buf.h"

void html_text(dstack_buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (strchr("&<>\"'", c) != NULL) {
            buf_put_fmt(out, "&#%d;", c);
        } else if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f) {
            buf_put_str(out, "\xef\xbf\xbd");
        } else {
            buf_put_u8(out, c);
        }
    }
}

void html_fact(dstack_buf *out, const char *name, const char *value) {
    if (value[0] != '\0') {
        buf_put_fmt(out, "<dt>%s</dt><dd>", name);
        html_text(out, value);
        buf_put_str(out, "</dd>\n");
    }
}

void html_fact_hex(dstack_buf *out, const char *name, dstack_bytes value) {
    if (value.len > 0) {
        buf_put_fmt(out, "<dt>%s</dt><dd class=\"value\">", name);
        buf_put_hex(out, value);
        buf_put_str(out, "</dd>\n");
    }
}

void html_size(dstack_buf *out, uint64_t bytes) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    buf_put_fmt(out, "%.2f %s", value, units[unit]);
}

void html_duration(dstack_buf *out, uint64_t seconds) {
    unsigned long long minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (days > 0) {
        buf_put_fmt(out, "%llu d %llu h", days, hours % 24);
    } else if (hours > 0) {
        buf_put_fmt(out, "%llu h %llu min", hours, minutes % 60);
    } else if (minutes > 0) {
        buf_put_fmt(out, "%llu min", minutes);
    } else {
        buf_put_fmt(out, "%llu s", (unsigned long long)seconds);
    }
}

void html_moment(dstack_buf *out, int64_t unix_seconds) {
    time_t when = (time_t)unix_seconds;
    struct tm utc;
    char iso[40], shown[40];
    if (gmtime_r(&when, &utc) == NULL ||
        strftime(iso, sizeof iso, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0 ||
        strftime(shown, sizeof shown, "%Y-%m-%d %H:%M UTC", &utc) == 0) {
        buf_put_str(out, "unknown");
        return;
    }
    buf_put_fmt(out, "<time datetime=\"%s\">%s</time>", iso, shown);
}
