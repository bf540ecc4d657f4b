/* YAML documents: configuration, policies, allow-lists. */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <jansson.h>

#include <dstack/bytes.h>

/* YAML or JSON text to JSON, refusing duplicate keys, aliases and more than `limit` bytes; for
 * allow-lists and other documents. NULL on failure. */
json_t *yaml_to_json(dstack_bytes text, size_t limit, const char *what, dstack_error *err);

#endif
