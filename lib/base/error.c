#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    dstack_status status;
    const char *name;
} status_names[] = {
#define STATUS_NAME(status, name) {status, name},
#include "base/status_names.h"
#undef STATUS_NAME
};

const char *dstack_status_name(dstack_status status) {
    for (size_t i = 0; i < sizeof status_names / sizeof *status_names; i++) {
        if (status_names[i].status == status) {
            return status_names[i].name;
        }
    }
    return "unknown";
}

/* A message cut in the middle of a UTF-8 sequence loses that sequence. */
static void trim_partial_utf8(char *text) {
    size_t len = strlen(text);
    size_t start = len;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return;
    }
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (want > 1 && len - (start - 1) < want) {
        text[start - 1] = '\0';
    }
}

int error_set(dstack_error *err, dstack_status status, const char *fmt, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        char message[DSTACK_ERROR_MESSAGE_SIZE];
        vsnprintf(message, sizeof message, fmt, args);
        va_end(args);
        trim_partial_utf8(message);
        err->status = status;
        memcpy(err->message, message, sizeof message);
    }
    return status;
}

int error_prefix(dstack_error *err, int status, const char *fmt, ...) {
    if (err != NULL && status != 0) {
        char prefix[DSTACK_ERROR_MESSAGE_SIZE];
        va_list args;
        va_start(args, fmt);
        vsnprintf(prefix, sizeof prefix, fmt, args);
        va_end(args);
        char message[2 * DSTACK_ERROR_MESSAGE_SIZE + 4];
        snprintf(message, sizeof message, "%s: %s", prefix, err->message);
        message[DSTACK_ERROR_MESSAGE_SIZE - 1] = '\0';
        trim_partial_utf8(message);
        memcpy(err->message, message, DSTACK_ERROR_MESSAGE_SIZE);
    }
    return status;
}

int error_set_errno(dstack_error *err, dstack_status status, const char *fmt, ...) {
    if (err != NULL) {
        int saved = errno;
        char message[DSTACK_ERROR_MESSAGE_SIZE];
        va_list args;
        va_start(args, fmt);
        vsnprintf(message, sizeof message, fmt, args);
        va_end(args);
        char reason[128];
        const char *text = strerror_r(saved, reason, sizeof reason);
        return error_set(err, status, "%s: %s", message, text);
    }
    return status;
}
