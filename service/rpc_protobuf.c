#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "service/rpc_internal.h"

int rpc_message_to_protobuf(const ProtobufCMessage *message, dstack_buf *out, dstack_error *err) {
    size_t size = protobuf_c_message_get_packed_size(message);
    buf_reserve(out, size);
    int rc = buf_check(out, err);
    if (rc == 0) {
        out->len += protobuf_c_message_pack(message, out->data + out->len);
    }
    return rc;
}

/* RFC 3629, section 4. */
static bool is_utf8(const unsigned char *p) {
    while (*p != 0) {
        unsigned follow = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : (*p & 0xf0) == 0xe0 ? 2 : 3;
        unsigned char first = *p++;
        if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || (first == 0xe0 && *p < 0xa0) ||
            (first == 0xed && *p > 0x9f) || (first == 0xf0 && *p < 0x90) ||
            (first == 0xf4 && *p > 0x8f)) {
            return false;
        }
        for (; follow > 0; follow--, p++) {
            if ((*p & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

static int check_texts(const ProtobufCMessage *message, dstack_error *err);

static int check_value(const ProtobufCFieldDescriptor *field, const void *at, dstack_error *err) {
    const void *pointer = *(void *const *)at;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return pointer != NULL ? check_texts(pointer, err) : 0;
    }
    return pointer == NULL || is_utf8(pointer)
               ? 0
               : error_set(err, DSTACK_E_FORMAT,
                           "failed to decode Protobuf message: %s: invalid "
                           "string value: data is not UTF-8 encoded",
                           field->name);
}

/* Texts must be UTF-8: the decoder takes any bytes. */
static int check_texts(const ProtobufCMessage *message, dstack_error *err) {
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        bool list = field->label == PROTOBUF_C_LABEL_REPEATED;
        if (rpc_field_is_oneof(field) && *rpc_field_case(message, field) != field->id) {
            continue;
        }
        size_t count = list ? *rpc_field_count(message, field) : 1;
        const char *at = list ? *(char *const *)rpc_field_at(message, field)
                              : (const char *)rpc_field_at(message, field);
        for (size_t k = 0; k < count; k++) {
            int rc = check_value(field, at + k * sizeof(void *), err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

int rpc_message_from_protobuf(const ProtobufCMessageDescriptor *descriptor, dstack_bytes body,
                              ProtobufCMessage **out, dstack_error *err) {
    static const uint8_t nothing;
    *out = protobuf_c_message_unpack(descriptor, &rpc_allocator, body.len,
                                     body.data != NULL ? body.data : &nothing);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_FORMAT,
                         "failed to decode Protobuf message: malformed input");
    }
    int rc = check_texts(*out, err);
    if (rc != 0) {
        rpc_free_message(*out);
        *out = NULL;
    }
    return rc;
}
