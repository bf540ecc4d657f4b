#include "ansi.h"

#include "base/buf.h"

void ansi_filter_put(struct ansi_filter *filter, dstack_bytes in, dstack_buf *out) {
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        switch (filter->state) {
        case ANSI_TEXT:
            if (c == 0x1b) {
                filter->state = ANSI_ESCAPE;
            } else {
                buf_put_u8(out, c);
            }
            break;
        case ANSI_ESCAPE:
            filter->state = c == '[' ? ANSI_CSI : (c == ']' ? ANSI_OSC : ANSI_TEXT);
            break;
        case ANSI_CSI:
            filter->state = c >= 0x40 && c <= 0x7e ? ANSI_TEXT : ANSI_CSI;
            break;
        case ANSI_OSC:
            filter->state = c == 0x07 ? ANSI_TEXT : (c == 0x1b ? ANSI_ESCAPE : ANSI_OSC);
            break;
        }
    }
}
