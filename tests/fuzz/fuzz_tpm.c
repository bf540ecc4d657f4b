/* TPM attest structures and boot logs. */
#include <dstack/tpm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_tpm_attest attest;
    dstack_tpm_log log;
    (void)dstack_tpm_attest_parse(&attest, (dstack_bytes){data, size}, NULL);
    if (dstack_tpm_log_parse(&log, (dstack_bytes){data, size}, NULL) == 0) {
        dstack_tpm_log_clear(&log);
    }
    return 0;
}
