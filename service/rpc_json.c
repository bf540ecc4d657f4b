/* Messages to and from JSON by their descriptors. The JSON form is the reference system's own, not
 * protobuf's: snake_case, everything present, bytes as hex, integers always numbers. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "service/rpc_internal.h"

size_t rpc_type_size(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

bool rpc_field_is_map(const ProtobufCFieldDescriptor *field) {
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return false;
    }
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    size_t len = strlen(entry->short_name);
    return len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0 && entry->n_fields == 2 &&
           strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static int write_message(const ProtobufCMessage *message, dstack_buf *out, int depth,
                         dstack_error *err);

/* The character that starts at *at, which moves behind it; U+FFFD for what is no UTF-8. */
static uint32_t next_character(const unsigned char **at) {
    const unsigned char *p = *at;
    unsigned follow = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : p[0] < 0xf5 ? 3 : 0;
    uint32_t c = follow == 0 ? 0xfffd : p[0] & (0x3fu >> follow);
    for (unsigned i = 1; i <= follow; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *at = p + i;
            return 0xfffd;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    *at = p + 1 + follow;
    return c;
}

/* Some clients count characters where Content-Length counts bytes and then wait for more: answers
 * are ASCII, so that both numbers agree. */
static void write_escaped(uint32_t c, dstack_buf *out) {
    if (c >= 0x10000) {
        buf_put_fmt(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                    0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        buf_put_fmt(out, "\\u%04x", c);
    }
}

static void write_string(const char *text, dstack_buf *out) {
    static const char short_forms[256] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                          ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    const unsigned char *p = (const unsigned char *)(text != NULL ? text : "");
    buf_put_u8(out, '"');
    while (*p != 0) {
        const unsigned char *run = p;
        while (*p >= ' ' && *p < 0x7f && short_forms[*p] == 0) {
            p++;
        }
        buf_put(out, run, (size_t)(p - run));
        if (*p == 0) {
            break;
        }
        if (short_forms[*p] != 0) {
            const char pair[2] = {'\\', short_forms[*p++]};
            buf_put(out, pair, sizeof pair);
        } else if (*p < 0x80) {
            write_escaped(*p++, out);
        } else {
            write_escaped(next_character(&p), out);
        }
    }
    buf_put_u8(out, '"');
}

static int write_value(ProtobufCType type, const void *at, dstack_buf *out, int depth,
                       dstack_error *err) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        buf_put_fmt(out, "%" PRId32, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_put_fmt(out, "%" PRIu32, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_put_fmt(out, "%" PRId64, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_put_fmt(out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        buf_put_fmt(out, "%.9g", (double)*(const float *)at);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        buf_put_fmt(out, "%.17g", *(const double *)at);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_put_str(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_STRING:
        write_string(*(char *const *)at, out);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *data = at;
        buf_put_u8(out, '"');
        buf_put_hex(out, bytes_of(data->data, data->len));
        buf_put_u8(out, '"');
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(ProtobufCMessage *const *)at == NULL) {
            buf_put_str(out, "null");
            return 0;
        }
        return write_message(*(ProtobufCMessage *const *)at, out, depth, err);
    }
    return 0;
}

static int write_map_entry(const ProtobufCMessage *entry, dstack_buf *out, int depth,
                           dstack_error *err) {
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    bool quote = fields[0].type != PROTOBUF_C_TYPE_STRING;
    buf_put_str(out, quote ? "\"" : "");
    int rc = write_value(fields[0].type, rpc_field_at(entry, &fields[0]), out, depth, err);
    buf_put_str(out, quote ? "\":" : ":");
    return rc != 0 ? rc
                   : write_value(fields[1].type, rpc_field_at(entry, &fields[1]), out, depth, err);
}

static int write_repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          dstack_buf *out, int depth, dstack_error *err) {
    bool map = rpc_field_is_map(field);
    size_t count = *rpc_field_count(message, field);
    size_t size = rpc_type_size(field->type);
    const char *items = *(char *const *)rpc_field_at(message, field);
    int rc = 0;
    buf_put_u8(out, map ? '{' : '[');
    for (size_t i = 0; rc == 0 && i < count; i++) {
        buf_put_str(out, i > 0 ? "," : "");
        const void *at = items + i * size;
        rc = map ? write_map_entry(*(ProtobufCMessage *const *)at, out, depth, err)
                 : write_value(field->type, at, out, depth, err);
    }
    buf_put_u8(out, map ? '}' : ']');
    return rc;
}

/* Fields in the order they are declared: protobuf-c keeps them by number, and our .proto files
 * declare by rising number wherever the order matters. */
static int write_message(const ProtobufCMessage *message, dstack_buf *out, int depth,
                         dstack_error *err) {
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    if (depth > RPC_DEPTH_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "message is nested deeper than %d", RPC_DEPTH_MAX);
    }
    int rc = 0;
    buf_put_u8(out, '{');
    for (unsigned i = 0; rc == 0 && i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        buf_put_str(out, i > 0 ? ",\"" : "\"");
        buf_put_str(out, field->name);
        buf_put_str(out, "\":");
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            rc = write_repeated(message, field, out, depth + 1, err);
        } else if (rpc_field_is_oneof(field) && *rpc_field_case(message, field) != field->id) {
            buf_put_str(out, "null");
        } else {
            rc = write_value(field->type, rpc_field_at(message, field), out, depth + 1, err);
        }
    }
    buf_put_u8(out, '}');
    return rc;
}

int rpc_message_to_json(const ProtobufCMessage *message, dstack_buf *out, dstack_error *err) {
    /* Hex doubles the size at most; names and punctuation come on top. Reserved at once, so that no
     * copies of key material stay behind in outgrown memory. */
    buf_reserve(out, protobuf_c_message_get_packed_size(message) * 2 + 4096);
    int rc = write_message(message, out, 0, err);
    return rc != 0 ? rc : buf_check(out, err);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static const char *kind_of(const json_t *value) {
    static const char *const kinds[] = {"object", "array",   "string",  "integer",
                                        "real",   "boolean", "boolean", "null"};
    return kinds[json_typeof(value)];
}

static int type_error(const char *name, const char *wanted, const json_t *value,
                      dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "%s: invalid type: %s, expected %s", name,
                     kind_of(value), wanted);
}

static int read_message(const ProtobufCMessageDescriptor *descriptor, const json_t *object,
                        int depth, ProtobufCMessage **out, dstack_error *err);

static int read_integer(const ProtobufCFieldDescriptor *field, const json_t *value, void *at,
                        dstack_error *err) {
    bool wide = field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64;
    if (wide && rpc_read_big_integer(value, at)) {
        return 0;
    }
    if (!json_is_integer(value)) {
        return type_error(field->name, "an integer", value, err);
    }
    json_int_t number = json_integer_value(value);
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)at = (uint64_t)number;
        return number >= 0 ? 0 : type_error(field->name, "an unsigned integer", value, err);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)at = (uint32_t)number;
        return number >= 0 && number <= UINT32_MAX
                   ? 0
                   : type_error(field->name, "an unsigned 32-bit integer", value, err);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        *(int64_t *)at = number;
        return 0;
    default:
        *(int32_t *)at = (int32_t)number;
        return number >= INT32_MIN && number <= INT32_MAX
                   ? 0
                   : type_error(field->name, "a 32-bit integer", value, err);
    }
}

