/* YAML to JSON: the plain part of YAML 1.2's core schema. Aliases, tags, duplicate keys and several
 * documents are refused, so that a small file stays a small document. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#if DSTACK_HAVE_FYAML
#include <libfyaml.h>
#endif

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "base/yaml.h"

#if DSTACK_HAVE_FYAML

#define DEPTH_MAX 32

static void on_diag(struct fy_diag *diag, void *user, const char *text, size_t len) {
    (void)diag;
    dstack_buf *out = user;
    if (out->len < 300) {
        buf_put(out, text, len);
    }
}

static bool text_is(const char *text, size_t len, const char *word) {
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* YAML 1.2, section 10.3.2 "Tag Resolution" of the core schema. */
static json_t *plain_scalar(const char *text, size_t len) {
    char number[64];
    if (len == 0 || text_is(text, len, "~") || text_is(text, len, "null")) {
        return json_null();
    }
    if (text_is(text, len, "true") || text_is(text, len, "false")) {
        return json_boolean(text[0] == 't');
    }
    if (len < sizeof number && (strchr("-+.0123456789", text[0]) != NULL)) {
        memcpy(number, text, len);
        number[len] = 0;
        char *end;
        errno = 0;
        const char *digits = number + (number[0] == '-' || number[0] == '+');
        if (strspn(digits, "0123456789") == strlen(digits) && digits[0] != 0) {
            long long value = strtoll(number, &end, 10);
            if (errno == 0 && *end == 0) {
                return json_integer(value);
            }
        } else if (strspn(number, "+-.0123456789eE") == len && strpbrk(number, "0123456789")) {
            double value = strtod(number, &end);
            if (errno == 0 && *end == 0) {
                return json_real(value);
            }
        }
    }
    return json_stringn(text, len);
}

static json_t *convert(struct fy_node *node, int depth, dstack_error *err);

static json_t *convert_scalar(struct fy_node *node, dstack_error *err) {
    size_t len = 0;
    const char *text = fy_node_get_scalar(node, &len);
    json_t *value = NULL;
    if (memchr(text != NULL ? text : "", 0, len) == NULL) {
        value = fy_node_get_style(node) == FYNS_PLAIN ? plain_scalar(text, len)
                                                      : json_stringn(text, len);
    }
    if (value == NULL) {
        error_set(err, DSTACK_E_FORMAT, "text is not UTF-8 or holds a zero byte");
    }
    return value;
}

static json_t *convert_sequence(struct fy_node *node, int depth, dstack_error *err) {
    DSTACK_AUTO(json) json_t *array = json_array();
    void *state = NULL;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(node, &state)) != NULL;) {
        json_t *value = convert(item, depth + 1, err);
        if (value == NULL || json_array_append_new(array, value) != 0) {
            return NULL;
        }
    }
    return json_incref(array);
}

static json_t *convert_mapping(struct fy_node *node, int depth, dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_object();
    void *state = NULL;
    for (struct fy_node_pair *pair; (pair = fy_node_mapping_iterate(node, &state)) != NULL;) {
        size_t len = 0;
        struct fy_node *key_node = fy_node_pair_key(pair);
        const char *text = fy_node_is_scalar(key_node) ? fy_node_get_scalar(key_node, &len) : NULL;
        DSTACK_AUTO(str) char *key = text != NULL ? strndup(text, len) : NULL;
        if (key == NULL || json_object_get(object, key) != NULL) {
            error_set(err, DSTACK_E_FORMAT, key == NULL ? "a key is not text" : "key twice: %s",
                      key);
            return NULL;
        }
        struct fy_node *value_node = fy_node_pair_value(pair);
        json_t *value = value_node != NULL ? convert(value_node, depth + 1, err) : json_null();
        if (value == NULL || json_object_set_new(object, key, value) != 0) {
            if (value == NULL && err != NULL && err->status == DSTACK_OK) {
                error_set(err, DSTACK_E_FORMAT, "key %s is not UTF-8", key);
            }
            return NULL;
        }
    }
    return json_incref(object);
}

static json_t *convert(struct fy_node *node, int depth, dstack_error *err) {
    if (depth > DEPTH_MAX) {
        error_set(err, DSTACK_E_LIMIT, "nested deeper than %d", DEPTH_MAX);
        return NULL;
    }
    if (fy_node_is_alias(node) || fy_node_get_tag(node, NULL) != NULL) {
        error_set(err, DSTACK_E_FORMAT, "aliases and tags are not taken");
        return NULL;
    }
    switch (fy_node_get_type(node)) {
    case FYNT_SCALAR:
        return convert_scalar(node, err);
    case FYNT_SEQUENCE:
        return convert_sequence(node, depth, err);
    case FYNT_MAPPING:
        return convert_mapping(node, depth, err);
    }
    return NULL;
}

static struct fy_document *parse(dstack_bytes text, dstack_buf *complaints) {
    struct fy_diag_cfg diag_config;
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    diag_config.output_fn = on_diag;
    diag_config.user = complaints;
    diag_config.colorize = false;
    struct fy_diag *diag = fy_diag_create(&diag_config);
    struct fy_parse_cfg config = {.flags = FYPCF_DEFAULT_DOC | FYPCF_QUIET, .diag = diag};
    config.flags &= ~(enum fy_parse_cfg_flags)FYPCF_QUIET;
    struct fy_document *document =
        fy_document_build_from_string(&config, (const char *)text.data, text.len);
    fy_diag_unref(diag);
    return document;
}

/* libfyaml 0.7 and 0.8 never return from a directive that is not UTF-8 ("%\xe1"). Directives say
 * nothing that a document of ours may say, so no line begins with one; and everything is UTF-8. */
static int check_text(dstack_bytes text, const char *what, dstack_error *err) {
    DSTACK_AUTO(json) json_t *valid = json_stringn((const char *)text.data, text.len);
    if (valid == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "%s is not UTF-8 text", what);
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '%' &&
            (i == 0 || text.data[i - 1] == '\n' || text.data[i - 1] == '\r')) {
            return error_set(err, DSTACK_E_FORMAT, "%s: YAML directives (%%) are not taken", what);
        }
    }
    return 0;
}

json_t *yaml_to_json(dstack_bytes text, size_t limit, const char *what, dstack_error *err) {
    if (text.len > limit) {
        error_set(err, DSTACK_E_LIMIT, "%s is larger than %zu bytes", what, limit);
        return NULL;
    }
    if (text.len == 0) {
        return json_object();
    }
    if (check_text(text, what, err) != 0) {
        return NULL;
    }
    DSTACK_AUTO(buf) dstack_buf complaints = {0};
    struct fy_document *document = parse(text, &complaints);
    if (document == NULL) {
        const char *said = buf_text(&complaints);
        error_set(err, DSTACK_E_FORMAT, "%s is not valid YAML: %s", what, said != NULL ? said : "");
        return NULL;
    }
    dstack_error own = {0};
    struct fy_node *root = fy_document_root(document);
    json_t *value = root != NULL ? convert(root, 0, &own) : json_object();
    if (value == NULL) {
        error_set(err, own.status != 0 ? own.status : DSTACK_E_MEMORY, "%s: %s", what, own.message);
    }
    fy_document_destroy(document);
    return value;
}

#else

json_t *yaml_to_json(dstack_bytes text, size_t limit, const char *what, dstack_error *err) {
    error_set(err, DSTACK_E_UNSUPPORTED, "%s: this build reads no YAML", what);
    return NULL;
}

#endif
