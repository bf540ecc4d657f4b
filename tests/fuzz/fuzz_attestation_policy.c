/* Attestation policies, YAML and JSON: what parses has a name. */
#include <stdint.h>
#include <stdlib.h>

#include <dstack/attestation_policy.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_attestation_policy *policy = NULL;
    if (dstack_attestation_policy_parse(&policy, bytes_of(data, size), NULL) == 0 &&
        dstack_attestation_policy_id(policy)[0] == '\0') {
        abort();
    }
    dstack_attestation_policy_free(policy);
    return 0;
}
