/* Ownership of a policy within the library. */
#ifndef VERIFY_DCAP_POLICY_H
#define VERIFY_DCAP_POLICY_H

#include <dstack/policy.h>

#include "base/auto.h"

DSTACK_AUTO_DEFINE(policy, dstack_policy, dstack_policy_free)

#endif
