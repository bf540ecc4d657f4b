/* Revocation lists: parsing and look-up. */
#include "base/cursor.h"
#include "x509/crl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t serial[] = {0x12, 0x34};
    x509_crl crl;
    if (x509_crl_parse(&crl, bytes_of(data, size), NULL) == 0) {
        int64_t when;
        x509_crl_contains(&crl, bytes_of(serial, sizeof serial), &when);
    }
    return 0;
}
