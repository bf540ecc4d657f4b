/* A build without network clients. */
#include <dstack/collateral.h>

#include "base/error.h"

int dstack_collateral_fetch(dstack_collateral **out, dstack_bytes quote,
                            const dstack_collateral_servers *servers, dstack_error *err) {
    return error_set(err, DSTACK_E_UNSUPPORTED, "this build cannot fetch collateral");
}
