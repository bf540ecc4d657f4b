/* Log lines to stderr: time, level, program, message, then key=value fields. Under systemd (stderr
 * is the journal) each field becomes a journal field DSTACK_<KEY> instead. Thread-safe.
 *
 *     LOG_INFO("key released", "app_id", app_id_hex, "request", http_request_id(request));
 *
 * Fields are pairs of strings; one whose value is NULL is left out. Values are quoted and escaped, so
 * that nothing from outside can forge a line. Types that hold secrets have no printer: never pass one.
 */
#ifndef SERVICE_LOG_H
#define SERVICE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include <dstack/error.h>

typedef enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
} log_level;

/* program is kept by pointer. level: "error", "warn", "info", "debug". */
int log_init(const char *program, const char *level, dstack_error *err);
void log_write(log_level level, const char *message, ...) __attribute__((sentinel));
bool log_enabled(log_level level);

#define LOG_ERROR(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)
#define LOG_WARN(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__, NULL)
#define LOG_INFO(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define LOG_DEBUG(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL)

#endif
