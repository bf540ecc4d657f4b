/* What the engine answers with: the head, then a stream with frames or without. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "serve/log_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int format(bool console, bool last, dstack_buf *stream, const log_options *options,
                  dstack_buf *out) {
    return console ? log_console_format(stream, last, options, out, NULL)
                   : log_frames_format(stream, options, out, NULL);
}

/* First byte: options; second: how much of the stream comes first. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const log_options options = {.text = data[0] & 1, .bare = data[0] & 2, .ansi = data[0] & 4};
    bool console = data[0] & 8;
    DSTACK_AUTO(buf) dstack_buf stream = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_bytes text = bytes_of(data + 2, size - 2);
    size_t first = data[1] < text.len ? data[1] : text.len;
    log_head head;
    if ((data[0] & 16) != 0 && log_head_parse(text, &head, NULL) == 0 && head.len > 0) {
        text = bytes_of(text.data + head.len, text.len - head.len);
        first = first < text.len ? first : text.len;
        console = !head.multiplexed && !log_is_framed(text);
    }
    buf_put(&stream, text.data, first);
    if (format(console, false, &stream, &options, &out) == 0) {
        buf_put(&stream, text.data + first, text.len - first);
        (void)format(console, true, &stream, &options, &out);
    }
    return 0;
}
