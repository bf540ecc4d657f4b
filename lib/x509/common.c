#include "x509/common.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "x509/oids.h"

dstack_bytes x509_read_algorithm(cursor *c, dstack_bytes *oid, x509_signature_algorithm *known) {
    dstack_bytes whole = der_take_whole(c, DER_SEQUENCE);
    cursor outer = cursor_init(whole);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    *oid = der_oid(&inner);
    *known = X509_SIG_OTHER;
    if (bytes_equal(*oid, OID_ECDSA_SHA256)) {
        *known = X509_SIG_ECDSA_SHA256;
    } else if (bytes_equal(*oid, OID_ECDSA_SHA384)) {
        *known = X509_SIG_ECDSA_SHA384;
    } else if (cursor_left(&inner) > 0) {
        der_read(&inner);
    }
    der_leave(c, &inner);
    return whole;
}

void x509_put_algorithm(dstack_buf *out, ecdsa_curve curve) {
    size_t mark = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, curve == ECDSA_P256 ? OID_ECDSA_SHA256 : OID_ECDSA_SHA384);
    der_end(out, mark);
}

dstack_bytes x509_read_name(cursor *c) {
    dstack_bytes whole = der_take_whole(c, DER_SEQUENCE);
    cursor outer = cursor_init(whole);
    cursor rdns = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&rdns) > 0) {
        cursor rdn = der_enter(&rdns, DER_SET);
        if (cursor_left(&rdn) == 0) {
            rdns.failed = true; /* RFC 5280, 4.1.2.4: SET SIZE (1..MAX) */
        }
        while (cursor_left(&rdn) > 0) {
            cursor attribute = der_enter(&rdn, DER_SEQUENCE);
            der_oid(&attribute);
            der_read(&attribute);
            der_leave(&rdn, &attribute);
        }
        der_leave(&rdns, &rdn);
    }
    der_leave(c, &rdns);
    return whole;
}

x509_extension x509_read_extension(cursor *c) {
    x509_extension extension = {0};
    cursor inner = der_enter(c, DER_SEQUENCE);
    extension.oid = der_oid(&inner);
    if (der_peek(&inner) == DER_BOOLEAN) {
        extension.critical = der_boolean(&inner);
        if (!extension.critical) {
            inner.failed = true; /* X.690, 11.5: a default value is not encoded */
        }
    }
    extension.value = der_take(&inner, DER_OCTET_STRING);
    der_leave(c, &inner);
    return extension;
}

/* RFC 5280, 4.2.1.6: the alternatives this library reads; others are X509_SAN_OTHER. */
static x509_san san_of(der_element element) {
    x509_san san = {.kind = X509_SAN_OTHER, .value = element.value};
    switch (element.tag) {
    case DER_CONTEXT(1):
        san.kind = X509_SAN_EMAIL;
        break;
    case DER_CONTEXT(2):
        san.kind = X509_SAN_DNS;
        break;
    case DER_CONTEXT(6):
        san.kind = X509_SAN_URI;
        break;
    case DER_CONTEXT(7):
        san.kind = X509_SAN_IP;
        break;
    default:
        break;
    }
    return san;
}

bool x509_general_name_next(dstack_bytes names, size_t *position, x509_san *out) {
    cursor outer = cursor_init(names);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    cursor_skip(&inner, *position);
    if (!cursor_ok(&inner) || cursor_left(&inner) == 0) {
        return false;
    }
    *out = san_of(der_read(&inner));
    *position = inner.pos;
    return cursor_ok(&inner);
}

static bool san_is_sound(x509_san san) {
    bool sound = san.kind == X509_SAN_OTHER || san.value.len > 0;
    if (san.kind == X509_SAN_IP) {
        sound = san.value.len == 4 || san.value.len == 16;
    } else if (san.kind != X509_SAN_OTHER) {
        for (size_t i = 0; sound && i < san.value.len; i++) { /* IA5, and no NUL to hide behind */
            sound = san.value.data[i] > 0 && san.value.data[i] < 0x80;
        }
    }
    return sound;
}

bool x509_general_names_valid(dstack_bytes value) {
    cursor outer = cursor_init(value);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    bool sound = cursor_left(&inner) > 0;
    while (sound && cursor_left(&inner) > 0) {
        sound = san_is_sound(san_of(der_read(&inner)));
    }
    der_leave(&outer, &inner);
    return sound && cursor_done(&outer);
}

