/* Bodies of POST /verify: what parses gives an attestation or a refusal. */
#include <stdint.h>

#include "base/cursor.h"
#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    verify_request request;
    if (request_parse(bytes_of(data, size), &request, NULL) == 0) {
        dstack_attestation *attestation = NULL;
        dstack_error err;
        (void)request_attestation(&request, &attestation, &err);
        dstack_attestation_free(attestation);
        request_clear(&request);
    }
    return 0;
}
