#include "x509/csr.h"

#include "base/buf.h"
#include "base/error.h"
#include "x509/build.h"
#include "x509/common.h"
#include "x509/der.h"
#include "x509/oids.h"

/* RFC 2986, 4.1 and RFC 2985, 5.4.2: of the attributes only the extension request is looked at, and
 * of its extensions only subjectAltName. */
static bool extensions_read(cursor *values, x509_csr *csr) {
    bool sound = true;
    cursor list = der_enter(values, DER_SEQUENCE);
    while (cursor_left(&list) > 0) {
        x509_extension extension = x509_read_extension(&list);
        if (bytes_equal(extension.oid, OID_SUBJECT_ALT_NAME)) {
            sound = sound && csr->san.len == 0 && x509_general_names_valid(extension.value);
            csr->san = extension.value;
        }
    }
    der_leave(values, &list);
    return sound && cursor_ok(values);
}

static bool attributes_read(cursor *info, x509_csr *csr) {
    bool sound = true;
    cursor attributes;
    if (!der_enter_optional(info, DER_CONTEXT_CONSTRUCTED(0), &attributes)) {
        return true;
    }
    while (sound && cursor_left(&attributes) > 0) {
        cursor attribute = der_enter(&attributes, DER_SEQUENCE);
        dstack_bytes oid = der_oid(&attribute);
        cursor values = der_enter(&attribute, DER_SET);
        if (bytes_equal(oid, OID_EXTENSION_REQUEST)) {
            sound = extensions_read(&values, csr);
            der_leave(&attribute, &values);
        }
        der_leave(&attributes, &attribute);
    }
    der_leave(info, &attributes);
    return sound && cursor_ok(info);
}

static int info_parse(x509_csr *csr, dstack_error *err) {
    cursor outer = cursor_init(csr->info);
    cursor info = der_enter(&outer, DER_SEQUENCE);
    bool sound = der_uint(&info) == 0; /* v1 */
    csr->subject = x509_read_name(&info);
    csr->spki = der_take_whole(&info, DER_SEQUENCE);
    sound = attributes_read(&info, csr) && sound;
    der_leave(&outer, &info);
    if (!sound) {
        return error_set(err, DSTACK_E_FORMAT,
                         "certification request: wrong version or malformed attributes");
    }
    return der_finish(&outer, "certification request", err);
}

int x509_csr_parse(x509_csr *out, dstack_bytes der, dstack_error *err) {
    dstack_bytes oid;
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    *out = (x509_csr){.der = der};
    if (der.len > X509_MAX_CERT_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "certification request of %zu bytes exceeds %d",
                         der.len, X509_MAX_CERT_SIZE);
    }
    cursor outer = cursor_init(der);
    cursor c = der_enter(&outer, DER_SEQUENCE);
    out->info = der_take_whole(&c, DER_SEQUENCE);
    x509_read_algorithm(&c, &oid, &out->signature_algorithm);
    out->signature = der_bit_string(&c);
    der_leave(&outer, &c);
    int rc = der_finish(&outer, "certification request", err);
    if (rc == 0) {
        rc = info_parse(out, err);
    }
    if (rc == 0) {
        rc = ecdsa_key_from_spki(&key, out->spki, err);
    }
    if (rc == 0) {
        rc = x509_verify_signature(out->signature_algorithm, key, out->info, out->signature, err);
    }
    return rc;
}

bool x509_csr_san_next(const x509_csr *csr, size_t *position, x509_san *out) {
    return csr->san.len > 0 && x509_general_name_next(csr->san, position, out);
}

static int put_attributes(dstack_buf *out, const char *const *names, size_t count,
                          dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf san = {0};
    size_t attributes = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
    int rc = 0;
    if (count > 0) {
        rc = x509_put_general_names(&san, names, count, err);
        size_t attribute = der_begin(out, DER_SEQUENCE);
        der_put_oid(out, OID_EXTENSION_REQUEST);
        size_t values = der_begin(out, DER_SET);
        size_t list = der_begin(out, DER_SEQUENCE);
        x509_put_extension(out, OID_SUBJECT_ALT_NAME, false, bytes_of_buf(&san));
        der_end(out, list);
        der_end(out, values);
        der_end(out, attribute);
    }
    der_end(out, attributes);
    return rc;
}

int x509_csr_build(const ecdsa_private *key, const char *common_name, const char *const *names,
                   size_t name_count, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf info = {0};
    x509_name_spec subject = {.common_name = common_name};
    size_t mark = der_begin(&info, DER_SEQUENCE);
    der_put_uint(&info, 0);
    int rc = x509_name_build(&subject, &info, err);
    if (rc == 0) {
        rc = ecdsa_key_spki(ecdsa_private_public(key), &info, err);
    }
    if (rc == 0) {
        rc = put_attributes(&info, names, name_count, err);
    }
    der_end(&info, mark);
    if (rc == 0) {
        rc = buf_check(&info, err);
    }
    return rc != 0 ? rc : x509_put_signed(out, bytes_of_buf(&info), key, false, err);
}
