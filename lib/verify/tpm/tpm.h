/* Parts of TPM quote verification that others of the library use. */
#ifndef VERIFY_TPM_TPM_H
#define VERIFY_TPM_TPM_H

#include <dstack/tpm.h>

/* Whether the quote is signed by the key of its own certificate, whoever issued that. */
int tpm_check_signature(const dstack_tpm_quote *quote, dstack_error *err);

#endif
