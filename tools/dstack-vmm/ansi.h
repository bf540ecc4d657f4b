/* Taking terminal escapes out of a log, whatever its split into pieces. */
#ifndef VMM_ANSI_H
#define VMM_ANSI_H

#include <dstack/bytes.h>

enum ansi_state { ANSI_TEXT, ANSI_ESCAPE, ANSI_CSI, ANSI_OSC };
struct ansi_filter {
    enum ansi_state state;
};
/* Appends the text of `in` without its escape sequences. */
void ansi_filter_put(struct ansi_filter *filter, dstack_bytes in, dstack_buf *out);

#endif
