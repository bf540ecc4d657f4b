#include "cert_profile.h"

#include "base/error.h"
#include "x509/cert.h"

static int check_signature(const x509_cert *cert, dstack_error *err) {
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = x509_cert_key(cert, &key, err);
    rc = rc != 0 ? rc : x509_cert_verify_signature(cert, key, err);
    return error_prefix(err, rc, "certificate self-signature verification failed");
}

static int check_usage(const x509_cert *cert, dstack_error *err) {
    const char *text =
        !cert->has_key_usage ? "certificate key usage extension missing"
        : (cert->key_usage & X509_KU_DIGITAL_SIGNATURE) == 0
            ? "certificate key usage does not permit digital signatures"
        : !cert->has_eku ? "certificate extended key usage extension missing"
        : (cert->eku & (X509_EKU_SERVER_AUTH | X509_EKU_CLIENT_AUTH)) == 0
            ? "certificate extended key usage permits neither server nor client authentication"
        : cert->san.len == 0 ? "certificate SAN extension missing"
                             : NULL;
    return text == NULL ? 0 : error_set(err, DSTACK_E_REFUSED, "%s", text);
}

int cert_profile_check(dstack_bytes der, int64_t now, dstack_error *err) {
    x509_cert cert;
    int rc = x509_cert_parse(&cert, der, err);
    rc = rc != 0 ? rc : check_signature(&cert, err);
    if (rc == 0 && (now < cert.not_before || now > cert.not_after)) {
        rc = error_set(err, DSTACK_E_X509_EXPIRED, "certificate is outside its validity period");
    }
    rc = rc != 0 ? rc : check_usage(&cert, err);
    size_t at = 0;
    x509_san name;
    if (rc == 0 && !x509_cert_san_next(&cert, &at, &name)) {
        rc = error_set(err, DSTACK_E_REFUSED, "certificate SAN extension is empty");
    }
    return rc;
}
