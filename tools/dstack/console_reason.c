#include "console_reason.h"

#include <string.h>

static const char mark[] = "init: ";

/* The guest's own line, or one behind the kernel's time: "[    1.234567] init: ...". */
static const char *text_in(const char *line, size_t len) {
    const char *at = memmem(line, len, mark, sizeof mark - 1);
    bool own = at == line || (at != NULL && line[0] == '[' && at[-1] == ' ' && at[-2] == ']');
    return own ? at + sizeof mark - 1 : NULL;
}

bool console_reason(const char *console, char *out, size_t size) {
    const char *found = NULL;
    size_t found_len = 0;
    for (const char *line = console; *line != '\0';) {
        size_t len = strcspn(line, "\r\n");
        const char *text = text_in(line, len);
        if (text != NULL) {
            found = text;
            found_len = len - (size_t)(text - line);
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    size_t use = found_len < size - 1 ? found_len : size - 1;
    for (size_t i = 0; i < use; i++) {
        out[i] = found[i] >= 0x20 && found[i] <= 0x7e ? found[i] : '?';
    }
    out[use] = '\0';
    return use > 0;
}
