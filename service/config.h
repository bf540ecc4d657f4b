/* Configuration of a daemon: one YAML file, one static table of keys that loads, checks, prints and
 * documents it.
 *
 *     static const config_key keys[] = {
 *         {"rpc.address", CONFIG_STR, "127.0.0.1:8000", "address of the main listener"},
 *         {"rpc.limits.body", CONFIG_SIZE, "10M", "largest request body"},
 *         {"allow", CONFIG_LIST, NULL, "..."},
 *     };
 *
 * A key outside the table, a value of another type, a duplicate key: errors that name the key.
 * Nothing is searched for: the file is the one given with --config, or none (all defaults). */
#ifndef SERVICE_CONFIG_H
#define SERVICE_CONFIG_H

#include <jansson.h>

#include "base/auto.h"
#include "base/yaml.h"

#include <dstack/bytes.h>

typedef enum config_type {
    CONFIG_STR,
    CONFIG_INT,      /* decimal, may be negative */
    CONFIG_BOOL,     /* true or false */
    CONFIG_SIZE,     /* bytes; suffix K, M, G (powers of 1024) */
    CONFIG_DURATION, /* milliseconds; suffix ms, s, m, h, d; "never" is -1 */
    CONFIG_LIST,     /* list of strings; default: comma-separated text */
    CONFIG_TREE,     /* any YAML below this key, as JSON; default: JSON text or NULL for null */
    CONFIG_PATH,     /* as CONFIG_STR; a relative path is taken from the file's folder, "~/" from
                        the home folder */
} config_type;

typedef struct config_key {
    const char *path; /* dotted */
    config_type type;
    const char *fallback; /* text form; NULL: the key is required (trees: null) */
    const char *help;     /* one line */
} config_key;

typedef struct service_config service_config;

/* path NULL: defaults only. */
service_config *config_load(const char *path, const config_key *keys, size_t count,
                            dstack_error *err);
/* The same for text in memory; base_dir for CONFIG_PATH (NULL: the working folder). */
service_config *config_parse(dstack_bytes yaml, const char *base_dir, const config_key *keys,
                             size_t count, dstack_error *err);
void config_free(service_config *config);
DSTACK_AUTO_DEFINE(config, service_config, config_free)

/* Look-ups abort the program for a key that is not in the table or has another type: that is a
 * defect which the daemon's config test finds. Returned memory belongs to the configuration. */
const char *config_str(const service_config *config, const char *path);
int64_t config_int(const service_config *config, const char *path);
bool config_bool(const service_config *config, const char *path);
size_t config_size(const service_config *config, const char *path);
int64_t config_duration_ms(const service_config *config, const char *path);
size_t config_list(const service_config *config, const char *path, const char *const **items);
const json_t *config_tree(const service_config *config, const char *path);
/* Whether the file set the key. */
bool config_is_set(const service_config *config, const char *path);
/* The http_limits below a prefix ("rpc.limits"), whose rows a table gets from CONFIG_HTTP_LIMITS.
 */
struct http_limits;
void config_http_limits(const service_config *config, const char *prefix, struct http_limits *out);
#define CONFIG_HTTP_LIMITS(prefix)                                                                 \
    {prefix ".body", CONFIG_SIZE, "10M", "largest request body"},                                  \
        {prefix ".header", CONFIG_SIZE, "32K", "memory for a request's head"},                     \
        {prefix ".connections", CONFIG_INT, "1024", "connections at a time"},                      \
        {prefix ".per_address", CONFIG_INT, "0",                                                   \
         "connections at a time from one address, 0: any"},                                        \
        {prefix ".idle_timeout", CONFIG_DURATION, "60s", "connection without progress is closed"}, \
        {prefix ".request_timeout", CONFIG_DURATION, "120s", "for a whole request to arrive"}, {   \
        prefix ".streams", CONFIG_INT, "32", "streamed answers at a time"                          \
    }

/* Effective configuration as YAML that loads to the same. */
int config_print(const service_config *config, dstack_buf *out, dstack_error *err);
/* "text", "number", ... */
const char *config_type_name(config_type type);
/* The table as text for --help and docs: key, type, default, help. */
void config_describe(const config_key *keys, size_t count, dstack_buf *out);
/* Parsers of the text forms, for other inputs. */
int config_parse_duration(const char *text, int64_t *ms, dstack_error *err);
int config_parse_size(const char *text, size_t *bytes, dstack_error *err);

#endif
