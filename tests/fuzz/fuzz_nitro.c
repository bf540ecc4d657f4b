/* AWS Nitro attestation documents. */
#include <dstack/nitro.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_nitro_document document;
    (void)dstack_nitro_document_parse(&document, (dstack_bytes){data, size}, NULL);
    return 0;
}
