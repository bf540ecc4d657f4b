#include "cmdline.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"

int cmdline_option(const char *cmdline, const char *name, char *out, size_t size,
                   dstack_error *err) {
    size_t name_len = strlen(name);
    bool found = false;
    for (const char *at = cmdline; *at != '\0';) {
        size_t len = strcspn(at, " \t\n");
        if (len > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=') {
            size_t value_len = len - name_len - 1;
            if (found) {
                return error_set(err, DSTACK_E_REFUSED, "kernel option %s is given twice", name);
            }
            if (value_len >= size) {
                return error_set(err, DSTACK_E_LIMIT, "kernel option %s is too long", name);
            }
            memcpy(out, at + name_len + 1, value_len);
            out[value_len] = '\0';
            found = true;
        }
        at += len + strspn(at + len, " \t\n");
    }
    return found ? 0 : error_set(err, DSTACK_E_NOT_FOUND, "kernel option %s is not given", name);
}
