#include "verify/dcap/date.h"

#include <stdio.h>
#include <time.h>

#include "base/cursor.h"

static int number(cursor *c, int count) {
    int value = 0;
    for (int i = 0; i < count; i++) {
        uint8_t byte = cursor_u8(c);
        if (byte < '0' || byte > '9') {
            c->failed = true;
        }
        value = value * 10 + (byte - '0');
    }
    return value;
}

static void mark(cursor *c, const char *any_of) {
    uint8_t byte = cursor_u8(c);
    for (; *any_of != '\0'; any_of++) {
        if (byte == (uint8_t)*any_of) {
            return;
        }
    }
    c->failed = true;
}

static void fraction(cursor *c) {
    if (cursor_left(c) > 0 && c->data[c->pos] == '.') {
        cursor_skip(c, 1);
        (void)number(c, 1);
        while (cursor_left(c) > 0 && c->data[c->pos] >= '0' && c->data[c->pos] <= '9') {
            cursor_skip(c, 1);
        }
    }
}

/* Seconds east of UTC. */
static int zone(cursor *c) {
    uint8_t sign = cursor_u8(c);
    if (sign == 'Z' || sign == 'z') {
        return 0;
    }
    int hours = number(c, 2);
    mark(c, ":");
    int minutes = number(c, 2);
    if ((sign != '+' && sign != '-') || hours > 23 || minutes > 59) {
        c->failed = true;
    }
    return (sign == '-' ? -60 : 60) * (hours * 60 + minutes);
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month < 1 || month > 12 ? 0 : days[month - 1] + (month == 2 && leap);
}

bool dcap_date_parse(dstack_bytes text, int64_t *seconds) {
    cursor c = cursor_init(text);
    struct tm t = {0};
    int year = number(&c, 4);
    mark(&c, "-");
    int month = number(&c, 2);
    mark(&c, "-");
    t.tm_mday = number(&c, 2);
    mark(&c, "Tt ");
    t.tm_hour = number(&c, 2);
    mark(&c, ":");
    t.tm_min = number(&c, 2);
    mark(&c, ":");
    t.tm_sec = number(&c, 2);
    fraction(&c);
    int offset = zone(&c);
    if (!cursor_done(&c) || t.tm_mday < 1 || t.tm_mday > days_in_month(year, month) ||
        t.tm_hour > 23 || t.tm_min > 59 || t.tm_sec > 59) {
        return false;
    }
    t.tm_year = year - 1900;
    t.tm_mon = month - 1;
    int64_t value = (int64_t)timegm(&t) - offset;
    if (value < 0) {
        return false;
    }
    *seconds = value;
    return true;
}

void dcap_date_text(int64_t seconds, char *out) {
    time_t time = (time_t)seconds;
    struct tm t;
    if (gmtime_r(&time, &t) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &t) == 0) {
        snprintf(out, 32, "%lld", (long long)seconds);
    }
}
