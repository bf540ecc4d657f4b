#include "x509/cert.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "x509/common.h"
#include "x509/der.h"
#include "x509/oids.h"

/* ---- the extensions that are decoded -------------------------------------------------------- */

typedef bool (*extension_decoder)(x509_cert *cert, dstack_bytes value);

static bool decode_basic_constraints(x509_cert *cert, dstack_bytes value) {
    cursor outer = cursor_init(value);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    if (der_peek(&inner) == DER_BOOLEAN) { /* an explicit FALSE is against DER, but common */
        cert->is_ca = der_boolean(&inner);
    }
    if (der_peek(&inner) == DER_INTEGER) {
        uint64_t path_len = der_uint(&inner);
        cert->has_path_len = true;
        cert->path_len = path_len > UINT32_MAX ? UINT32_MAX : (uint32_t)path_len;
    }
    der_leave(&outer, &inner);
    cert->has_basic_constraints = true;
    return cursor_done(&outer) && (cert->is_ca || !cert->has_path_len);
}

static bool decode_key_usage(x509_cert *cert, dstack_bytes value) {
    cursor c = cursor_init(value);
    cert->key_usage = der_named_bits(&c);
    cert->has_key_usage = true;
    return cursor_done(&c);
}

static unsigned eku_bit(dstack_bytes oid) {
    if (bytes_equal(oid, OID_SERVER_AUTH)) {
        return X509_EKU_SERVER_AUTH;
    }
    if (bytes_equal(oid, OID_CLIENT_AUTH)) {
        return X509_EKU_CLIENT_AUTH;
    }
    return bytes_equal(oid, OID_ANY_EXT_KEY_USAGE) ? X509_EKU_ANY : X509_EKU_OTHER;
}

static bool decode_ext_key_usage(x509_cert *cert, dstack_bytes value) {
    cursor outer = cursor_init(value);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&inner) > 0) {
        cert->eku |= eku_bit(der_oid(&inner));
    }
    der_leave(&outer, &inner);
    cert->has_eku = true;
    return cursor_done(&outer) && cert->eku != 0;
}

static bool decode_subject_alt_name(x509_cert *cert, dstack_bytes value) {
    cert->san = value;
    return x509_general_names_valid(value);
}

static bool decode_subject_key_id(x509_cert *cert, dstack_bytes value) {
    cursor c = cursor_init(value);
    cert->ski = der_take(&c, DER_OCTET_STRING);
    return cursor_done(&c);
}

static bool decode_authority_key_id(x509_cert *cert, dstack_bytes value) {
    cursor outer = cursor_init(value);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    if (der_peek(&inner) == DER_CONTEXT(0)) {
        cert->aki = der_take(&inner, DER_CONTEXT(0));
    }
    while (cursor_left(&inner) > 0) { /* issuer and serial number: not used */
        der_read(&inner);
    }
    der_leave(&outer, &inner);
    return cursor_done(&outer);
}

static bool decode_name_constraints(x509_cert *cert, dstack_bytes value) {
    cursor outer = cursor_init(value);
    der_take(&outer, DER_SEQUENCE);
    cert->has_name_constraints = true;
    return cursor_done(&outer);
}

static const struct {
    const char *name;
    uint8_t oid[3];
    extension_decoder decode;
} decoded_extensions[] = {
    {"subjectKeyIdentifier", {0x55, 0x1d, 0x0e}, decode_subject_key_id},
    {"keyUsage", {0x55, 0x1d, 0x0f}, decode_key_usage},
    {"subjectAltName", {0x55, 0x1d, 0x11}, decode_subject_alt_name},
    {"basicConstraints", {0x55, 0x1d, 0x13}, decode_basic_constraints},
    {"nameConstraints", {0x55, 0x1d, 0x1e}, decode_name_constraints},
    {"authorityKeyIdentifier", {0x55, 0x1d, 0x23}, decode_authority_key_id},
    {"extKeyUsage", {0x55, 0x1d, 0x25}, decode_ext_key_usage},
};

#define DECODED_COUNT (sizeof decoded_extensions / sizeof decoded_extensions[0])

static int extensions_parse(x509_cert *cert, dstack_bytes list, dstack_error *err) {
    bool seen[DECODED_COUNT] = {false};
    cursor outer = cursor_init(list);
    cursor c = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&c) > 0) {
        if (cert->extension_count == X509_MAX_EXTENSIONS) {
            return error_set(err, DSTACK_E_LIMIT, "certificate has more than %d extensions",
                             X509_MAX_EXTENSIONS);
        }
        x509_extension extension = x509_read_extension(&c);
        size_t i = 0;
        while (i < DECODED_COUNT &&
               !bytes_equal(extension.oid, bytes_of(decoded_extensions[i].oid, 3))) {
            i++;
        }
        if (i < DECODED_COUNT && seen[i]) {
            return error_set(err, DSTACK_E_FORMAT, "certificate has %s twice",
                             decoded_extensions[i].name);
        }
        if (i < DECODED_COUNT && !decoded_extensions[i].decode(cert, extension.value)) {
            return error_set(err, DSTACK_E_FORMAT, "certificate has a malformed %s",
                             decoded_extensions[i].name);
        }
        if (i < DECODED_COUNT) {
            seen[i] = true;
        } else if (extension.critical) {
            cert->unknown_critical = true;
        }
        cert->extensions[cert->extension_count++] = extension;
    }
    der_leave(&outer, &c);
    if (cert->extension_count == 0) {
        outer.failed = true; /* RFC 5280, 4.1: SIZE (1..MAX) */
    }
    return der_finish(&outer, "certificate extensions", err);
}

