/* The SGX extension of PCK certificates. */
#include <stdint.h>

#include "verify/dcap/pck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_pck_info pck;
    dstack_error err = {0};
    (void)dcap_pck_parse_extension(&pck, (dstack_bytes){data, size}, &err);
    return 0;
}
