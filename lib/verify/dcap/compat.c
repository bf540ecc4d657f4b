#include "verify/dcap/compat.h"

static const char *const names[] = {
    "anchor_dates",    "td_attributes", "crl_not_yet_valid", "crl_swapped",
    "component_count", "no_identities", "certificate_names", "key_usage",
    "masked_identity", "tcb_info_kind", "quote_slack",       "signature_size",
};
_Static_assert((1u << (sizeof names / sizeof *names)) - 1 == DSTACK_COMPAT_ALL,
               "every rule has its name");

const char *dstack_compat_rule_name(unsigned index) {
    return index < sizeof names / sizeof *names ? names[index] : NULL;
}
