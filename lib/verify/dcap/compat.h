/* Rules that the reference verifier does not have, and that a verifier may be told to waive. */
#ifndef VERIFY_DCAP_COMPAT_H
#define VERIFY_DCAP_COMPAT_H

#include <dstack/verifier.h>

typedef struct dcap_compat {
    uint32_t allowed; /* DSTACK_COMPAT_* that the verifier waives */
    uint32_t used;    /* those without which something was refused */
} dcap_compat;

/* Whether a rule that was just broken is waived; remembers it. compat may be NULL. */
static inline bool dcap_waive(dcap_compat *compat, uint32_t rule) {
    if (compat == NULL || (compat->allowed & rule) == 0) {
        return false;
    }
    compat->used |= rule;
    return true;
}

/* dstack_quote_parse with waived rules. */
int dcap_quote_parse(dstack_quote *out, dstack_bytes raw, dcap_compat *compat, dstack_error *err);

#endif
