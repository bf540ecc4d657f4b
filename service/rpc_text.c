/* Texts that may hold zero characters. Such a field is `bytes` in our .proto, which is the same on the
 * wire as `string` but keeps its length; here it gets the rules of a text back. */
#include <jansson.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "service/rpc_internal.h"

int rpc_texts_to_hex(const char *const *texts, json_t *object, dstack_error *err) {
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        const json_t *value = json_object_get(object, texts[i]);
        if (!json_is_string(value)) {
            continue; /* missing, or refused by the reader as any other wrong type */
        }
        json_t *hex = json_hex(bytes_of(json_string_value(value), json_string_length(value)));
        if (hex == NULL || json_object_set_new(object, texts[i], hex) != 0) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
    }
    return 0;
}

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessage *message, const char *name) {
    return protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
}

int rpc_texts_check(const char *const *texts, const ProtobufCMessage *message, dstack_error *err) {
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        const ProtobufCBinaryData *data = rpc_field_at(message, field_of(message, texts[i]));
        /* jansson's constructor is a UTF-8 check that knows of lengths. */
        json_t *text = json_stringn(data->data != NULL ? (const char *)data->data : "", data->len);
        if (text == NULL) {
            return error_set(err, DSTACK_E_FORMAT,
                             "failed to decode Protobuf message: %s: invalid string value: data is "
                             "not UTF-8 encoded",
                             texts[i]);
        }
        json_decref(text);
    }
    return 0;
}
