/* Certificates: parsing, and everything that walks a parsed one. */
#include "base/auto.h"
#include "base/cursor.h"
#include "x509/common.h"
#include "x509/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    x509_cert cert;
    char text[80];
    if (x509_cert_parse(&cert, bytes_of(data, size), NULL) != 0) {
        return 0;
    }
    x509_name_text(cert.subject, text, sizeof text);
    x509_name_text(cert.issuer, text, sizeof text);
    x509_san san;
    for (size_t position = 0; x509_cert_san_next(&cert, &position, &san);) {
    }
    bool has_points;
    x509_cert_has_crl_point(&cert, bytes_of_str("http://example.com/root.crl"), &has_points);
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    if (x509_cert_key(&cert, &key, NULL) == 0) {
        x509_cert_verify_signature(&cert, key, NULL);
    }
    x509_path path = {0};
    x509_path_options options = {.now = cert.not_before};
    if (x509_path_verify(&cert, &cert, 1, &cert, &options, &path, NULL) == 0) {
        x509_path_clear(&path);
    }
    return 0;
}
