/* The checks that depend on the quote itself. */
#ifndef VERIFY_DCAP_CHECK_H
#define VERIFY_DCAP_CHECK_H

#include "verify/dcap/context.h"

typedef struct dcap_check_flags {
    bool allow_debug, allow_service_td;
    uint32_t compat; /* DSTACK_COMPAT_* that are waived */
} dcap_check_flags;

/* Whether this parsed quote is of a kind that is verified: vendor, TEE, version, key type, body. */
int dcap_check_kind(const dstack_quote *quote, dstack_error *err);

/* The QE identity is for this kind of quote. */
int dcap_check_identity_type(const dcap_context *context, const dstack_quote *quote,
                             dstack_error *err);

/* Everything from the QE report to the TD attributes, and the report. The platform holds at the
 * time of the check, and keeps the attestation key of a quote that passes; report
 * is written from its beginning, and complete on success. compat_used: rules that parsing waived.
 */
int dcap_check_quote(dcap_platform *platform, const dstack_quote *quote,
                     const dcap_check_flags *flags, uint32_t compat_used,
                     dstack_quote_report *report, dstack_error *err);

#endif
