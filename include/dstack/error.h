/**
 * @file error.h
 * @brief Status codes and the error object that every fallible call fills.
 *
 * A fallible function returns 0 (`DSTACK_OK`) or a negative `dstack_status`, and takes a
 * `dstack_error *` as its last parameter, which may be NULL. The error object is owned by the
 * caller, holds no pointers and needs no clean-up. It is written only when the call fails.
 */
#ifndef DSTACK_ERROR_H
#define DSTACK_ERROR_H

#include <dstack/visibility.h>
#include <dstack/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Room for a message, its terminating zero included. Longer messages are cut. */
#define DSTACK_ERROR_MESSAGE_SIZE 512

/** What failed and why: what was expected, what was found, and where. Never holds a secret. */
typedef struct dstack_error {
    dstack_status status;                    /**< DSTACK_OK when nothing failed. */
    char message[DSTACK_ERROR_MESSAGE_SIZE]; /**< UTF-8 text for people, without a final newline. */
} dstack_error;

/**
 * Stable lower-case name of a status, for example "argument" or "x509.expired". It names the check
 * that refused in machine-readable output. Unknown values give "unknown".
 */
DSTACK_API const char *dstack_status_name(dstack_status status);

#ifdef __cplusplus
}
#endif
#endif
