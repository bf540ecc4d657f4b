#ifndef SERVICE_RPC_INTERNAL_H
#define SERVICE_RPC_INTERNAL_H

#include "service/rpc.h"

#define RPC_MEMORY_MAX ((size_t)64 << 20)
#define RPC_DEPTH_MAX 16
#define RPC_ITEMS_MAX 65536

/* Zeroed; NULL when memory ran out. */
void *rpc_alloc(size_t size);
void rpc_release(void *data);
/* Slot for one more element of a repeated field of `count` elements. */
void *rpc_grow(size_t count, void **items, size_t element);

/* Where a field lives in its message. */
static inline void *rpc_field_at(const ProtobufCMessage *message,
                                 const ProtobufCFieldDescriptor *field) {
    return (char *)message + field->offset;
}
static inline size_t *rpc_field_count(const ProtobufCMessage *message,
                                      const ProtobufCFieldDescriptor *field) {
    return (size_t *)(void *)((char *)message + field->quantifier_offset);
}
static inline bool rpc_field_is_oneof(const ProtobufCFieldDescriptor *field) {
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}
/* The member of a oneof that is set, as its field number. */
static inline uint32_t *rpc_field_case(const ProtobufCMessage *message,
                                       const ProtobufCFieldDescriptor *field) {
    return (uint32_t *)(void *)((char *)message + field->quantifier_offset);
}
/* A map<K, V> arrives as repeated messages named ...Entry with the fields key and value; protobuf-c
 * does not keep the option that says so. */
bool rpc_field_is_map(const ProtobufCFieldDescriptor *field);
size_t rpc_type_size(ProtobufCType type);
/* Requests, whose fields named in `texts` (NULL-ended, or NULL) are texts that may hold zero
 * characters; see rpc_method.texts. */
int rpc_request_from_json(const ProtobufCMessageDescriptor *descriptor, const char *const *texts,
                          dstack_bytes text, ProtobufCMessage **out, dstack_error *err);
int rpc_request_from_query(const ProtobufCMessageDescriptor *descriptor, const char *const *texts,
                           const char *query, ProtobufCMessage **out, dstack_error *err);
int rpc_request_from_protobuf(const ProtobufCMessageDescriptor *descriptor,
                              const char *const *texts, dstack_bytes body, ProtobufCMessage **out,
                              dstack_error *err);
/* In a JSON object: the texts become the hex that their fields are read from. */
int rpc_texts_to_hex(const char *const *texts, json_t *object, dstack_error *err);
/* In a message: texts must be UTF-8. */
int rpc_texts_check(const char *const *texts, const ProtobufCMessage *message, dstack_error *err);
int rpc_message_from_value(const ProtobufCMessageDescriptor *descriptor, const json_t *value,
                           ProtobufCMessage **out, dstack_error *err);
/* Integers from 2^63 to 2^64 - 1 (rpc_json_number.c): whether a text may hold some, the text with
 * them quoted for the parser, and the number that such a string holds. */
bool rpc_has_long_number(dstack_bytes text);
void rpc_quote_big_integers(dstack_bytes text, dstack_buf *out);
bool rpc_read_big_integer(const json_t *value, uint64_t *out);
/* Marks a field as set; releases what another member of its oneof held. */
int rpc_choose(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, dstack_error *err);

#endif
