#include "verify/dcap/revocation.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/dcap/anchor.h"
#include "x509/oids.h"

int dcap_crl_parse(x509_crl *out, dstack_bytes der, const char *what, dstack_error *err) {
    return x509_crl_parse(out, der, err) == 0 ? 0
                                              : dcap_reclass(err, DSTACK_E_DCAP_CRL_FORMAT, what);
}

int dcap_crl_number(const x509_crl *crl, uint32_t *number, dstack_error *err) {
    uint64_t value = 0;
    dstack_bytes n = crl->number;
    if (n.len > 5 || (n.len > 0 && (n.data[0] & 0x80) != 0)) {
        return error_set(err, DSTACK_E_DCAP_CRL_FORMAT, "a CRL number is beyond 32 bits");
    }
    for (size_t i = 0; i < n.len; i++) {
        value = value << 8 | n.data[i];
    }
    if (value > UINT32_MAX) {
        return error_set(err, DSTACK_E_DCAP_CRL_FORMAT, "a CRL number is beyond 32 bits");
    }
    *number = (uint32_t)value;
    return 0;
}

int dcap_crl_check(const x509_crl *crl, const ecdsa_key *issuer_key, int64_t now, const char *what,
                   dcap_compat *compat, dstack_error *err) {
    if (issuer_key != NULL && (crl->signature_algorithm != X509_SIG_ECDSA_SHA256 ||
                               x509_crl_verify_signature(crl, issuer_key, NULL) != 0)) {
        return error_set(err, DSTACK_E_DCAP_CRL_SIGNATURE,
                         "%s: its signature does not hold under the issuer's key", what);
    }
    if (now >= crl->next_update) {
        return error_set(err, DSTACK_E_DCAP_CRL_EXPIRED, "%s: nextUpdate is %lld, now is %lld",
                         what, (long long)crl->next_update, (long long)now);
    }
    if (now < crl->this_update && !dcap_waive(compat, DSTACK_COMPAT_CRL_NOT_YET_VALID)) {
        return error_set(err, DSTACK_E_DCAP_CRL_NOT_YET_VALID,
                         "%s: thisUpdate is %lld, now is %lld", what, (long long)crl->this_update,
                         (long long)now);
    }
    return 0;
}

/* Walks the URIs of a CRL distribution points extension (RFC 5280, 4.2.1.13). */
static bool next_uri(cursor *points, cursor *names, dstack_bytes *uri) {
    for (;;) {
        while (cursor_left(names) > 0) {
            der_element name = der_read(names);
            if (cursor_ok(names) && name.tag == DER_CONTEXT(6)) {
                *uri = name.value;
                return true;
            }
        }
        if (!cursor_ok(points) || cursor_left(points) == 0) {
            return false;
        }
        cursor point = der_enter(points, DER_SEQUENCE);
        cursor name;
        *names = (cursor){0};
        if (der_enter_optional(&point, DER_CONTEXT_CONSTRUCTED(0), &name)) {
            (void)der_enter_optional(&name, DER_CONTEXT_CONSTRUCTED(0), names);
        }
    }
}

static cursor crl_points(const x509_cert *cert) {
    const x509_extension *extension = x509_cert_extension(cert, OID_CRL_POINTS);
    if (extension == NULL) {
        return (cursor){0};
    }
    cursor outer = cursor_init(extension->value);
    return der_enter(&outer, DER_SEQUENCE);
}

dstack_bytes dcap_cert_crl_uri(const x509_cert *cert) {
    cursor points = crl_points(cert), names = {0};
    dstack_bytes uri;
    return next_uri(&points, &names, &uri) ? uri : (dstack_bytes){NULL, 0};
}

bool dcap_crl_covers(const x509_crl *crl, const x509_cert *cert, bool is_leaf) {
    if (!bytes_equal(crl->issuer, cert->issuer)) {
        return false;
    }
    if (!crl->has_issuing_point) {
        return true;
    }
    if ((crl->only_user_certs && !is_leaf) || (crl->only_ca_certs && is_leaf)) {
        return false;
    }
    if (x509_cert_extension(cert, OID_CRL_POINTS) == NULL) {
        return true;
    }
    cursor points = crl_points(cert), names = {0};
    for (dstack_bytes uri; next_uri(&points, &names, &uri);) {
        if (bytes_equal(uri, crl->issuing_point_uri)) {
            return true;
        }
    }
    return false;
}
