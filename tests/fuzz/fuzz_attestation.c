/* The attestation envelope, both wire forms: what decodes must encode, decode again to the same
 * bytes, and be safe to look at. */
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    if (dstack_attestation_decode(bytes_of(data, size), &a, NULL) != 0) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf once = {0};
    DSTACK_AUTO(buf) dstack_buf twice = {0};
    DSTACK_AUTO(buf) dstack_buf json = {0};
    DSTACK_AUTO(attestation) dstack_attestation *b = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *stripped = NULL;
    if (dstack_attestation_encode(a, DSTACK_ATTESTATION_AS_DECODED, &once, NULL) != 0 ||
        dstack_attestation_decode(bytes_of_buf(&once), &b, NULL) != 0 ||
        dstack_attestation_encode(b, DSTACK_ATTESTATION_AS_DECODED, &twice, NULL) != 0 ||
        !bytes_equal(bytes_of_buf(&once), bytes_of_buf(&twice))) {
        abort();
    }
    if (data[0] == 0 && !bytes_equal(bytes_of(data, size), bytes_of_buf(&once))) {
        abort(); /* SCALE has one encoding of each value */
    }
    (void)dstack_attestation_strip(a, &stripped, NULL);
    (void)dstack_attestation_to_json(a, &json, NULL);
    dstack_registers registers;
    (void)dstack_event_log_replay(a->runtime, &registers, NULL);
    return 0;
}
