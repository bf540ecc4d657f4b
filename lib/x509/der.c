#include "x509/der.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"

/* ---- reading -------------------------------------------------------------------------------- */

static void fail(cursor *c) {
    c->failed = true;
    c->pos = c->len;
}

/* X.690, 8.1.3 and 10.1: definite form, shortest form. Four length octets are more than any input
 * here is allowed to have. */
static size_t read_length(cursor *c) {
    size_t first = cursor_u8(c);
    if (first < 0x80) {
        return first;
    }
    size_t octets = first & 0x7f;
    if (octets == 0 || octets > 4) {
        fail(c);
        return 0;
    }
    size_t length = 0;
    for (size_t i = 0; i < octets; i++) {
        length = length << 8 | cursor_u8(c);
    }
    if (length < 0x80 || length >> (8 * (octets - 1)) == 0) {
        fail(c);
    }
    return length;
}

der_element der_read(cursor *c) {
    der_element element = {0};
    size_t start = c->pos;
    uint8_t tag = cursor_u8(c);
    if ((tag & 0x1f) == 0x1f) { /* multi-byte tags occur nowhere in certificates */
        fail(c);
    }
    size_t length = read_length(c);
    dstack_bytes value = cursor_take(c, length);
    if (cursor_ok(c)) {
        element.tag = tag;
        element.value = value;
        element.whole = bytes_of(c->data + start, c->pos - start);
    }
    return element;
}

uint8_t der_peek(const cursor *c) {
    return c->failed || c->pos == c->len ? 0 : c->data[c->pos];
}

static der_element take_tagged(cursor *c, uint8_t tag) {
    if (der_peek(c) != tag) {
        fail(c);
        return (der_element){0};
    }
    return der_read(c);
}

dstack_bytes der_take(cursor *c, uint8_t tag) {
    return take_tagged(c, tag).value;
}

dstack_bytes der_take_whole(cursor *c, uint8_t tag) {
    return take_tagged(c, tag).whole;
}

cursor der_enter(cursor *c, uint8_t tag) {
    dstack_bytes value = der_take(c, tag);
    return (cursor){.data = value.data, .len = value.len, .failed = c->failed};
}

bool der_enter_optional(cursor *c, uint8_t tag, cursor *inner) {
    if (der_peek(c) != tag) {
        return false;
    }
    *inner = der_enter(c, tag);
    return true;
}

void der_leave(cursor *outer, const cursor *inner) {
    if (!cursor_done(inner)) {
        fail(outer);
    }
}

bool der_boolean(cursor *c) {
    dstack_bytes value = der_take(c, DER_BOOLEAN);
    if (value.len != 1 || (value.data[0] != 0x00 && value.data[0] != 0xff)) {
        fail(c);
        return false;
    }
    return value.data[0] != 0;
}

/* X.690, 8.3.2: the first nine bits are neither all zeros nor all ones. */
static bool integer_is_shortest(dstack_bytes value) {
    if (value.len == 0) {
        return false;
    }
    if (value.len == 1) {
        return true;
    }
    bool high = (value.data[1] & 0x80) != 0;
    return !(value.data[0] == 0x00 && !high) && !(value.data[0] == 0xff && high);
}

dstack_bytes der_integer(cursor *c) {
    dstack_bytes value = der_take(c, DER_INTEGER);
    if (!integer_is_shortest(value)) {
        fail(c);
        return (dstack_bytes){0};
    }
    return value;
}

/* The magnitude of an INTEGER that must not be negative, without its sign octet. */
static dstack_bytes unsigned_magnitude(cursor *c) {
    dstack_bytes value = der_integer(c);
    if (value.len == 0 || (value.data[0] & 0x80) != 0) {
        fail(c);
        return (dstack_bytes){0};
    }
    if (value.data[0] == 0 && value.len > 1) {
        return bytes_of(value.data + 1, value.len - 1);
    }
    return value;
}

uint64_t der_uint(cursor *c) {
    dstack_bytes magnitude = unsigned_magnitude(c);
    if (magnitude.len > 8) {
        fail(c);
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < magnitude.len; i++) {
        value = value << 8 | magnitude.data[i];
    }
    return value;
}

void der_unsigned_fixed(cursor *c, uint8_t *out, size_t len) {
    dstack_bytes magnitude = unsigned_magnitude(c);
    memset(out, 0, len);
    if (magnitude.len > len) {
        fail(c);
    } else if (magnitude.len > 0) {
        memcpy(out + len - magnitude.len, magnitude.data, magnitude.len);
    }
}

