/* JSON access over jansson: typed look-ups that say what was expected and where. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include <dstack/bytes.h>

/* Parses one JSON document of at most `limit` bytes, refusing duplicate members and trailing data.
 * The caller owns the result (json_decref, or DSTACK_AUTO(json)); NULL on failure. `what` names the
 * document in the error. */
json_t *json_parse(dstack_bytes text, size_t limit, const char *what, dstack_error *err);

/* Look-ups in an object. The required forms fail when the member is missing or of another type; the
 * _or forms give the default when it is missing (null counts as missing) and fail on a wrong type. */
int json_need_str(const json_t *object, const char *key, const char **out, dstack_error *err);
int json_need_int(const json_t *object, const char *key, int64_t *out, dstack_error *err);
int json_need_object(const json_t *object, const char *key, json_t **out, dstack_error *err);
int json_need_array(const json_t *object, const char *key, json_t **out, dstack_error *err);
int json_str_or(const json_t *object, const char *key, const char *fallback, const char **out,
                dstack_error *err);
int json_int_or(const json_t *object, const char *key, int64_t fallback, int64_t *out,
                dstack_error *err);
int json_bool_or(const json_t *object, const char *key, bool fallback, bool *out,
                 dstack_error *err);
/* A required string member of exactly 2 * len hex digits. */
int json_need_hex(const json_t *object, const char *key, uint8_t *out, size_t len,
                  dstack_error *err);
/* A hex string member appended to out; missing or null appends nothing. */
int json_hex_or_empty(const json_t *object, const char *key, dstack_buf *out, dstack_error *err);

/* New JSON string holding lower-case hex. */
json_t *json_hex(dstack_bytes bytes);
/* Appends the document, compact or with two-space indentation; member order as inserted. */
int json_write(const json_t *value, bool pretty, dstack_buf *out, dstack_error *err);

#endif
