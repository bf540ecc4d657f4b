/* The kernel's command line: what it says about the root file system. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "measure/events.h"

#define HASH_DIGITS 64

/* The next word, without the blanks before it; empty at the end. */
static dstack_bytes next_word(dstack_bytes *rest) {
    size_t start = 0, end;
    while (start < rest->len && rest->data[start] == ' ') {
        start++;
    }
    for (end = start; end < rest->len && rest->data[end] != ' '; end++) {
    }
    const dstack_bytes word = bytes_of(rest->data + start, end - start);
    *rest = bytes_of(rest->data + end, rest->len - end);
    return word;
}

static bool is_hash(dstack_bytes text) {
    size_t digits = 0;
    for (; digits < text.len && strchr("0123456789abcdefABCDEF", text.data[digits]) != NULL &&
           text.data[digits] != '\0';
         digits++) {
    }
    return digits == HASH_DIGITS && text.len == HASH_DIGITS;
}

int measure_cmdline_check(dstack_bytes cmdline, bool required, dstack_error *err) {
    static const char key[] = "dstack.rootfs_hash=";
    const size_t key_len = sizeof key - 1;
    size_t found = 0;
    for (dstack_bytes word; cmdline.len > 0 && (word = next_word(&cmdline)).len > 0;) {
        if (word.len < key_len || memcmp(word.data, key, key_len) != 0) {
            continue;
        }
        if (!is_hash(bytes_of(word.data + key_len, word.len - key_len))) {
            return error_set(err, DSTACK_E_FORMAT, "dstack.rootfs_hash is not 64 hex digits");
        }
        found++;
    }
    if (found > 1 || (found == 0 && required)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "the command line has dstack.rootfs_hash %zu times, not once", found);
    }
    return 0;
}
