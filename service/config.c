#include "service/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "service/http.h"

#define FILE_LIMIT ((size_t)1 << 20)
#define KEYS_MAX 512

typedef struct config_value {
    bool set;
    char *text; /* STR, PATH */
    int64_t number;
    char **items; /* LIST */
    size_t count;
    json_t *tree;
} config_value;

struct service_config {
    const config_key *keys;
    size_t count;
    char *base_dir;
    config_value *values;
};

static const char *const type_names[] = {
    [CONFIG_STR] = "text",  [CONFIG_INT] = "number",        [CONFIG_BOOL] = "true/false",
    [CONFIG_SIZE] = "size", [CONFIG_DURATION] = "duration", [CONFIG_LIST] = "list",
    [CONFIG_TREE] = "tree", [CONFIG_PATH] = "path",
};

/* ---- text forms -------------------------------------------------------------------------------
 */

typedef struct unit {
    const char *suffix;
    int64_t factor;
} unit;

static int parse_units(const char *text, const unit *units, size_t count, int64_t *out) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || errno != 0 || number < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].suffix) == 0) {
            if (number > INT64_MAX / units[i].factor) {
                return -1;
            }
            *out = number * units[i].factor;
            return 0;
        }
    }
    return -1;
}

int config_parse_duration(const char *text, int64_t *ms, dstack_error *err) {
    static const unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    if (strcmp(text, "never") == 0) {
        *ms = -1;
        return 0;
    }
    return parse_units(text, units, sizeof units / sizeof units[0], ms) == 0
               ? 0
               : error_set(err, DSTACK_E_FORMAT,
                           "'%.40s' is not a duration such as 500ms, 5s, 2m, "
                           "1h, 10d or never",
                           text);
}

int config_parse_size(const char *text, size_t *bytes, dstack_error *err) {
    static const unit units[] = {{"", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}};
    int64_t number = 0;
    if (parse_units(text, units, sizeof units / sizeof units[0], &number) != 0) {
        return error_set(err, DSTACK_E_FORMAT, "'%.40s' is not a size such as 4096, 32K, 10M or 1G",
                         text);
    }
    *bytes = (size_t)number;
    return 0;
}

/* ---- one value from JSON ----------------------------------------------------------------------
 */

static void clear_value(config_value *value) {
    free(value->text);
    for (size_t i = 0; i < value->count; i++) {
        free(value->items[i]);
    }
    free(value->items);
    json_decref(value->tree);
    *value = (config_value){0};
}

static int wrong_type(const config_key *key, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "%s must be a %s%s", key->path, type_names[key->type],
                     key->type == CONFIG_STR || key->type == CONFIG_PATH
                         ? " (numbers and true/false need quotes)"
                         : "");
}

static char *resolve_path(const char *text, const char *base_dir) {
    char *path = NULL;
    const char *home = strncmp(text, "~/", 2) == 0 ? getenv("HOME") : NULL;
    int rc = home != NULL ? asprintf(&path, "%s/%s", home, text + 2)
             : text[0] == '/' || text[0] == 0 || base_dir == NULL
                 ? asprintf(&path, "%s", text)
                 : asprintf(&path, "%s/%s", base_dir, text);
    return rc >= 0 ? path : NULL;
}

