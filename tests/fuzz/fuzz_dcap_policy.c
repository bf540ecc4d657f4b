/* Policies. */
#include <stdint.h>
#include <string.h>

#include <dstack/verifier.h>

#include "verify/dcap/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static dstack_quote_report report;
    DSTACK_AUTO(policy) dstack_policy *policy = NULL;
    dstack_error err = {0};
    if (dstack_policy_parse(&policy, (dstack_bytes){data, size}, &err) == 0) {
        report.status = DSTACK_TCB_UP_TO_DATE;
        (void)dstack_policy_decide(policy, &report, 0, &err);
    }
    return 0;
}
