/* Filling and extending error objects. See include/dstack/error.h for the public half. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <dstack/error.h>

/* Sets status and message when err is not NULL, and returns status: `return error_set(err, ...)`. */
int error_set(dstack_error *err, dstack_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "text: " before the message of an error already set, and returns its status (`status` is
 * returned unchanged, so that `return error_prefix(err, rc, "reading %s", path)` reads well). */
int error_prefix(dstack_error *err, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, with ": <strerror(errno)>" appended. */
int error_set_errno(dstack_error *err, dstack_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
