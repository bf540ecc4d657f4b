/* Environment variables: the sorted list and its texts. */
#include "manifest/env.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "manifest/canonical.h"

dstack_env *dstack_env_new(void) {
    return calloc(1, sizeof(dstack_env));
}

static void wipe_text(char *text) {
    if (text != NULL) {
        sodium_memzero(text, strlen(text));
        free(text);
    }
}

void dstack_env_free(dstack_env *env) {
    if (env != NULL) {
        for (size_t i = 0; i < env->count; i++) {
            free(env->entries[i].key);
            wipe_text(env->entries[i].value);
        }
        free(env->entries);
        free(env);
    }
}

size_t dstack_env_count(const dstack_env *env) {
    return env->count;
}

const char *dstack_env_key(const dstack_env *env, size_t index) {
    return index < env->count ? env->entries[index].key : NULL;
}

const char *dstack_env_value(const dstack_env *env, size_t index) {
    return index < env->count ? env->entries[index].value : NULL;
}

static bool key_is_good(const char *key) {
    size_t len = strlen(key);
    if (len == 0 || len > DSTACK_ENV_KEY_MAX || (*key >= '0' && *key <= '9')) {
        return false;
    }
    return strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

/* Position of key, or where it belongs. */
static size_t find(const dstack_env *env, const char *key, bool *found) {
    size_t low = 0, high = env->count;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(key, env->entries[middle].key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static int make_room(dstack_env *env, dstack_error *err) {
    if (env->count >= DSTACK_ENV_ENTRIES_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d environment variables",
                         DSTACK_ENV_ENTRIES_MAX);
    }
    if (env->count < env->cap) {
        return 0;
    }
    size_t cap = env->cap == 0 ? 16 : env->cap * 2;
    env_entry *entries = reallocarray(env->entries, cap, sizeof *entries);
    if (entries == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for environment variables");
    }
    env->entries = entries;
    env->cap = cap;
    return 0;
}

static int check_value(const char *key, const char *value, dstack_error *err) {
    if (strlen(value) > DSTACK_ENV_VALUE_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "environment variable %s is longer than %zu bytes",
                         key, DSTACK_ENV_VALUE_MAX);
    }
    json_t *checked = json_string(value);
    if (checked == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "environment variable %s is not UTF-8", key);
    }
    sodium_memzero((char *)json_string_value(checked), json_string_length(checked));
    json_decref(checked);
    return 0;
}

int dstack_env_set(dstack_env *env, const char *key, const char *value, dstack_error *err) {
    if (!key_is_good(key)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "an environment variable's name must be 1 to %d of [A-Za-z0-9_], not "
                         "beginning with a digit",
                         DSTACK_ENV_KEY_MAX);
    }
    bool found;
    size_t at = find(env, key, &found);
    size_t old = found ? strlen(key) + strlen(env->entries[at].value) : 0;
    size_t total = env->total - old + strlen(key) + strlen(value);
    int rc = check_value(key, value, err);
    if (rc == 0 && total > DSTACK_ENV_TOTAL_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "the environment is larger than %zu bytes",
                       DSTACK_ENV_TOTAL_MAX);
    }
    if (rc == 0 && !found) {
        rc = make_room(env, err);
    }
    if (rc != 0) {
        return rc;
    }
    char *copy = strdup(value);
    char *name = found ? NULL : strdup(key);
    if (copy == NULL || (!found && name == NULL)) {
        wipe_text(copy);
        free(name);
        return error_set(err, DSTACK_E_MEMORY, "no memory for an environment variable");
    }
    if (found) {
        wipe_text(env->entries[at].value);
        env->entries[at].value = copy;
    } else {
        memmove(&env->entries[at + 1], &env->entries[at], (env->count - at) * sizeof *env->entries);
        env->entries[at] = (env_entry){name, copy};
        env->count++;
    }
    env->total = total;
    return 0;
}

