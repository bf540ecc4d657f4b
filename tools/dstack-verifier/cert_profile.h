/* What a self-issued RA-TLS certificate must look like before its evidence is judged. */
#ifndef VERIFIER_CERT_PROFILE_H
#define VERIFIER_CERT_PROFILE_H

#include <dstack/bytes.h>

/* Its own key signed it, `now` is within its dates, it may sign and authenticate, it names someone.
 * DSTACK_E_REFUSED or DSTACK_E_FORMAT. */
int cert_profile_check(dstack_bytes der, int64_t now, dstack_error *err);

#endif
