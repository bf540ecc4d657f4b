/* Files read whole within a limit, and written so that a crash leaves the old or the new content. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include <dstack/bytes.h>

/* Appends the content of a regular file (or, for "-", of standard input) to out. More than `limit`
 * bytes is DSTACK_E_LIMIT; a missing file DSTACK_E_NOT_FOUND; anything else DSTACK_E_IO. */
int file_read(const char *path, size_t limit, dstack_buf *out, dstack_error *err);

/* Writes a temporary file beside path with the given mode, syncs it, renames it over path and syncs
 * the folder. Secret files use mode 0600; the mode is set at creation, never widened afterwards. */
int file_write_atomic(const char *path, dstack_bytes content, mode_t mode, dstack_error *err);

/* As file_write_atomic, but DSTACK_E_EXISTS when path exists: existing content is never replaced. */
int file_write_new(const char *path, dstack_bytes content, mode_t mode, dstack_error *err);

/* Creates a folder and its parents with the given mode where missing. */
int file_make_dirs(const char *path, mode_t mode, dstack_error *err);

/* Checks that a name can stand as one path component: 1 to 128 characters of [A-Za-z0-9._-], not
 * starting with a dot or dash. Every name that comes from outside and becomes part of a path passes
 * here. `what` names it in the error. */
int file_check_name(const char *name, const char *what, dstack_error *err);

/* Opens `name` beneath the folder `dir_fd`; no symbolic links, no escape (openat2 with
 * RESOLVE_BENEATH where the kernel has it; file_check_name otherwise holds the name to one part). */
int file_open_beneath(int dir_fd, const char *name, int flags, mode_t mode, dstack_error *err);

#endif
