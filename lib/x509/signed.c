#include "x509/signed.h"

#include "base/error.h"
#include "crypto/rsa.h"
#include "x509/common.h"
#include "x509/oids.h"

/* RFC 8017, appendix A.2; RFC 5754, section 2. */
#define OID_RSA_PSS DER_OID_BYTES(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a)
#define OID_RSA_SHA256 DER_OID_BYTES(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b)
#define OID_RSA_SHA384 DER_OID_BYTES(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c)
#define OID_MGF1 DER_OID_BYTES(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08)
#define OID_SHA384 DER_OID_BYTES(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02)

/* AlgorithmIdentifier of SHA-384, its parameters absent or NULL (RFC 4055, section 2.1). */
static void read_sha384(cursor *c) {
    cursor inner = der_enter(c, DER_SEQUENCE);
    if (!bytes_equal(der_oid(&inner), OID_SHA384)) {
        inner.failed = true;
    }
    if (cursor_left(&inner) > 0 && der_take(&inner, DER_NULL).len != 0) {
        inner.failed = true;
    }
    der_leave(c, &inner);
}

/* RSASSA-PSS-params. The trailer field is its default, which DER leaves out and AMD writes. */
static void read_pss_params(cursor *algorithm) {
    cursor params = der_enter(algorithm, DER_SEQUENCE);
    cursor field = der_enter(&params, DER_CONTEXT_CONSTRUCTED(0));
    read_sha384(&field);
    der_leave(&params, &field);
    field = der_enter(&params, DER_CONTEXT_CONSTRUCTED(1));
    cursor mgf = der_enter(&field, DER_SEQUENCE);
    if (!bytes_equal(der_oid(&mgf), OID_MGF1)) {
        mgf.failed = true;
    }
    read_sha384(&mgf);
    der_leave(&field, &mgf);
    der_leave(&params, &field);
    field = der_enter(&params, DER_CONTEXT_CONSTRUCTED(2));
    if (der_uint(&field) != 48) {
        field.failed = true;
    }
    der_leave(&params, &field);
    if (der_enter_optional(&params, DER_CONTEXT_CONSTRUCTED(3), &field)) {
        if (der_uint(&field) != 1) {
            field.failed = true;
        }
        der_leave(&params, &field);
    }
    der_leave(algorithm, &params);
}

/* The scheme of an AlgorithmIdentifier, which stands behind the signed part. */
static bool read_rsa_scheme(dstack_bytes der, rsa_scheme *scheme) {
    cursor outer = cursor_init(der);
    cursor whole = der_enter(&outer, DER_SEQUENCE);
    der_take_whole(&whole, DER_SEQUENCE);
    cursor algorithm = der_enter(&whole, DER_SEQUENCE);
    const dstack_bytes oid = der_oid(&algorithm);
    if (bytes_equal(oid, OID_RSA_PSS)) {
        *scheme = RSA_PSS_SHA384;
        read_pss_params(&algorithm);
        return cursor_done(&algorithm);
    }
    *scheme = bytes_equal(oid, OID_RSA_SHA256) ? RSA_PKCS1_SHA256 : RSA_PKCS1_SHA384;
    if (*scheme == RSA_PKCS1_SHA384 && !bytes_equal(oid, OID_RSA_SHA384)) {
        return false;
    }
    return der_take(&algorithm, DER_NULL).len == 0 && cursor_done(&algorithm);
}

static int check(dstack_bytes der, x509_signature_algorithm known, dstack_bytes tbs,
                 dstack_bytes signature, dstack_bytes issuer_spki, dstack_error *err) {
    rsa_scheme scheme;
    if (known == X509_SIG_OTHER) {
        if (!read_rsa_scheme(der, &scheme)) {
            return error_set(err, DSTACK_E_UNSUPPORTED,
                             "signature algorithm or its parameters are not ones taken here");
        }
        return rsa_verify(issuer_spki, scheme, tbs, signature, err);
    }
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    const int rc = ecdsa_key_from_spki(&key, issuer_spki, err);
    return rc == 0 ? x509_verify_signature(known, key, tbs, signature, err) : rc;
}

int x509_signed_cert(const x509_cert *cert, dstack_bytes issuer_spki, dstack_error *err) {
    return check(cert->der, cert->signature_algorithm, cert->tbs, cert->signature, issuer_spki,
                 err);
}

int x509_signed_crl(const x509_crl *crl, dstack_bytes issuer_spki, dstack_error *err) {
    return check(crl->der, crl->signature_algorithm, crl->tbs, crl->signature, issuer_spki, err);
}
