/* Where a certificate says that its issuer and its revocation lists are to be had. */
#include "verify/tpm/tpm.h"
#include "x509/oids.h"

/* RFC 5280, sections 4.2.2.1 and 4.2.1.6: id-pe-authorityInfoAccess, id-ad-caIssuers, and the tag of
 * a uniformResourceIdentifier in a GeneralName. */
#define OID_AUTHORITY_INFO DER_OID_BYTES(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01)
#define OID_CA_ISSUERS DER_OID_BYTES(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02)
#define TAG_URI DER_CONTEXT(6)

static void add(der_element name, dstack_bytes *urls, size_t *count) {
    if (name.tag == TAG_URI && *count < TPM_MAX_URLS) {
        urls[(*count)++] = name.value;
    }
}

size_t tpm_issuer_urls(const x509_cert *cert, dstack_bytes urls[TPM_MAX_URLS]) {
    const x509_extension *extension = x509_cert_extension(cert, OID_AUTHORITY_INFO);
    size_t count = 0;
    if (extension == NULL) {
        return 0;
    }
    cursor outer = cursor_init(extension->value);
    cursor list = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&list) > 0) {
        cursor access = der_enter(&list, DER_SEQUENCE);
        const dstack_bytes method = der_oid(&access);
        const der_element location = der_read(&access);
        if (cursor_ok(&access) && bytes_equal(method, OID_CA_ISSUERS)) {
            add(location, urls, &count);
        }
    }
    return count;
}

size_t tpm_crl_urls(const x509_cert *cert, dstack_bytes urls[TPM_MAX_URLS]) {
    const x509_extension *extension = x509_cert_extension(cert, OID_CRL_POINTS);
    size_t count = 0;
    if (extension == NULL) {
        return 0;
    }
    cursor outer = cursor_init(extension->value);
    cursor points = der_enter(&outer, DER_SEQUENCE);
    while (cursor_left(&points) > 0) {
        cursor name, full, point = der_enter(&points, DER_SEQUENCE);
        if (!der_enter_optional(&point, DER_CONTEXT_CONSTRUCTED(0), &name) ||
            !der_enter_optional(&name, DER_CONTEXT_CONSTRUCTED(0), &full)) {
            continue;
        }
        while (cursor_left(&full) > 0) {
            add(der_read(&full), urls, &count);
        }
    }
    return count;
}
