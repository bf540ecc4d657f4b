#include "base/auto.h"
#include "base/buf.h"
#include "serve/log_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* First byte: options; second: how much of the stream comes first. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const log_options options = {.text = data[0] & 1, .bare = data[0] & 2, .ansi = data[0] & 4};
    DSTACK_AUTO(buf) dstack_buf stream = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    size_t first = data[1] < size - 2 ? data[1] : size - 2;
    buf_put(&stream, data + 2, first);
    if (log_frames_format(&stream, &options, &out, NULL) == 0) {
        buf_put(&stream, data + 2 + first, size - 2 - first);
        (void)log_frames_format(&stream, &options, &out, NULL);
    }
    return 0;
}
