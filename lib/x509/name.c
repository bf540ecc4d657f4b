/* Reading distinguished names. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "x509/build.h"
#include "x509/cert.h"
#include "x509/der.h"
#include "x509/oids.h"

typedef struct attribute {
    dstack_bytes oid;
    dstack_bytes value;
} attribute;

typedef struct name_walk {
    cursor rdns;
    cursor rdn;
} name_walk;

static name_walk walk_start(dstack_bytes name) {
    cursor outer = cursor_init(name);
    return (name_walk){.rdns = der_enter(&outer, DER_SEQUENCE)};
}

static bool walk_next(name_walk *walk, attribute *out) {
    if (cursor_left(&walk->rdn) == 0) {
        if (cursor_left(&walk->rdns) == 0) {
            return false;
        }
        walk->rdn = der_enter(&walk->rdns, DER_SET);
    }
    cursor pair = der_enter(&walk->rdn, DER_SEQUENCE);
    out->oid = der_oid(&pair);
    out->value = der_read(&pair).value;
    return cursor_ok(&pair);
}

dstack_bytes x509_name_attribute(dstack_bytes name, dstack_bytes oid) {
    dstack_bytes found = {0};
    attribute next;
    for (name_walk walk = walk_start(name); walk_next(&walk, &next);) {
        if (bytes_equal(next.oid, oid)) {
            found = next.value;
        }
    }
    return found;
}

dstack_bytes x509_name_common_name(dstack_bytes name) {
    return x509_name_attribute(name, OID_COMMON_NAME);
}

/* RFC 4519: short names of the attributes that certificates of this field carry. */
static const struct {
    uint8_t oid[3];
    const char *name;
} attribute_names[] = {
    {{0x55, 0x04, 0x03}, "CN"},           {{0x55, 0x04, 0x06}, "C"}, {{0x55, 0x04, 0x07}, "L"},
    {{0x55, 0x04, 0x08}, "ST"},           {{0x55, 0x04, 0x0a}, "O"}, {{0x55, 0x04, 0x0b}, "OU"},
    {{0x55, 0x04, 0x05}, "serialNumber"},
};

static const char *attribute_name(dstack_bytes oid) {
    for (size_t i = 0; i < sizeof attribute_names / sizeof attribute_names[0]; i++) {
        if (bytes_equal(oid, bytes_of(attribute_names[i].oid, 3))) {
            return attribute_names[i].name;
        }
    }
    return "?";
}

char *x509_name_text(dstack_bytes name, char *out, size_t size) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    attribute next;
    for (name_walk walk = walk_start(name); walk_next(&walk, &next);) {
        buf_put_fmt(&text, "%s%s=", text.len > 0 ? ", " : "", attribute_name(next.oid));
        for (size_t i = 0; i < next.value.len; i++) {
            uint8_t c = next.value.data[i];
            buf_put_u8(&text, c >= 0x20 && c < 0x7f ? c : '?');
        }
    }
    size_t len = text.len < size ? text.len : size - 1;
    if (len > 0) {
        memcpy(out, text.data, len);
    }
    out[len] = 0;
    return out;
}

static void put_attribute(dstack_buf *out, dstack_bytes oid, const char *value) {
    if (value != NULL) {
        size_t set = der_begin(out, DER_SET);
        size_t pair = der_begin(out, DER_SEQUENCE);
        der_put_oid(out, oid);
        der_put_text(out, DER_UTF8_STRING, value);
        der_end(out, pair);
        der_end(out, set);
    }
}

int x509_name_build(const x509_name_spec *spec, dstack_buf *out, dstack_error *err) {
    size_t mark = der_begin(out, DER_SEQUENCE);
    put_attribute(out, OID_ORGANIZATION, spec->organization);
    put_attribute(out, OID_ORGANIZATIONAL_UNIT, spec->organizational_unit);
    put_attribute(out, OID_COMMON_NAME, spec->common_name);
    der_end(out, mark);
    return buf_check(out, err);
}
