/* Query arguments as a message: a=1&list[0]=x&list[]=y. They become a JSON object first, so that
 * both inputs obey the same rules. */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "service/http_internal.h"
#include "service/rpc_internal.h"

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor,
                                                  const char *name, size_t len) {
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const char *own = descriptor->fields[i].name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) {
            return &descriptor->fields[i];
        }
    }
    return NULL;
}

static bool is_number(ProtobufCType type) {
    return type != PROTOBUF_C_TYPE_BOOL && type != PROTOBUF_C_TYPE_STRING &&
           type != PROTOBUF_C_TYPE_BYTES && type != PROTOBUF_C_TYPE_MESSAGE;
}

/* New JSON value for an argument; NULL with err set. */
static json_t *typed(const ProtobufCFieldDescriptor *field, const char *text, dstack_error *err) {
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            error_set(err, DSTACK_E_FORMAT, "provided string was not `true` or `false`");
            return NULL;
        }
        return json_boolean(text[0] == 't');
    }
    if (is_number(field->type)) {
        char *end;
        errno = 0;
        long long number = strtoll(text, &end, 10);
        bool digits = (text[0] >= '0' && text[0] <= '9') ||
                      (text[0] == '-' && text[1] >= '0' && text[1] <= '9');
        if (!digits || *end != 0 || errno != 0) {
            error_set(err, DSTACK_E_FORMAT, "%s: invalid digit found in string", field->name);
            return NULL;
        }
        return json_integer(number);
    }
    json_t *value = field->type == PROTOBUF_C_TYPE_MESSAGE ? NULL : json_string(text);
    if (value == NULL) {
        error_set(err, DSTACK_E_FORMAT,
                  field->type == PROTOBUF_C_TYPE_MESSAGE ? "%s: cannot be given as a query argument"
                                                         : "%s: text is not UTF-8",
                  field->name);
    }
    return value;
}

/* The "[...]" after a list's name: empty, or a number. */
static bool is_index(const char *text) {
    size_t len = strlen(text);
    return len >= 2 && text[0] == '[' && text[len - 1] == ']' &&
           strspn(text + 1, "0123456789") == len - 2;
}

static int add_argument(const ProtobufCMessageDescriptor *descriptor, const char *name,
                        const char *text, json_t *object, dstack_error *err) {
    size_t len = strcspn(name, "[");
    const ProtobufCFieldDescriptor *field = find_field(descriptor, name, len);
    if (field == NULL) {
        return 0;
    }
    bool list = field->label == PROTOBUF_C_LABEL_REPEATED;
    if (list != (name[len] != 0) || (list && !is_index(name + len))) {
        return error_set(err, DSTACK_E_FORMAT,
                         list ? "%s: invalid type: string, expected a sequence"
                              : "%s: invalid type: sequence, expected a value",
                         field->name);
    }
    if (is_number(field->type) && text[0] == 0 && rpc_field_is_oneof(field)) {
        return 0;
    }
    if (!list && json_object_get(object, field->name) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "Multiple values for one key: \"%s\"", field->name);
    }
    json_t *value = typed(field, text, err);
    if (value == NULL) {
        return DSTACK_E_FORMAT;
    }
    if (!list) {
        return json_object_set_new(object, field->name, value) == 0
                   ? 0
                   : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    json_t *array = json_object_get(object, field->name);
    if (array == NULL) {
        array = json_array();
        json_object_set_new(object, field->name, array);
    }
    return json_array_append_new(array, value) == 0
               ? 0
               : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

int rpc_message_from_query(const ProtobufCMessageDescriptor *descriptor, const char *query,
                           ProtobufCMessage **out, dstack_error *err) {
    return rpc_request_from_query(descriptor, NULL, query, out, err);
}

int rpc_request_from_query(const ProtobufCMessageDescriptor *descriptor, const char *const *texts,
                           const char *query, ProtobufCMessage **out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_object();
    *out = NULL;
    for (const char *part = query; *part != 0;) {
        size_t len = strcspn(part, "&");
        const char *equals = memchr(part, '=', len);
        size_t name_len = equals != NULL ? (size_t)(equals - part) : len;
        size_t skip = equals != NULL ? name_len + 1 : len;
        DSTACK_AUTO(str) char *name = http_decode(part, name_len, true);
        DSTACK_AUTO(str) char *text = http_decode(part + skip, len - skip, true);
        if (name == NULL || text == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "query is not valid percent-encoding");
        }
        int rc = add_argument(descriptor, name, text, object, err);
        if (rc != 0) {
            return rc;
        }
        part += len + (part[len] == '&');
    }
    int rc = rpc_texts_to_hex(texts, object, err);
    return rc != 0 ? rc : rpc_message_from_value(descriptor, object, out, err);
}
