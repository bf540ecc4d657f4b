#include "base/cursor.h"
#include "measure/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t digest[48];
    (void)kernel_authenticode(bytes_of(data, size), HASH_SHA384, digest, NULL);
    (void)kernel_authenticode_patched(bytes_of(data, size), 4096, UINT64_C(2) << 30,
                                      KERNEL_XLF_ABOVE_4G, HASH_SHA256, digest, NULL);
    return 0;
}
