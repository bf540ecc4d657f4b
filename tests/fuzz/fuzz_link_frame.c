/* Frames on the port between a machine and its host. */
#include <stdint.h>
#include <stdlib.h>

#include "base/cursor.h"
#include "service/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_bytes input = bytes_of(data, size);
    for (;;) {
        uint32_t stream;
        dstack_bytes payload;
        size_t used = service_link_next_frame(input, &stream, &payload);
        if (used > input.len || payload.len > input.len) {
            abort();
        }
        input = bytes_of(input.data + used, input.len - used);
        if (stream == 0) {
            return 0;
        }
    }
}