static int take_list(const config_key *key, const json_t *json, config_value *value,
                     dstack_error *err) {
    size_t count = json_array_size(json);
    if (!json_is_array(json)) {
        return wrong_type(key, err);
    }
    value->items = calloc(count + 1, sizeof *value->items);
    for (size_t i = 0; value->items != NULL && i < count; i++) {
        const char *item = json_string_value(json_array_get(json, i));
        if (item == NULL) {
            return wrong_type(key, err);
        }
        value->items[i] = strdup(item);
        value->count++;
    }
    return value->items != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static int take_value(const config_key *key, const json_t *json, const char *base_dir,
                      config_value *value, dstack_error *err) {
    const char *text = json_string_value(json);
    size_t size = 0;
    int rc = 0;
    switch (key->type) {
    case CONFIG_STR:
        value->text = text != NULL ? strdup(text) : NULL;
        return value->text != NULL ? 0 : wrong_type(key, err);
    case CONFIG_PATH:
        value->text = text != NULL ? resolve_path(text, base_dir) : NULL;
        return value->text != NULL ? 0 : wrong_type(key, err);
    case CONFIG_INT:
        value->number = json_integer_value(json);
        return json_is_integer(json) ? 0 : wrong_type(key, err);
    case CONFIG_BOOL:
        value->number = json_is_true(json);
        return json_is_boolean(json) ? 0 : wrong_type(key, err);
    case CONFIG_SIZE:
        if (json_is_integer(json) && json_integer_value(json) >= 0) {
            value->number = json_integer_value(json);
            return 0;
        }
        rc = text != NULL ? config_parse_size(text, &size, err) : wrong_type(key, err);
        value->number = (int64_t)size;
        return text != NULL ? error_prefix(err, rc, "%s", key->path) : rc;
    case CONFIG_DURATION:
        rc = text != NULL ? config_parse_duration(text, &value->number, err) : wrong_type(key, err);
        return text != NULL && rc != 0 ? error_prefix(err, rc, "%s", key->path) : rc;
    case CONFIG_LIST:
        return take_list(key, json, value, err);
    case CONFIG_TREE:
        value->tree = json_incref((json_t *)json);
        return 0;
    }
    return error_set(err, DSTACK_E_INTERNAL, "%s has no type", key->path);
}

/* Defaults are text; each type has its own way to read it. */
static json_t *fallback_json(const config_key *key) {
    const char *text = key->fallback;
    switch (key->type) {
    case CONFIG_INT:
        return json_integer(strtoll(text, NULL, 10));
    case CONFIG_BOOL:
        return json_boolean(strcmp(text, "true") == 0);
    case CONFIG_TREE:
        return json_loads(text, JSON_DECODE_ANY, NULL);
    case CONFIG_LIST: {
        json_t *list = json_array();
        while (*text != 0) {
            size_t len = strcspn(text, ",");
            json_array_append_new(list, json_stringn(text, len));
            text += len + (text[len] == ',');
        }
        return list;
    }
    default:
        return json_string(text);
    }
}

/* ---- the whole file ---------------------------------------------------------------------------
 */

static ssize_t find_key(const service_config *config, const char *path) {
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->keys[i].path, path) == 0) {
            return (ssize_t)i;
        }
    }
    return -1;
}