/* ---- the certificate ------------------------------------------------------------------------ */

static void validity_parse(x509_cert *cert, cursor *tbs) {
    cursor validity = der_enter(tbs, DER_SEQUENCE);
    cert->not_before = der_time(&validity);
    cert->not_after = der_time(&validity);
    der_leave(tbs, &validity);
}

static void spki_parse(x509_cert *cert, cursor *tbs) {
    cert->spki = der_take_whole(tbs, DER_SEQUENCE);
    cursor outer = cursor_init(cert->spki);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    der_take(&inner, DER_SEQUENCE);
    der_bit_string(&inner);
    der_leave(tbs, &inner);
}

static int tbs_parse(x509_cert *cert, dstack_bytes *algorithm, dstack_error *err) {
    x509_signature_algorithm known;
    dstack_bytes oid, extensions = {0};
    cursor version, list;
    cursor outer = cursor_init(cert->tbs);
    cursor tbs = der_enter(&outer, DER_SEQUENCE);
    if (!der_enter_optional(&tbs, DER_CONTEXT_CONSTRUCTED(0), &version) ||
        der_uint(&version) != 2) {
        return error_set(err, DSTACK_E_FORMAT, "certificate is not X.509 version 3");
    }
    der_leave(&tbs, &version);
    cert->serial = der_integer(&tbs);
    *algorithm = x509_read_algorithm(&tbs, &oid, &known);
    cert->issuer = x509_read_name(&tbs);
    validity_parse(cert, &tbs);
    cert->subject = x509_read_name(&tbs);
    spki_parse(cert, &tbs);
    if (der_enter_optional(&tbs, DER_CONTEXT_CONSTRUCTED(3), &list)) {
        extensions = der_take_whole(&list, DER_SEQUENCE);
        der_leave(&tbs, &list);
    }
    der_leave(&outer, &tbs); /* unique identifiers, [1] and [2], end up here as left-over bytes */
    int rc = der_finish(&outer, "certificate", err);
    return rc == 0 && extensions.len > 0 ? extensions_parse(cert, extensions, err) : rc;
}

int x509_cert_parse(x509_cert *out, dstack_bytes der, dstack_error *err) {
    dstack_bytes inner_algorithm;
    *out = (x509_cert){.der = der};
    if (der.len > X509_MAX_CERT_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "certificate of %zu bytes exceeds %d", der.len,
                         X509_MAX_CERT_SIZE);
    }
    cursor outer = cursor_init(der);
    cursor c = der_enter(&outer, DER_SEQUENCE);
    out->tbs = der_take_whole(&c, DER_SEQUENCE);
    dstack_bytes algorithm =
        x509_read_algorithm(&c, &out->signature_oid, &out->signature_algorithm);
    out->signature = der_bit_string(&c);
    if (!cursor_done(&c)) {
        outer.failed = true;
    }
    int rc = der_finish(&outer, "certificate", err);
    if (rc == 0) {
        rc = tbs_parse(out, &inner_algorithm, err);
    }
    if (rc == 0 && !bytes_equal(algorithm, inner_algorithm)) {
        rc = error_set(err, DSTACK_E_FORMAT,
                       "certificate names one signature algorithm inside and another outside");
    }
    return rc;
}

const x509_extension *x509_cert_extension(const x509_cert *cert, dstack_bytes oid) {
    for (size_t i = 0; i < cert->extension_count; i++) {
        if (bytes_equal(cert->extensions[i].oid, oid)) {
            return &cert->extensions[i];
        }
    }
    return NULL;
}

size_t x509_cert_extension_count(const x509_cert *cert, dstack_bytes oid) {
    size_t count = 0;
    for (size_t i = 0; i < cert->extension_count; i++) {
        count += bytes_equal(cert->extensions[i].oid, oid);
    }
    return count;
}

bool x509_extension_is_decoded(dstack_bytes oid) {
    for (size_t i = 0; i < DECODED_COUNT; i++) {
        if (bytes_equal(oid, bytes_of(decoded_extensions[i].oid, 3))) {
            return true;
        }
    }
    return false;
}

bool x509_cert_san_next(const x509_cert *cert, size_t *position, x509_san *out) {
    return cert->san.len > 0 && x509_general_name_next(cert->san, position, out);
}

int x509_cert_key(const x509_cert *cert, ecdsa_key **out, dstack_error *err) {
    return ecdsa_key_from_spki(out, cert->spki, err);
}

int x509_cert_verify_signature(const x509_cert *cert, const ecdsa_key *issuer_key,
                               dstack_error *err) {
    return x509_verify_signature(cert->signature_algorithm, issuer_key, cert->tbs, cert->signature,
                                 err);
}
