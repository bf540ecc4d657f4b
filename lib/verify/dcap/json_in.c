#include "verify/dcap/json_in.h"

#include <string.h>

#include "base/buf.h"

json_in json_in_init(dstack_bytes text, dstack_buf *texts) {
    return (json_in){.c = cursor_init(text), .texts = texts};
}

void json_in_fail(json_in *in, const char *fault) {
    if (in->fault == NULL) {
        in->fault = fault;
    }
}

/* The next byte that is not white space, unread; 0 at the end. */
static uint8_t next(json_in *in) {
    while (in->c.pos < in->c.len) {
        uint8_t byte = in->c.data[in->c.pos];
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') {
            return byte;
        }
        cursor_skip(&in->c, 1);
    }
    return 0;
}

static bool accept(json_in *in, char byte) {
    if (in->fault == NULL && next(in) == (uint8_t)byte) {
        cursor_skip(&in->c, 1);
        return true;
    }
    return false;
}

static void expect(json_in *in, char byte, const char *fault) {
    if (!accept(in, byte)) {
        json_in_fail(in, fault);
    }
}

bool json_in_end(json_in *in) {
    if (in->fault == NULL && (next(in) != 0 || in->c.pos != in->c.len)) {
        json_in_fail(in, "text after the value");
    }
    return in->fault == NULL;
}

static void enter(json_in *in, char open, const char *fault) {
    expect(in, open, fault);
    in->fresh = true;
    if (++in->depth > JSON_IN_MAX_DEPTH) {
        json_in_fail(in, "nested deeper than 32");
    }
}

static void leave(json_in *in) {
    in->depth--;
    in->fresh = false;
}

void json_in_object(json_in *in) {
    enter(in, '{', "an object is expected");
}

void json_in_array(json_in *in) {
    enter(in, '[', "an array is expected");
}

/* True where another element follows, its comma consumed; at the end the closer is. */
static bool more(json_in *in, char closer) {
    if (in->fault != NULL) {
        return false;
    }
    if (accept(in, closer)) {
        leave(in);
        return false;
    }
    if (!in->fresh) {
        expect(in, ',', "a comma is expected");
    }
    in->fresh = false;
    return in->fault == NULL;
}

bool json_in_item(json_in *in) {
    return more(in, ']');
}

static int member_index(const json_members *members, dstack_bytes key) {
    for (unsigned i = 0; i < members->count; i++) {
        if (bytes_equal_str(key, members->names[i])) {
            return (int)i;
        }
    }
    return -1;
}

int json_in_member(json_in *in, json_members *members) {
    while (more(in, '}')) {
        dstack_bytes key = json_in_string(in);
        expect(in, ':', "a colon is expected");
        int index = member_index(members, key);
        if (in->fault == NULL && index >= 0) {
            uint32_t bit = (uint32_t)1 << index;
            if ((members->seen & bit) != 0) {
                json_in_fail(in, "a member is given twice");
            }
            members->seen |= bit;
            return in->fault == NULL ? index : -1;
        }
        if (in->fault == NULL && members->closed) {
            json_in_fail(in, "an unknown member");
        }
        json_in_skip(in);
    }
    if (in->fault == NULL && (members->required & ~members->seen) != 0) {
        json_in_fail(in, "a required member is missing");
    }
    return -1;
}

static bool literal(json_in *in, const char *word) {
    size_t len = strlen(word);
    if (in->fault != NULL || next(in) != (uint8_t)word[0] || cursor_left(&in->c) < len ||
        memcmp(in->c.data + in->c.pos, word, len) != 0) {
        return false;
    }
    cursor_skip(&in->c, len);
    return true;
}

bool json_in_null(json_in *in) {
    return literal(in, "null");
}

bool json_in_bool(json_in *in) {
    if (literal(in, "true")) {
        return true;
    }
    if (!literal(in, "false")) {
        json_in_fail(in, "true or false is expected");
    }
    return false;
}

static size_t digits(json_in *in) {
    size_t start = in->c.pos;
    while (in->c.pos < in->c.len && in->c.data[in->c.pos] >= '0' && in->c.data[in->c.pos] <= '9') {
        cursor_skip(&in->c, 1);
    }
    return in->c.pos - start;
}

static uint8_t here(const json_in *in) {
    return in->c.pos < in->c.len ? in->c.data[in->c.pos] : 0;
}

/* RFC 8259, section 6: no leading zeros. */
static dstack_bytes whole_part(json_in *in) {
    size_t start = in->c.pos;
    size_t count = digits(in);
    if (count == 0 || (count > 1 && in->c.data[start] == '0')) {
        json_in_fail(in, "not a number");
        return (dstack_bytes){NULL, 0};
    }
    return (dstack_bytes){in->c.data + start, count};
}

uint64_t json_in_uint(json_in *in, uint64_t max) {
    uint8_t first = next(in);
    if (in->fault != NULL || first < '0' || first > '9') {
        json_in_fail(in, "an integer that is not negative is expected");
        return 0;
    }
    dstack_bytes text = whole_part(in);
    uint64_t value = 0;
    bool over = false;
    for (size_t i = 0; i < text.len; i++) {
        over |= __builtin_mul_overflow(value, 10, &value);
        over |= __builtin_add_overflow(value, text.data[i] - '0', &value);
    }
    uint8_t after = here(in);
    if (after == '.' || after == 'e' || after == 'E') {
        json_in_fail(in, "an integer is expected, not a fraction");
    }
    if (over || value > max) {
        json_in_fail(in, "an integer is out of range");
    }
    return in->fault == NULL ? value : 0;
}