int dstack_env_parse_file(dstack_bytes text, dstack_env **out, dstack_error *err) {
    *out = NULL;
    if (text.len > DSTACK_ENV_TOTAL_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the environment file is larger than %zu bytes",
                         DSTACK_ENV_TOTAL_MAX);
    }
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "the environment file holds a zero byte");
    }
    DSTACK_AUTO(env) dstack_env *env = dstack_env_new();
    DSTACK_AUTO(secret)
    dstack_secret *copy = text.len == 0 ? NULL : dstack_secret_new(text.len + 1);
    if (env == NULL || (text.len > 0 && copy == NULL)) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an environment");
    }
    int rc = 0;
    char *line = NULL;
    if (copy != NULL) {
        line = (char *)dstack_secret_data(copy);
        memcpy(line, text.data, text.len);
    }
    for (size_t number = 1; rc == 0 && line != NULL && *line != '\0'; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        char *equals = strchr(line, '=');
        if (line[strspn(line, " \t\r")] != '\0' && *line != '#') {
            if (equals == NULL) {
                rc = error_set(err, DSTACK_E_FORMAT, "line %zu: expected KEY=VALUE", number);
            } else {
                *equals = '\0';
                rc = error_prefix(err, dstack_env_set(env, line, equals + 1, err), "line %zu",
                                  number);
            }
        }
        line = end == NULL ? NULL : end + 1;
    }
    if (rc == 0) {
        *out = env;
        env = NULL;
    }
    return rc;
}

/* Moves a finished text into guarded memory; NULL for an empty one. */
static int to_secret(dstack_buf *text, dstack_secret **out, dstack_error *err) {
    int rc = buf_check(text, err);
    *out = NULL;
    if (rc == 0 && text->len > 0) {
        *out = dstack_secret_copy(text->data, text->len);
        rc = *out == NULL ? error_set(err, DSTACK_E_MEMORY, "no memory for the environment") : 0;
    }
    buf_wipe(text);
    return rc;
}

/* Within double quotes a shell takes a backslash as it is, unless one of $ ` " \ or the end of the
 * quotes follows: only then it is doubled, so that no value can swallow what comes after it. */
static bool needs_escape(const char *c) {
    switch (*c) {
    case '"':
    case '$':
    case '`':
        return true;
    case '\\':
        return c[1] == '\0' || strchr("$`\"\\\n", c[1]) != NULL;
    default:
        return false;
    }
}

static void put_script_value(dstack_buf *out, const char *value) {
    if (strpbrk(value, " \t|&;<>()$`\\\"'\n") == NULL) {
        buf_put_str(out, value);
        return;
    }
    buf_put_u8(out, '"');
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n') {
            buf_put_str(out, "\\n");
            continue;
        }
        if (needs_escape(c)) {
            buf_put_u8(out, '\\');
        }
        buf_put_u8(out, (uint8_t)*c);
    }
    buf_put_u8(out, '"');
}

int dstack_env_to_script(const dstack_env *env, dstack_secret **out, dstack_error *err) {
    dstack_buf text = {0};
    buf_reserve(&text, 2 * env->total + 4 * env->count + 1);
    for (size_t i = 0; i < env->count; i++) {
        buf_put_str(&text, env->entries[i].key);
        buf_put_u8(&text, '=');
        put_script_value(&text, env->entries[i].value);
        buf_put_u8(&text, '\n');
    }
    return to_secret(&text, out, err);
}

/* Escapes take six bytes at most. */
static size_t json_size(const dstack_env *env) {
    return 6 * env->total + 64 * env->count + 16;
}

int dstack_env_to_json(const dstack_env *env, dstack_secret **out, dstack_error *err) {
    dstack_buf text = {0};
    buf_reserve(&text, json_size(env));
    buf_put_u8(&text, '{');
    for (size_t i = 0; i < env->count; i++) {
        buf_put_str(&text, i == 0 ? "" : ",");
        canonical_put_string(&text, bytes_of_str(env->entries[i].key));
        buf_put_u8(&text, ':');
        canonical_put_string(&text, bytes_of_str(env->entries[i].value));
    }
    buf_put_u8(&text, '}');
    return to_secret(&text, out, err);
}

int dstack_env_encrypt(const dstack_env *env, dstack_bytes recipient, dstack_buf *blob,
                       dstack_error *err) {
    dstack_buf text = {0};
    buf_reserve(&text, json_size(env));
    buf_put_str(&text, "{\"env\":[");
    for (size_t i = 0; i < env->count; i++) {
        buf_put_str(&text, i == 0 ? "{\"key\":" : ",{\"key\":");
        canonical_put_string(&text, bytes_of_str(env->entries[i].key));
        buf_put_str(&text, ",\"value\":");
        canonical_put_string(&text, bytes_of_str(env->entries[i].value));
        buf_put_u8(&text, '}');
    }
    buf_put_str(&text, "]}");
    int rc = buf_check(&text, err);
    if (rc == 0) {
        rc = dstack_env_encrypt_raw(bytes_of_buf(&text), recipient, blob, err);
    }
    buf_wipe(&text);
    return rc;
}
