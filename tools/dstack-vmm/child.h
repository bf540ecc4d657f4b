/* Short-lived helper programs: run, wait, take their output. */
#ifndef VMM_CHILD_H
#define VMM_CHILD_H

#include <dstack/bytes.h>

/* Runs argv[0] (looked up in PATH and the sbin folders) with /dev/null as input. Its output, both
 * streams, is appended to out (may be NULL) up to 64 KiB. A non-zero exit is DSTACK_E_IO with the
 * last line of the output; a missing program DSTACK_E_NOT_FOUND. Killed after timeout_ms. */
int child_run(const char *const argv[], int timeout_ms, dstack_buf *out, dstack_error *err);

/* As child_run, but a program that ended by itself is success: its exit status goes to *status, or
 * 128 and the signal's number. */
int child_status(const char *const argv[], int timeout_ms, int *status, dstack_error *err);

/* Full path of a program: as given when it has a slash, else from the folders that child_run looks
 * into. */
int child_find(const char *program, char *out, size_t size);

#endif
