#include "x509/constraints.h"

#include <ctype.h>

#include "base/error.h"
#include "x509/der.h"

/* Tags of GeneralName. */
enum {
    FORM_DNS = DER_CONTEXT(2),
    FORM_DIRECTORY = DER_CONTEXT_CONSTRUCTED(4),
    FORM_IP = DER_CONTEXT(7),
};

/* One name to be held against constraints: content octets; of a directory name, its RDNSequence with
 * header. */
typedef struct name_form {
    uint8_t tag;
    dstack_bytes value;
} name_form;

/* How a comparison that cannot be made for certain counts: an excluded name must not slip through by
 * its spelling, a permitted one must really be it. */
typedef enum match_kind { MATCH_PERMITTED, MATCH_EXCLUDED } match_kind;

/* ---- DNS ---- */

static bool same_letters(dstack_bytes a, dstack_bytes b) {
    bool same = a.len == b.len;
    for (size_t i = 0; same && i < a.len; i++) {
        same = tolower(a.data[i]) == tolower(b.data[i]);
    }
    return same;
}

/* The name is the constraint, or has labels on its left. A constraint that begins with a dot wants
 * at least one (usage beyond the RFC, read as most verifiers do). */
static bool below_domain(dstack_bytes name, dstack_bytes domain) {
    if (domain.len == 0) {
        return true;
    }
    if (name.len < domain.len) {
        return false;
    }
    dstack_bytes tail = bytes_of(name.data + (name.len - domain.len), domain.len);
    bool at_label = name.len == domain.len || domain.data[0] == '.' ||
                    name.data[name.len - domain.len - 1] == '.';
    return at_label && same_letters(tail, domain) &&
           (domain.data[0] != '.' || name.len > domain.len);
}

/* A wildcard stands for names that an excluded domain may be among. */
static bool dns_matches(dstack_bytes name, dstack_bytes domain, match_kind kind) {
    bool wildcard = name.len > 2 && name.data[0] == '*' && name.data[1] == '.';
    return below_domain(name, domain) ||
           (kind == MATCH_EXCLUDED && wildcard &&
            below_domain(domain, bytes_of(name.data + 2, name.len - 2)));
}

/* ---- IP ---- */

static bool ip_matches(dstack_bytes address, dstack_bytes range) {
    bool fits = range.len == 2 * address.len;
    for (size_t i = 0; fits && i < address.len; i++) {
        uint8_t mask = range.data[address.len + i];
        fits = (address.data[i] & mask) == (range.data[i] & mask);
    }
    return fits;
}

static bool is_range(dstack_bytes range) {
    bool sound = range.len == 8 || range.len == 32, ended = false;
    for (size_t i = range.len / 2; sound && i < range.len; i++) {
        for (int bit = 7; bit >= 0; bit--) {
            bool set = (range.data[i] >> bit & 1) != 0;
            sound = sound && !(set && ended);
            ended = ended || !set;
        }
    }
    return sound;
}

/* ---- directory names ---- */

static size_t skip_spaces(dstack_bytes text, size_t at) {
    while (at < text.len && text.data[at] == ' ') {
        at++;
    }
    return at;
}

/* RFC 5280, 7.1 as far as ASCII goes: without case, runs of spaces as one, none at the ends. */
static bool same_text(dstack_bytes a, dstack_bytes b) {
    size_t i = skip_spaces(a, 0), k = skip_spaces(b, 0);
    while (i < a.len && k < b.len) {
        if (a.data[i] == ' ' && b.data[k] == ' ') {
            i = skip_spaces(a, i);
            k = skip_spaces(b, k);
        } else if (tolower(a.data[i]) != tolower(b.data[k])) {
            break;
        } else {
            i++;
            k++;
        }
    }
    return skip_spaces(a, i) == a.len && skip_spaces(b, k) == b.len;
}

static bool is_plain(der_element value) {
    bool plain = value.tag == DER_UTF8_STRING || value.tag == DER_PRINTABLE_STRING ||
                 value.tag == DER_IA5_STRING;
    for (size_t i = 0; plain && i < value.value.len; i++) {
        plain = value.value.data[i] >= 0x20 && value.value.data[i] < 0x7f;
    }
    return plain;
}

/* One AttributeTypeAndValue of each. */
static bool same_attribute(cursor *a, cursor *b, match_kind kind) {
    cursor x = der_enter(a, DER_SEQUENCE), y = der_enter(b, DER_SEQUENCE);
    bool same = bytes_equal(der_oid(&x), der_oid(&y));
    der_element left = der_read(&x), right = der_read(&y);
    der_leave(a, &x);
    der_leave(b, &y);
    if (!same || (left.tag == right.tag && bytes_equal(left.value, right.value))) {
        return same;
    }
    return is_plain(left) && is_plain(right) ? same_text(left.value, right.value)
                                             : kind == MATCH_EXCLUDED;
}

