#include "x509/crl.h"

#include "base/buf.h"
#include "base/error.h"
#include "x509/common.h"
#include "x509/der.h"
#include "x509/oids.h"

/* RFC 5280, 5.2.5. Lists restricted to some reasons, to attribute certificates, or naming
 * certificates of other issuers do not answer "is this certificate good?" and are refused. */
static bool issuing_point_parse(x509_crl *crl, dstack_bytes value) {
    cursor name, full = {0};
    bool has_name = false;
    cursor outer = cursor_init(value);
    cursor point = der_enter(&outer, DER_SEQUENCE);
    if (der_enter_optional(&point, DER_CONTEXT_CONSTRUCTED(0), &name)) {
        has_name = der_enter_optional(&name, DER_CONTEXT_CONSTRUCTED(0), &full);
        while (cursor_left(&full) > 0) {
            der_element element = der_read(&full);
            if (element.tag == DER_CONTEXT(6) && crl->issuing_point_uri.len == 0) {
                crl->issuing_point_uri = element.value;
            }
        }
        der_leave(&point, &full);
        der_leave(&point, &name);
    }
    bool sound = has_name;
    while (cursor_left(&point) > 0) {
        der_element flag = der_read(&point);
        bool set = flag.value.len == 1 && flag.value.data[0] == 0xff;
        if (flag.tag == DER_CONTEXT(1) && set) {
            crl->only_user_certs = true;
        } else if (flag.tag == DER_CONTEXT(2) && set) {
            crl->only_ca_certs = true;
        } else {
            sound = false;
        }
    }
    der_leave(&outer, &point);
    crl->has_issuing_point = true;
    return sound && cursor_done(&outer) && !(crl->only_user_certs && crl->only_ca_certs);
}

static bool number_parse(x509_crl *crl, dstack_bytes value) {
    cursor c = cursor_init(value);
    crl->number = der_integer(&c);
    bool sound = cursor_done(&c) && !crl->has_number && crl->number.len <= 20;
    crl->has_number = true;
    return sound;
}

static bool key_id_parse(x509_crl *crl, dstack_bytes value) {
    cursor outer = cursor_init(value);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    if (der_peek(&inner) == DER_CONTEXT(0)) {
        crl->aki = der_take(&inner, DER_CONTEXT(0));
    }
    return cursor_ok(&inner) && cursor_done(&outer);
}

static int extensions_parse(x509_crl *crl, dstack_bytes list, dstack_error *err) {
    size_t count = 0;
    cursor outer = cursor_init(list);
    cursor c = der_enter(&outer, DER_SEQUENCE);
    for (; cursor_left(&c) > 0; count++) {
        bool sound = true;
        x509_extension extension = x509_read_extension(&c);
        if (bytes_equal(extension.oid, OID_DELTA_CRL)) {
            return error_set(err, DSTACK_E_UNSUPPORTED, "CRL is a delta list");
        }
        if (bytes_equal(extension.oid, OID_CRL_NUMBER)) {
            sound = number_parse(crl, extension.value);
        } else if (bytes_equal(extension.oid, OID_ISSUING_POINT)) {
            sound = !crl->has_issuing_point && issuing_point_parse(crl, extension.value);
        } else if (bytes_equal(extension.oid, OID_AUTHORITY_KEY_ID)) {
            sound = key_id_parse(crl, extension.value);
        } else if (extension.critical) {
            return error_set(err, DSTACK_E_UNSUPPORTED, "CRL has an unknown critical extension");
        }
        if (!sound) {
            return error_set(err, DSTACK_E_FORMAT,
                             "CRL has a malformed, repeated or unacceptable extension (number %zu)",
                             count + 1);
        }
    }
    der_leave(&outer, &c);
    if (count == 0) {
        return error_set(err, DSTACK_E_FORMAT, "CRL has no extensions");
    }
    return der_finish(&outer, "CRL extensions", err);
}

/* One entry of revokedCertificates. False where it is malformed or has an extension that changes
 * what it means. */
static bool entry_read(cursor *list, dstack_bytes *serial, int64_t *when) {
    bool sound = true;
    cursor entry = der_enter(list, DER_SEQUENCE);
    *serial = der_integer(&entry);
    *when = der_time(&entry);
    if (cursor_left(&entry) > 0) {
        cursor extensions = der_enter(&entry, DER_SEQUENCE);
        while (cursor_left(&extensions) > 0) {
            x509_extension extension = x509_read_extension(&extensions);
            bool known = bytes_equal(extension.oid, OID_CRL_REASON) ||
                         bytes_equal(extension.oid, OID_INVALIDITY_DATE);
            sound = sound && !bytes_equal(extension.oid, OID_CERTIFICATE_ISSUER) &&
                    (known || !extension.critical);
        }
        der_leave(&entry, &extensions);
    }
    der_leave(list, &entry);
    return sound && cursor_ok(list);
}