static void skip_number(json_in *in) {
    if (here(in) == '-') {
        cursor_skip(&in->c, 1);
    }
    (void)whole_part(in);
    if (here(in) == '.') {
        cursor_skip(&in->c, 1);
        if (digits(in) == 0) {
            json_in_fail(in, "not a number");
        }
    }
    if (here(in) == 'e' || here(in) == 'E') {
        cursor_skip(&in->c, 1);
        if (here(in) == '+' || here(in) == '-') {
            cursor_skip(&in->c, 1);
        }
        if (digits(in) == 0) {
            json_in_fail(in, "not a number");
        }
    }
}

/* ---- strings ---- */

static unsigned hex_digit(json_in *in) {
    uint8_t byte = cursor_u8(&in->c);
    if (byte >= '0' && byte <= '9') {
        return byte - (unsigned)'0';
    }
    byte |= 0x20;
    if (byte >= 'a' && byte <= 'f') {
        return byte - (unsigned)'a' + 10;
    }
    json_in_fail(in, "not four hex digits after \\u");
    return 0;
}

static uint32_t code_unit(json_in *in) {
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        unit = unit << 4 | hex_digit(in);
    }
    return unit;
}

static uint32_t code_point(json_in *in) {
    uint32_t unit = code_unit(in);
    if (unit < 0xd800 || unit > 0xdfff) {
        return unit;
    }
    bool pair = unit < 0xdc00 && cursor_u8(&in->c) == '\\' && cursor_u8(&in->c) == 'u';
    uint32_t low = pair ? code_unit(in) : 0;
    if (low < 0xdc00 || low > 0xdfff) {
        json_in_fail(in, "half a surrogate pair");
        return 0;
    }
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

static void put_utf8(dstack_buf *out, uint32_t point) {
    if (point < 0x80) {
        buf_put_u8(out, (uint8_t)point);
        return;
    }
    int tail = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    buf_put_u8(out, (uint8_t)(lead[tail] | point >> 6 * tail));
    while (tail-- > 0) {
        buf_put_u8(out, (uint8_t)(0x80 | (point >> 6 * tail & 0x3f)));
    }
}

static void put_escape(json_in *in) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t kind = cursor_u8(&in->c);
    const char *at = kind == 0 ? NULL : strchr(from, kind);
    if (kind == 'u') {
        put_utf8(in->texts, code_point(in));
    } else if (at != NULL) {
        buf_put_u8(in->texts, (uint8_t)to[at - from]);
    } else {
        json_in_fail(in, "an unknown escape in a string");
    }
}

/* A string with escapes, from its first character on; decoded it is never longer than encoded, so
 * room for the whole input keeps earlier views in place. */
static dstack_bytes decode_string(json_in *in) {
    if (in->texts->cap < in->c.len) {
        buf_reserve(in->texts, in->c.len);
    }
    size_t start = in->texts->len;
    while (in->fault == NULL) {
        uint8_t byte = cursor_u8(&in->c);
        if (!cursor_ok(&in->c) || byte < 0x20) {
            json_in_fail(in, "a string does not end");
        } else if (byte == '"') {
            break;
        } else if (byte == '\\') {
            put_escape(in);
        } else {
            buf_put_u8(in->texts, byte);
        }
    }
    if (in->texts->failed) {
        json_in_fail(in, "no memory");
    }
    return in->fault == NULL ? bytes_of(in->texts->data + start, in->texts->len - start)
                             : (dstack_bytes){NULL, 0};
}

dstack_bytes json_in_string(json_in *in) {
    expect(in, '"', "a string is expected");
    if (in->fault != NULL) {
        return (dstack_bytes){NULL, 0};
    }
    const uint8_t *start = in->c.data + in->c.pos;
    const size_t left = cursor_left(&in->c);
    for (size_t i = 0; i < left; i++) {
        if (start[i] == '"') {
            dstack_bytes text = cursor_take(&in->c, i);
            cursor_skip(&in->c, 1);
            return text;
        }
        if (start[i] < 0x20) {
            break;
        }
        if (start[i] == '\\') {
            return decode_string(in);
        }
    }
    json_in_fail(in, "a string does not end");
    return (dstack_bytes){NULL, 0};
}

static void skip_scalar(json_in *in) {
    uint8_t first = next(in);
    if (first == '"') {
        (void)json_in_string(in);
    } else if (first == '-' || (first >= '0' && first <= '9')) {
        skip_number(in);
    } else if (!literal(in, "true") && !literal(in, "false") && !literal(in, "null")) {
        json_in_fail(in, "a value is expected");
    }
}

/* Containers are walked in a loop: a bit per level says whether it is an object. */
void json_in_skip(json_in *in) {
    unsigned base = in->depth;
    uint64_t objects = 0;
    do {
        if (in->depth > base) {
            bool object = (objects & 1) != 0;
            if (!more(in, object ? '}' : ']')) {
                objects >>= 1;
                continue;
            }
            if (object) {
                (void)json_in_string(in);
                expect(in, ':', "a colon is expected");
            }
        }
        uint8_t first = next(in);
        if (first == '{' || first == '[') {
            objects = objects << 1 | (first == '{');
            enter(in, (char)first, "");
        } else {
            skip_scalar(in);
        }
    } while (in->fault == NULL && in->depth > base);
}

dstack_bytes json_in_text(json_in *in) {
    (void)next(in); /* to the first byte of the value */
    size_t start = in->c.pos;
    json_in_skip(in);
    return in->fault == NULL ? bytes_of(in->c.data + start, in->c.pos - start)
                             : (dstack_bytes){NULL, 0};
}