/* The constraint's RDNs begin the name. */
static bool directory_matches(dstack_bytes name, dstack_bytes base, match_kind kind) {
    cursor outer_name = cursor_init(name), outer_base = cursor_init(base);
    cursor n = der_enter(&outer_name, DER_SEQUENCE), b = der_enter(&outer_base, DER_SEQUENCE);
    bool same = true;
    while (same && cursor_ok(&b) && cursor_left(&b) > 0) {
        if (cursor_left(&n) == 0) {
            return false;
        }
        cursor of_name = der_enter(&n, DER_SET), of_base = der_enter(&b, DER_SET);
        do {
            same = same_attribute(&of_name, &of_base, kind);
        } while (same && cursor_left(&of_name) > 0 && cursor_left(&of_base) > 0);
        same = same && cursor_left(&of_name) == 0 && cursor_left(&of_base) == 0;
    }
    bool readable = cursor_ok(&n) && cursor_ok(&b);
    return readable ? same : kind == MATCH_EXCLUDED;
}

/* ---- the extension ---- */

static bool matches(const name_form *name, const name_form *base, match_kind kind) {
    switch (name->tag) {
    case FORM_DNS:
        return dns_matches(name->value, base->value, kind);
    case FORM_IP:
        return ip_matches(name->value, base->value);
    default:
        return directory_matches(name->value, base->value, kind);
    }
}

/* One GeneralSubtree: its base, and nothing else (both distances have their defaults). */
static bool read_subtree(cursor *list, name_form *out) {
    cursor subtree = der_enter(list, DER_SEQUENCE);
    der_element base = der_read(&subtree);
    der_leave(list, &subtree);
    *out = (name_form){base.tag, base.value};
    bool known = base.tag == FORM_DNS || base.tag == FORM_DIRECTORY ||
                 (base.tag == FORM_IP && is_range(base.value));
    return known && cursor_ok(list);
}

/* Whether any base of the list has the name's form, and whether one of them has the name. */
static void search(cursor list, const name_form *name, match_kind kind, bool *any, bool *found) {
    name_form base;
    while (cursor_ok(&list) && cursor_left(&list) > 0 && read_subtree(&list, &base)) {
        bool same = base.tag == name->tag;
        *any = *any || same;
        *found = *found || (same && matches(name, &base, kind));
    }
}

typedef struct constraints {
    cursor permitted, excluded;
} constraints;

static bool list_is_sound(cursor list) {
    name_form base;
    bool sound = cursor_left(&list) > 0;
    while (sound && cursor_left(&list) > 0) {
        sound = read_subtree(&list, &base);
    }
    return sound && cursor_ok(&list);
}

/* False when there is anything in it that is not evaluated here. */
static bool constraints_read(dstack_bytes value, constraints *out) {
    cursor outer = cursor_init(value);
    cursor both = der_enter(&outer, DER_SEQUENCE);
    bool sound = cursor_left(&both) > 0;
    *out = (constraints){cursor_init((dstack_bytes){0}), cursor_init((dstack_bytes){0})};
    if (der_enter_optional(&both, DER_CONTEXT_CONSTRUCTED(0), &out->permitted)) {
        sound = sound && list_is_sound(out->permitted);
    }
    if (der_enter_optional(&both, DER_CONTEXT_CONSTRUCTED(1), &out->excluded)) {
        sound = sound && list_is_sound(out->excluded);
    }
    return sound && cursor_done(&both) && cursor_done(&outer);
}

static bool allows(const constraints *c, const name_form *name) {
    bool any = false, permitted = false, ignored = false, excluded = false;
    search(c->permitted, name, MATCH_PERMITTED, &any, &permitted);
    search(c->excluded, name, MATCH_EXCLUDED, &ignored, &excluded);
    return (!any || permitted) && !excluded;
}

/* An empty subject is no name; every alternative name of a form that constraints know is one. */
static bool allows_cert(const constraints *c, const x509_cert *cert) {
    const name_form subject = {FORM_DIRECTORY, cert->subject};
    cursor outer = cursor_init(cert->subject);
    cursor rdns = der_enter(&outer, DER_SEQUENCE);
    bool good = cursor_left(&rdns) == 0 || allows(c, &subject);
    outer = cursor_init(cert->san);
    cursor names = cert->san.len > 0 ? der_enter(&outer, DER_SEQUENCE) : outer;
    while (good && cursor_ok(&names) && cursor_left(&names) > 0) {
        der_element element = der_read(&names);
        const name_form name = {element.tag, element.value};
        bool known = name.tag == FORM_DNS || name.tag == FORM_IP || name.tag == FORM_DIRECTORY;
        good = !known || allows(c, &name);
    }
    return good && cursor_ok(&names);
}

static int refuse(const x509_cert *cert, const char *what, dstack_error *err) {
    char name[128];
    return error_set(err, DSTACK_E_X509_PATH, "certificate \"%s\" %s",
                     x509_name_text(cert->subject, name, sizeof name), what);
}

int x509_constraints_check(const x509_cert *ca, const x509_cert *const *below, size_t count,
                           dstack_error *err) {
    static const uint8_t oid[] = {0x55, 0x1d, 0x1e};
    constraints c;
    if (!ca->has_name_constraints) {
        return 0;
    }
    const x509_extension *extension = x509_cert_extension(ca, bytes_of(oid, sizeof oid));
    if (extension == NULL || !constraints_read(extension->value, &c)) {
        return refuse(ca, "has name constraints of a form that is not evaluated here", err);
    }
    for (size_t i = 0; i < count; i++) {
        bool exempt = i > 0 && bytes_equal(below[i]->subject, below[i]->issuer);
        if (!exempt && !allows_cert(&c, below[i])) {
            return refuse(below[i], "has a name that the constraints of a CA above it forbid", err);
        }
    }
    return 0;
}
