/* What a service trusts when it judges evidence: one warm verifier made from configuration. */
#ifndef SERVICE_TRUST_H
#define SERVICE_TRUST_H

#include <dstack/verifier.h>

#include "base/auto.h"

typedef struct trust {
    dstack_verifier *verifier;
    dstack_buf sim_root; /* DER of the pinned simulation root; empty: none is trusted */
} trust;

/* sim_root_file: PEM or DER of a simulation root to pin, or "". collateral_files: JSON bundles to
 * start with. DSTACK_E_INSECURE when a simulation root is given without insecure_dev. */
int trust_open(trust *out, const char *sim_root_file, const char *const *collateral_files,
               size_t collateral_count, bool insecure_dev, dstack_error *err);
void trust_clear(trust *t);
DSTACK_AUTO_DEFINE_CLEAR(trust, trust, trust_clear)

#endif