static int read_hex(const char *name, const json_t *value, ProtobufCBinaryData *out,
                    dstack_error *err) {
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    while (text[0] == '0' && text[1] == 'x') {
        text += 2;
        len -= 2;
    }
    for (size_t i = 0; i < len; i++) {
        if (memchr(digits, text[i], sizeof digits - 1) == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "%s: Invalid character '%c' at position %zu",
                             name, text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?', i);
        }
    }
    if (len % 2 != 0) {
        return error_set(err, DSTACK_E_FORMAT, "%s: Odd number of digits", name);
    }
    uint8_t *data = rpc_alloc(len / 2);
    if (data == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    *out = (ProtobufCBinaryData){.len = len / 2, .data = data};
    return hex_decode_fixed(text, data, len / 2, err);
}

static int read_value(const ProtobufCFieldDescriptor *field, const json_t *value, void *at,
                      int depth, dstack_error *err) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = json_is_true(value);
        return json_is_boolean(value) ? 0 : type_error(field->name, "a boolean", value, err);
    case PROTOBUF_C_TYPE_STRING: {
        if (!json_is_string(value)) {
            return type_error(field->name, "a string", value, err);
        }
        if (strlen(json_string_value(value)) != json_string_length(value)) {
            return error_set(err, DSTACK_E_FORMAT, "%s: text holds a zero character", field->name);
        }
        char *text = NULL;
        rpc_set_str(&text, json_string_value(value));
        *(char **)at = text;
        return text != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    case PROTOBUF_C_TYPE_BYTES:
        return json_is_string(value) ? read_hex(field->name, value, at, err)
                                     : type_error(field->name, "a string", value, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        return read_message(field->descriptor, value, depth + 1, at, err);
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)at = (float)json_number_value(value);
        return json_is_number(value) ? 0 : type_error(field->name, "a number", value, err);
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = json_number_value(value);
        return json_is_number(value) ? 0 : type_error(field->name, "a number", value, err);
    default:
        return read_integer(field, value, at, err);
    }
}

