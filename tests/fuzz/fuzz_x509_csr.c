/* PKCS#10 requests. */
#include "base/cursor.h"
#include "x509/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    x509_csr csr;
    x509_san san;
    x509_csr_parse(&csr, bytes_of(data, size), NULL);
    for (size_t position = 0; x509_csr_san_next(&csr, &position, &san);) {
    }
    return 0;
}