dstack_bytes der_oid(cursor *c) {
    dstack_bytes value = der_take(c, DER_OID);
    bool sound = value.len > 0 && (value.data[value.len - 1] & 0x80) == 0;
    for (size_t i = 0; sound && i < value.len; i++) { /* X.690, 8.19.2: no arc starts with 80 */
        bool arc_start = i == 0 || (value.data[i - 1] & 0x80) == 0;
        sound = !(arc_start && value.data[i] == 0x80);
    }
    if (!sound) {
        fail(c);
        return (dstack_bytes){0};
    }
    return value;
}

dstack_bytes der_bit_string(cursor *c) {
    dstack_bytes value = der_take(c, DER_BIT_STRING);
    if (value.len == 0 || value.data[0] != 0) {
        fail(c);
        return (dstack_bytes){0};
    }
    return bytes_of(value.data + 1, value.len - 1);
}

uint16_t der_named_bits(cursor *c) {
    dstack_bytes value = der_take(c, DER_BIT_STRING);
    uint16_t bits = 0;
    if (value.len == 0 || value.len > 3 || value.data[0] > 7 ||
        (value.len == 1 && value.data[0] != 0)) {
        fail(c);
        return 0;
    }
    uint8_t unused = value.data[0];
    uint8_t last = value.len > 1 ? value.data[value.len - 1] : 0;
    if ((last & ((1u << unused) - 1)) != 0) { /* X.690, 11.2.1: unused bits are zero */
        fail(c);
        return 0;
    }
    /* X.690, 11.2.2 has trailing zero bits dropped, but rcgen writes them, and with it every
     * certificate of the reference system: they change nothing of what is said. */
    for (size_t bit = 0; bit < 8 * (value.len - 1); bit++) {
        if ((value.data[1 + bit / 8] >> (7 - bit % 8) & 1) != 0) {
            bits |= (uint16_t)(1u << bit);
        }
    }
    return bits;
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Counting years from March
 * puts the leap day at the end, which makes the month term linear. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400; /* year >= 0 here: dates start with year 1 */
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool is_leap(int64_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Decimal digits as a number; -1 where one is no digit. */
static int digits(cursor *c, size_t count) {
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t digit = cursor_u8(c);
        if (digit < '0' || digit > '9') {
            fail(c);
            return -1;
        }
        value = value * 10 + (digit - '0');
    }
    return value;
}

int64_t der_time(cursor *c) {
    uint8_t tag = der_peek(c);
    if (tag != DER_UTC_TIME && tag != DER_GENERALIZED_TIME) {
        fail(c);
        return 0;
    }
    cursor text = der_enter(c, tag);
    int64_t year = digits(&text, tag == DER_UTC_TIME ? 2 : 4);
    if (tag == DER_UTC_TIME) { /* RFC 5280, 4.1.2.5.1 */
        year += year >= 50 ? 1900 : 2000;
    }
    int month = digits(&text, 2);
    int day = digits(&text, 2);
    int hour = digits(&text, 2);
    int minute = digits(&text, 2);
    int second = digits(&text, 2);
    bool utc = cursor_u8(&text) == 'Z';
    if (!cursor_done(&text) || !utc || year < 1 || month < 1 || month > 12 || day < 1 ||
        day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59) {
        fail(c);
        return 0;
    }
    return days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}

int der_finish(const cursor *c, const char *what, dstack_error *err) {
    if (!cursor_ok(c)) {
        return error_set(err, DSTACK_E_FORMAT, "%s: malformed or truncated DER", what);
    }
    if (cursor_left(c) > 0) {
        return error_set(err, DSTACK_E_FORMAT, "%s: %zu bytes follow its end", what,
                         cursor_left(c));
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Header octets for a length: 1 + what the long form needs. */
static size_t length_encode(size_t length, uint8_t out[9]) {
    if (length < 0x80) {
        out[0] = (uint8_t)length;
        return 1;
    }
    size_t octets = 0;
    for (size_t rest = length; rest > 0; rest >>= 8) {
        octets++;
    }
    out[0] = (uint8_t)(0x80 | octets);
    for (size_t i = 0; i < octets; i++) {
        out[1 + i] = (uint8_t)(length >> (8 * (octets - 1 - i)));
    }
    return 1 + octets;
}

size_t der_begin(dstack_buf *out, uint8_t tag) {
    buf_put_u8(out, tag);
    return out->len;
}

void der_end(dstack_buf *out, size_t mark) {
    if (out->failed) {
        return;
    }
    uint8_t header[9];
    size_t length = out->len - mark;
    size_t size = length_encode(length, header);
    buf_put_zeros(out, size); /* the content moves back to make room for its length */
    if (out->failed) {
        return;
    }
    memmove(out->data + mark + size, out->data + mark, length);
    memcpy(out->data + mark, header, size);
}

void der_put(dstack_buf *out, uint8_t tag, dstack_bytes value) {
    uint8_t header[9];
    buf_put_u8(out, tag);
    buf_put(out, header, length_encode(value.len, header));
    buf_put_bytes(out, value);
}

void der_put_boolean(dstack_buf *out, bool value) {
    uint8_t octet = value ? 0xff : 0x00;
    der_put(out, DER_BOOLEAN, bytes_of(&octet, 1));
}

void der_put_uint(dstack_buf *out, uint64_t value) {
    uint8_t octets[8];
    for (size_t i = 0; i < 8; i++) {
        octets[i] = (uint8_t)(value >> (56 - 8 * i));
    }
    der_put_unsigned(out, bytes_of(octets, sizeof octets));
}

void der_put_unsigned(dstack_buf *out, dstack_bytes magnitude) {
    while (magnitude.len > 0 && magnitude.data[0] == 0) {
        magnitude = bytes_of(magnitude.data + 1, magnitude.len - 1);
    }
    size_t mark = der_begin(out, DER_INTEGER);
    if (magnitude.len == 0 || (magnitude.data[0] & 0x80) != 0) {
        buf_put_u8(out, 0);
    }
    buf_put_bytes(out, magnitude);
    der_end(out, mark);
}

void der_put_oid(dstack_buf *out, dstack_bytes oid) {
    der_put(out, DER_OID, oid);
}

void der_put_null(dstack_buf *out) {
    der_put(out, DER_NULL, (dstack_bytes){0});
}

void der_put_bit_string(dstack_buf *out, dstack_bytes octets) {
    size_t mark = der_begin(out, DER_BIT_STRING);
    buf_put_u8(out, 0);
    buf_put_bytes(out, octets);
    der_end(out, mark);
}

void der_put_named_bits(dstack_buf *out, uint16_t bits) {
    uint8_t octets[3] = {0};
    size_t used = 0; /* bits to write: up to the last that is set */
    for (size_t bit = 0; bit < 16; bit++) {
        if ((bits >> bit & 1) != 0) {
            octets[1 + bit / 8] |= (uint8_t)(0x80 >> bit % 8);
            used = bit + 1;
        }
    }
    size_t size = (used + 7) / 8;
    octets[0] = (uint8_t)(8 * size - used);
    der_put(out, DER_BIT_STRING, bytes_of(octets, 1 + size));
}

void der_put_text(dstack_buf *out, uint8_t tag, const char *text) {
    der_put(out, tag, bytes_of(text, strlen(text)));
}

/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z */
#define FIRST_SECOND (-62135596800)
#define LAST_SECOND 253402300799

void der_put_time(dstack_buf *out, int64_t unix_seconds) {
    if (unix_seconds < FIRST_SECOND || unix_seconds > LAST_SECOND) {
        out->failed = true;
        return;
    }
    int64_t days = (unix_seconds - FIRST_SECOND) / 86400 + FIRST_SECOND / 86400;
    int64_t rest = (unix_seconds - FIRST_SECOND) % 86400;
    int64_t year = 1 + (days - FIRST_SECOND / 86400) / 366; /* never past the right year */
    while (days_from_date(year + 1, 1, 1) <= days) {
        year++;
    }
    int64_t day = days - days_from_date(year, 1, 1);
    int month = 1;
    while (day >= days_in_month(year, month)) {
        day -= days_in_month(year, month);
        month++;
    }
    bool utc = year >= 1950 && year <= 2049;
    size_t mark = der_begin(out, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME);
    buf_put_fmt(out, utc ? "%02d" : "%04d", (int)(utc ? year % 100 : year));
    buf_put_fmt(out, "%02d%02d%02d%02d%02dZ", month, (int)day + 1, (int)(rest / 3600),
                (int)(rest / 60 % 60), (int)(rest % 60));
    der_end(out, mark);
}
