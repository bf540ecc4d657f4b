/* PEM text, and private keys as text or DER. */
#include "base/auto.h"
#include "base/cursor.h"
#include "crypto/ecdsa.h"
#include "x509/pem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pem_reader reader;
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = true;
    pem_reader_init(&reader, bytes_of(data, size));
    while (found && pem_next(&reader, &block, &found, NULL) == 0) {
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *from_pem = NULL;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *from_der = NULL;
    ecdsa_private_from_pem(&from_pem, bytes_of(data, size), NULL);
    ecdsa_private_from_der(&from_der, bytes_of(data, size), NULL);
    uint8_t raw[ECDSA_MAX_RAW_SIZE];
    ecdsa_der_to_raw(ECDSA_P256, bytes_of(data, size), raw, NULL);
    return 0;
}
