/* The inside of a collateral bundle. */
#ifndef VERIFY_DCAP_COLLATERAL_H
#define VERIFY_DCAP_COLLATERAL_H

#include <dstack/collateral.h>

#include "base/auto.h"

DSTACK_AUTO_DEFINE(collateral, dstack_collateral, dstack_collateral_free)

#endif
