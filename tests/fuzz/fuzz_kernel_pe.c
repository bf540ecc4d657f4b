#include "base/auto.h"
#include "base/cursor.h"
#include "measure/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t digest[48];
    DSTACK_AUTO(buf) dstack_buf patched = {0};
    (void)kernel_authenticode(bytes_of(data, size), HASH_SHA384, digest, NULL);
    if (kernel_patch_header(bytes_of(data, size), 4096, UINT64_C(2) << 30, KERNEL_XLF_ABOVE_4G,
                            &patched, NULL) == 0) {
        (void)kernel_authenticode(bytes_of_buf(&patched), HASH_SHA256, digest, NULL);
    }
    return 0;
}
