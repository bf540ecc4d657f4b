/* TPM attest structures, boot logs, and the addresses in certificates of TPM keys. */
#include <dstack/tpm.h>

#include "verify/tpm/tpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_tpm_attest attest;
    dstack_tpm_log log;
    (void)dstack_tpm_attest_parse(&attest, (dstack_bytes){data, size}, NULL);
    if (dstack_tpm_log_parse(&log, (dstack_bytes){data, size}, NULL) == 0) {
        dstack_tpm_log_clear(&log);
    }
    x509_cert cert;
    dstack_bytes urls[TPM_MAX_URLS];
    if (x509_cert_parse(&cert, (dstack_bytes){data, size}, NULL) == 0) {
        (void)tpm_issuer_urls(&cert, urls);
        (void)tpm_crl_urls(&cert, urls);
    }
    return 0;
}