static bool revoked_parse(x509_crl *crl) {
    dstack_bytes serial;
    int64_t when;
    bool sound = true;
    cursor c = cursor_init(crl->revoked);
    while (sound && cursor_left(&c) > 0) {
        sound = entry_read(&c, &serial, &when);
        crl->revoked_count++;
    }
    return sound;
}

static int tbs_parse(x509_crl *crl, bool bare, dstack_bytes *algorithm, dstack_error *err) {
    x509_signature_algorithm known;
    dstack_bytes oid, extensions = {0};
    cursor list;
    cursor outer = cursor_init(crl->tbs);
    cursor tbs = der_enter(&outer, DER_SEQUENCE);
    if (der_peek(&tbs) != DER_INTEGER || der_uint(&tbs) != 1) {
        return error_set(err, DSTACK_E_FORMAT, "CRL is not version 2");
    }
    *algorithm = x509_read_algorithm(&tbs, &oid, &known);
    crl->issuer = x509_read_name(&tbs);
    crl->this_update = der_time(&tbs);
    crl->next_update = der_time(&tbs); /* optional in RFC 5280; a list without an end is refused */
    if (der_peek(&tbs) == DER_SEQUENCE) {
        crl->revoked = der_take(&tbs, DER_SEQUENCE);
    }
    if (der_enter_optional(&tbs, DER_CONTEXT_CONSTRUCTED(0), &list)) {
        extensions = der_take_whole(&list, DER_SEQUENCE);
        der_leave(&tbs, &list);
    }
    der_leave(&outer, &tbs);
    int rc = der_finish(&outer, "CRL", err);
    if (rc == 0 && !revoked_parse(crl)) {
        rc = error_set(err, DSTACK_E_FORMAT, "CRL entry %zu is malformed or not acceptable",
                       crl->revoked_count);
    }
    if (rc == 0 && extensions.len == 0) {
        return bare ? 0 : error_set(err, DSTACK_E_FORMAT, "CRL has no extensions");
    }
    return rc != 0 ? rc : extensions_parse(crl, extensions, err);
}

static int parse(x509_crl *out, dstack_bytes der, bool bare, dstack_error *err) {
    dstack_bytes inner_algorithm = {0};
    *out = (x509_crl){.der = der};
    if (der.len > X509_MAX_CRL_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "CRL of %zu bytes exceeds %d", der.len,
                         X509_MAX_CRL_SIZE);
    }
    cursor outer = cursor_init(der);
    cursor c = der_enter(&outer, DER_SEQUENCE);
    out->tbs = der_take_whole(&c, DER_SEQUENCE);
    dstack_bytes algorithm =
        x509_read_algorithm(&c, &out->signature_oid, &out->signature_algorithm);
    out->signature = der_bit_string(&c);
    der_leave(&outer, &c);
    int rc = der_finish(&outer, "CRL", err);
    if (rc == 0) {
        rc = tbs_parse(out, bare, &inner_algorithm, err);
    }
    if (rc == 0 && !bytes_equal(algorithm, inner_algorithm)) {
        rc = error_set(err, DSTACK_E_FORMAT,
                       "CRL names one signature algorithm inside and another outside");
    }
    return rc;
}

int x509_crl_parse(x509_crl *out, dstack_bytes der, dstack_error *err) {
    return parse(out, der, false, err);
}

int x509_crl_parse_bare(x509_crl *out, dstack_bytes der, dstack_error *err) {
    return parse(out, der, true, err);
}

int x509_crl_verify_signature(const x509_crl *crl, const ecdsa_key *issuer_key, dstack_error *err) {
    return x509_verify_signature(crl->signature_algorithm, issuer_key, crl->tbs, crl->signature,
                                 err);
}

bool x509_crl_contains(const x509_crl *crl, dstack_bytes serial, int64_t *revoked_at) {
    cursor c = cursor_init(crl->revoked);
    while (cursor_left(&c) > 0) {
        /* Entries were checked when the list was parsed; one that fails now still counts as listed,
         * should it ever happen. */
        cursor entry = der_enter(&c, DER_SEQUENCE);
        dstack_bytes listed = der_take(&entry, DER_INTEGER);
        if (!cursor_ok(&entry) || bytes_equal(listed, serial)) {
            if (revoked_at != NULL) {
                *revoked_at = der_time(&entry);
            }
            return true;
        }
    }
    return false;
}
