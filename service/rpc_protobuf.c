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

static uint64_t varint(cursor *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = cursor_u8(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    c->failed = true;
    return 0;
}

/* A text with a zero character would be cut there by the decoder, whose texts are C strings: it would
 * become another text. Name of the field that holds one, or NULL. What is malformed is left to the
 * decoder. Wire types: Protocol Buffers encoding, "message structure". */
static const char *text_with_zero(const ProtobufCMessageDescriptor *descriptor, dstack_bytes body,
                                  int depth) {
    cursor c = cursor_init(body);
    while (cursor_ok(&c) && cursor_left(&c) > 0 && depth <= RPC_DEPTH_MAX) {
        uint64_t key = varint(&c);
        if ((key & 7) == 2) {
            const ProtobufCFieldDescriptor *field =
                protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
            dstack_bytes value = cursor_take(&c, (size_t)varint(&c));
            if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING && value.len > 0 &&
                memchr(value.data, 0, value.len) != NULL) {
                return field->name;
            }
            const char *inner = field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE
                                    ? text_with_zero(field->descriptor, value, depth + 1)
                                    : NULL;
            if (inner != NULL) {
                return inner;
            }
        } else if ((key & 7) == 0) {
            varint(&c);
        } else if ((key & 7) == 1 || (key & 7) == 5) {
            cursor_skip(&c, (key & 7) == 1 ? 8 : 4);
        } else {
            break;
        }
    }
    return NULL;
}

int rpc_message_from_protobuf(const ProtobufCMessageDescriptor *descriptor, dstack_bytes body,
                              ProtobufCMessage **out, dstack_error *err) {
    return rpc_request_from_protobuf(descriptor, NULL, body, out, err);
}

int rpc_request_from_protobuf(const ProtobufCMessageDescriptor *descriptor,
                              const char *const *texts, dstack_bytes body, ProtobufCMessage **out,
                              dstack_error *err) {
    static const uint8_t nothing;
    const char *cut = text_with_zero(descriptor, body, 0);
    *out = NULL;
    if (cut != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "%s: text holds a zero character", cut);
    }
    *out = protobuf_c_message_unpack(descriptor, &rpc_allocator, body.len,
                                     body.data != NULL ? body.data : &nothing);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_FORMAT,
                         "failed to decode Protobuf message: malformed input");
    }
    int rc = check_texts(*out, err);
    rc = rc != 0 ? rc : rpc_texts_check(texts, *out, err);
    if (rc != 0) {
        rpc_free_message(*out);
        *out = NULL;
    }
    return rc;
}
