/* Collateral bundles: one that parses reads back the same after being written. */
#include <stdint.h>
#include <stdlib.h>

#include "base/cursor.h"
#include "verify/dcap/collateral.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(collateral) dstack_collateral *one = NULL, *two = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    int64_t expires;
    if (dstack_collateral_parse(&one, (dstack_bytes){data, size}, &err) != 0) {
        return 0;
    }
    (void)dstack_collateral_expires(one, &expires, &err);
    if (dstack_collateral_to_json(one, false, &text, &err) != 0 ||
        dstack_collateral_parse(&two, bytes_of_buf(&text), &err) != 0 ||
        !bytes_equal(dstack_collateral_id(one), dstack_collateral_id(two))) {
        abort();
    }
    return 0;
}
