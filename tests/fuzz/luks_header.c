#include "base/cursor.h"
#include "disk/luks_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_error err = {0};
    luks_header_presence(bytes_of(data, size));
    luks_header_check(bytes_of(data, size), &err);
    return 0;
}
