#include <dstack/uki.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static dstack_uki_prediction out;
    const dstack_uki_options told = {.bank = DSTACK_PCR_SHA384};
    const dstack_uki_options given = {.firmware = DSTACK_UKI_GCP,
                                      .stub_version = 255,
                                      .gpt = bytes_of(data, size < 64 ? size : 64)};
    (void)dstack_uki_measure(bytes_of(data, size), &told, &out, NULL);
    (void)dstack_uki_measure(bytes_of(data, size), &given, &out, NULL);
    return 0;
}