int x509_put_general_names(dstack_buf *out, const char *const *names, size_t count,
                           dstack_error *err) {
    size_t mark = der_begin(out, DER_SEQUENCE);
    for (size_t i = 0; i < count; i++) {
        uint8_t address[16];
        x509_san san = {X509_SAN_DNS, bytes_of_str(names[i])};
        if (inet_pton(AF_INET, names[i], address) == 1) {
            san = (x509_san){X509_SAN_IP, bytes_of(address, 4)};
        } else if (inet_pton(AF_INET6, names[i], address) == 1) {
            san = (x509_san){X509_SAN_IP, bytes_of(address, 16)};
        }
        if (!san_is_sound(san)) {
            return error_set(err, DSTACK_E_ARGUMENT,
                             "alternative name \"%s\" is empty or holds characters outside ASCII",
                             names[i]);
        }
        der_put(out, san.kind == X509_SAN_IP ? DER_CONTEXT(7) : DER_CONTEXT(2), san.value);
    }
    der_end(out, mark);
    return buf_check(out, err);
}

static void digest_for(ecdsa_curve curve, dstack_bytes data, uint8_t *digest) {
    hash_once(curve == ECDSA_P256 ? HASH_SHA256 : HASH_SHA384, data, digest);
}

int x509_put_signed(dstack_buf *out, dstack_bytes content, const ecdsa_private *signer,
                    bool deterministic, dstack_error *err) {
    uint8_t digest[HASH_MAX_SIZE];
    uint8_t raw[ECDSA_MAX_RAW_SIZE];
    ecdsa_curve curve = ecdsa_key_curve(ecdsa_private_public(signer));
    size_t scalar = ecdsa_scalar_size(curve);
    digest_for(curve, content, digest);
    int rc = deterministic ? ecdsa_sign_deterministic(signer, bytes_of(digest, scalar), raw, err)
                           : ecdsa_sign_raw(signer, bytes_of(digest, scalar), raw, err);
    if (rc != 0) {
        return rc;
    }
    size_t mark = der_begin(out, DER_SEQUENCE);
    buf_put_bytes(out, content);
    x509_put_algorithm(out, curve);
    size_t bits = der_begin(out, DER_BIT_STRING);
    buf_put_u8(out, 0);
    rc = ecdsa_raw_to_der(curve, bytes_of(raw, 2 * scalar), out, err);
    der_end(out, bits);
    der_end(out, mark);
    return rc != 0 ? rc : buf_check(out, err);
}

void x509_put_extension(dstack_buf *out, dstack_bytes oid, bool critical, dstack_bytes value) {
    size_t mark = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, oid);
    if (critical) {
        der_put_boolean(out, true);
    }
    der_put(out, DER_OCTET_STRING, value);
    der_end(out, mark);
}

int x509_verify_signature(x509_signature_algorithm algorithm, const ecdsa_key *key,
                          dstack_bytes data, dstack_bytes signature, dstack_error *err) {
    uint8_t digest[HASH_MAX_SIZE];
    if (algorithm == X509_SIG_OTHER) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "signature algorithm is neither ecdsa-with-SHA256 nor ecdsa-with-SHA384");
    }
    hash_algorithm hash = algorithm == X509_SIG_ECDSA_SHA256 ? HASH_SHA256 : HASH_SHA384;
    hash_once(hash, data, digest);
    return ecdsa_verify_der(key, bytes_of(digest, hash_size(hash)), signature, err);
}

bool x509_cert_has_crl_point(const x509_cert *cert, dstack_bytes uri, bool *has_points) {
    const x509_extension *extension = x509_cert_extension(cert, OID_CRL_POINTS);
    bool found = false;
    *has_points = extension != NULL;
    if (extension == NULL) {
        return false;
    }
    cursor outer = cursor_init(extension->value);
    cursor points = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&points) > 0) {
        cursor name, point = der_enter(&points, DER_SEQUENCE);
        if (der_enter_optional(&point, DER_CONTEXT_CONSTRUCTED(0), &name)) {
            cursor full;
            if (der_enter_optional(&name, DER_CONTEXT_CONSTRUCTED(0), &full)) {
                while (cursor_left(&full) > 0) {
                    x509_san san = san_of(der_read(&full));
                    found |= san.kind == X509_SAN_URI && bytes_equal(san.value, uri);
                }
            }
        }
    }
    return found && cursor_ok(&points);
}