static int take_object(service_config *config, const char *prefix, json_t *object,
                       dstack_error *err) {
    const char *name;
    json_t *item;
    json_object_foreach(object, name, item) {
        DSTACK_AUTO(str) char *path = NULL;
        if (asprintf(&path, "%s%s%s", prefix, prefix[0] != 0 ? "." : "", name) < 0) {
            path = NULL;
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        ssize_t i = find_key(config, path);
        int rc;
        if (i >= 0) {
            config->values[i].set = true;
            rc = take_value(&config->keys[i], item, config->base_dir, &config->values[i], err);
        } else if (json_is_object(item)) {
            rc = take_object(config, path, item, err);
        } else {
            rc = error_set(err, DSTACK_E_FORMAT, "unknown key %s", path);
        }
        if (rc != 0) {
            return rc;
        }
    }
    if (json_object_size(object) == 0 && prefix[0] != 0) {
        size_t len = strlen(prefix);
        for (size_t i = 0; i < config->count; i++) {
            if (strncmp(config->keys[i].path, prefix, len) == 0 &&
                config->keys[i].path[len] == '.') {
                return 0;
            }
        }
        return error_set(err, DSTACK_E_FORMAT, "unknown key %s", prefix);
    }
    return 0;
}

static int take_fallbacks(service_config *config, dstack_error *err) {
    for (size_t i = 0; i < config->count; i++) {
        const config_key *key = &config->keys[i];
        if (config->values[i].set) {
            continue;
        }
        if (key->fallback == NULL) {
            if (key->type != CONFIG_TREE) {
                return error_set(err, DSTACK_E_FORMAT, "%s is required: %s", key->path, key->help);
            }
            config->values[i].tree = json_null();
            continue;
        }
        DSTACK_AUTO(json) json_t *json = fallback_json(key);
        int rc = take_value(key, json, config->base_dir, &config->values[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

service_config *config_parse(dstack_bytes yaml, const char *base_dir, const config_key *keys,
                             size_t count, dstack_error *err) {
    DSTACK_AUTO(json) json_t *json = yaml_to_json(yaml, FILE_LIMIT, "configuration", err);
    if (json == NULL) {
        return NULL;
    }
    service_config *config = calloc(1, sizeof *config);
    if (config == NULL || count > KEYS_MAX) {
        free(config);
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    config->keys = keys;
    config->count = count;
    config->values = calloc(count + 1, sizeof *config->values);
    config->base_dir = base_dir != NULL ? strdup(base_dir) : NULL;
    int rc = config->values == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory")
             : json_is_object(json) ? take_object(config, "", json, err)
             : json_is_null(json)
                 ? 0
                 : error_set(err, DSTACK_E_FORMAT, "configuration is not a mapping of keys");
    rc = rc != 0 ? rc : take_fallbacks(config, err);
    if (rc != 0) {
        config_free(config);
        return NULL;
    }
    return config;
}

service_config *config_load(const char *path, const config_key *keys, size_t count,
                            dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(str) char *base_dir = NULL;
    if (path != NULL) {
        if (file_read(path, FILE_LIMIT, &text, err) != 0) {
            return NULL;
        }
        const char *slash = strrchr(path, '/');
        base_dir =
            slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + (slash == path));
    }
    service_config *config = config_parse(bytes_of_buf(&text), base_dir, keys, count, err);
    if (config == NULL && path != NULL && err != NULL) {
        error_prefix(err, err->status, "%s", path);
    }
    return config;
}

void config_free(service_config *config) {
    if (config != NULL) {
        for (size_t i = 0; config->values != NULL && i < config->count; i++) {
            clear_value(&config->values[i]);
        }
        free(config->values);
        free(config->base_dir);
        free(config);
    }
}

/* ---- look-ups ---------------------------------------------------------------------------------
 */

static const config_value *need(const service_config *config, const char *path, unsigned types) {
    ssize_t i = find_key(config, path);
    if (i < 0 || (types & (1U << config->keys[i].type)) == 0) {
        fprintf(stderr, "configuration key %s is not in the table with that type\n", path);
        abort();
    }
    return &config->values[i];
}

const char *config_str(const service_config *config, const char *path) {
    return need(config, path, 1U << CONFIG_STR | 1U << CONFIG_PATH)->text;
}

int64_t config_int(const service_config *config, const char *path) {
    return need(config, path, 1U << CONFIG_INT)->number;
}

bool config_bool(const service_config *config, const char *path) {
    return need(config, path, 1U << CONFIG_BOOL)->number != 0;
}

size_t config_size(const service_config *config, const char *path) {
    return (size_t)need(config, path, 1U << CONFIG_SIZE)->number;
}

int64_t config_duration_ms(const service_config *config, const char *path) {
    return need(config, path, 1U << CONFIG_DURATION)->number;
}

size_t config_list(const service_config *config, const char *path, const char *const **items) {
    const config_value *value = need(config, path, 1U << CONFIG_LIST);
    *items = (const char *const *)value->items;
    return value->count;
}

const json_t *config_tree(const service_config *config, const char *path) {
    return need(config, path, 1U << CONFIG_TREE)->tree;
}

bool config_is_set(const service_config *config, const char *path) {
    return need(config, path, ~0U)->set;
}

void config_http_limits(const service_config *config, const char *prefix, http_limits *out) {
    char path[128];
#define KEY(name) (snprintf(path, sizeof path, "%s." name, prefix), path)
    *out = (http_limits){
        .body = config_size(config, KEY("body")),
        .header = config_size(config, KEY("header")),
        .connections = (unsigned)config_int(config, KEY("connections")),
        .per_address = (unsigned)config_int(config, KEY("per_address")),
        .streams = (unsigned)config_int(config, KEY("streams")),
    };
    int64_t idle = config_duration_ms(config, KEY("idle_timeout"));
    int64_t request = config_duration_ms(config, KEY("request_timeout"));
    out->idle_timeout_s = idle < 1000 ? 1 : (unsigned)(idle / 1000);
    out->request_timeout_s = request < 1000 ? 1 : (unsigned)(request / 1000);
#undef KEY
}

/* ---- printing ---------------------------------------------------------------------------------
 */

static json_t *value_json(const config_key *key, const config_value *value) {
    char text[40];
    switch (key->type) {
    case CONFIG_STR:
    case CONFIG_PATH:
        return json_string(value->text);
    case CONFIG_BOOL:
        return json_boolean(value->number != 0);
    case CONFIG_DURATION:
        snprintf(text, sizeof text, "%lldms", (long long)value->number);
        return json_string(value->number < 0 ? "never" : text);
    case CONFIG_TREE:
        return json_incref(value->tree);
    case CONFIG_LIST: {
        json_t *list = json_array();
        for (size_t i = 0; i < value->count; i++) {
            json_array_append_new(list, json_string(value->items[i]));
        }
        return list;
    }
    default:
        return json_integer(value->number);
    }
}

/* Puts a value at its dotted path. */
static int place(json_t *root, const char *path, json_t *value) {
    json_t *at = root;
    for (;;) {
        size_t len = strcspn(path, ".");
        DSTACK_AUTO(str) char *name = strndup(path, len);
        if (name == NULL || path[len] == 0) {
            return json_object_set_new(at, name != NULL ? name : "", value);
        }
        json_t *next = json_object_get(at, name);
        if (next == NULL) {
            json_object_set_new(at, name, json_object());
            next = json_object_get(at, name);
        }
        at = next;
        path += len + 1;
    }
}

static void print_yaml(json_t *object, int indent, dstack_buf *out) {
    const char *name;
    json_t *item;
    json_object_foreach(object, name, item) {
        buf_put_fmt(out, "%*s%s:", indent, "", name);
        if (json_is_object(item) && json_object_size(item) > 0) {
            buf_put_str(out, "\n");
            print_yaml(item, indent + 2, out);
            continue;
        }
        buf_put_str(out, " "); /* JSON is YAML's flow form */
        char *text = json_dumps(item, JSON_ENCODE_ANY);
        buf_put_fmt(out, "%s\n", text != NULL ? text : "null");
        free(text);
    }
}

int config_print(const service_config *config, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *root = json_object();
    for (size_t i = 0; i < config->count; i++) {
        if (place(root, config->keys[i].path, value_json(&config->keys[i], &config->values[i])) !=
            0) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
    }
    print_yaml(root, 0, out);
    return buf_check(out, err);
}

const char *config_type_name(config_type type) {
    return type_names[type];
}

void config_describe(const config_key *keys, size_t count, dstack_buf *out) {
    for (size_t i = 0; i < count; i++) {
        buf_put_fmt(out, "  %-36s %-10s %-24s %s\n", keys[i].path, type_names[keys[i].type],
                    keys[i].fallback == NULL   ? "required"
                    : keys[i].fallback[0] == 0 ? "\"\""
                                               : keys[i].fallback,
                    keys[i].help);
    }
}