int rpc_choose(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
               dstack_error *err) {
    if (rpc_field_is_oneof(field)) {
        uint32_t *chosen = rpc_field_case(message, field);
        if (*chosen != 0) {
            return error_set(err, DSTACK_E_FORMAT, "%s: another member of its group is set",
                             field->name);
        }
        *chosen = field->id;
    }
    return 0;
}

static int read_element(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                        const json_t *value, int depth, dstack_error *err) {
    size_t *count = rpc_field_count(message, field);
    if (*count >= RPC_ITEMS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "%s: more than %d elements", field->name,
                         RPC_ITEMS_MAX);
    }
    void *slot = rpc_grow(*count, rpc_field_at(message, field), rpc_type_size(field->type));
    if (slot == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    ++*count; /* first, so that a half-read element is freed with the message */
    return read_value(field, value, slot, depth, err);
}

static int read_map(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, json_t *value,
                    int depth, dstack_error *err) {
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (!json_is_object(value)) {
        return type_error(field->name, "a map", value, err);
    }
    const char *key;
    json_t *item;
    json_object_foreach(value, key, item) {
        DSTACK_AUTO(json) json_t *pair = json_object();
        json_t *key_value = entry->fields[0].type == PROTOBUF_C_TYPE_STRING
                                ? json_string(key)
                                : json_loads(key, JSON_DECODE_ANY, NULL);
        if (key_value == NULL || json_object_set_new(pair, "key", key_value) != 0 ||
            json_object_set(pair, "value", item) != 0) {
            return error_set(err, DSTACK_E_FORMAT, "%s: key of the map is not valid", field->name);
        }
        int rc = read_element(message, field, pair, depth, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                      json_t *value, int depth, dstack_error *err) {
    bool optional = rpc_field_is_oneof(field) || (field->type == PROTOBUF_C_TYPE_MESSAGE &&
                                                  field->label != PROTOBUF_C_LABEL_REPEATED);
    if (json_is_null(value)) {
        return optional ? 0 : type_error(field->name, "a value", value, err);
    }
    if (rpc_field_is_map(field)) {
        return read_map(message, field, value, depth, err);
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        if (!json_is_array(value)) {
            return type_error(field->name, "a sequence", value, err);
        }
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) {
            int rc = read_element(message, field, item, depth, err);
            if (rc != 0) {
                return rc;
            }
        }
        return 0;
    }
    int rc = rpc_choose(message, field, err);
    return rc != 0 ? rc : read_value(field, value, rpc_field_at(message, field), depth, err);
}

static int read_message(const ProtobufCMessageDescriptor *descriptor, const json_t *object,
                        int depth, ProtobufCMessage **out, dstack_error *err) {
    if (!json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "invalid type: %s, expected struct %s",
                         kind_of(object), descriptor->short_name);
    }
    if (depth > RPC_DEPTH_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "message is nested deeper than %d", RPC_DEPTH_MAX);
    }
    *out = rpc_new_message(descriptor);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        json_t *value = json_object_get(object, descriptor->fields[i].name);
        int rc = value != NULL ? read_field(*out, &descriptor->fields[i], value, depth, err) : 0;
        if (rc != 0) {
            return rc; /* the owner of the outermost message frees it */
        }
    }
    return 0;
}

int rpc_message_from_json(const ProtobufCMessageDescriptor *descriptor, dstack_bytes text,
                          ProtobufCMessage **out, dstack_error *err) {
    return rpc_request_from_json(descriptor, NULL, text, out, err);
}

int rpc_request_from_json(const ProtobufCMessageDescriptor *descriptor, const char *const *texts,
                          dstack_bytes text, ProtobufCMessage **out, dstack_error *err) {
    *out = NULL;
    if (text.len == 0) {
        *out = rpc_new_message(descriptor);
        return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    json_error_t at;
    DSTACK_AUTO(wiped_buf) dstack_buf quoted = {0};
    if (rpc_has_long_number(text)) {
        buf_reserve(&quoted, 2 * text.len);
        rpc_quote_big_integers(text, &quoted);
        text = bytes_of_buf(&quoted);
    }
    DSTACK_AUTO(json)
    json_t *value = json_loadb((const char *)text.data, text.len,
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (value == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "%s at line %d column %d", at.text, at.line,
                         at.column);
    }
    int rc = rpc_texts_to_hex(texts, value, err);
    return rc != 0 ? rc : rpc_message_from_value(descriptor, value, out, err);
}

int rpc_message_from_value(const ProtobufCMessageDescriptor *descriptor, const json_t *value,
                           ProtobufCMessage **out, dstack_error *err) {
    *out = NULL;
    int rc = read_message(descriptor, value, 0, out, err);
    if (rc != 0) {
        rpc_free_message(*out);
        *out = NULL;
    }
    return rc;
}
