/* Memory of RPC messages: wiped when freed, because some of them carry keys. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "service/rpc.h"
#include "service/rpc_internal.h"

/* Before each block; keeps the alignment malloc gives. */
typedef union block_head {
    size_t size;
    max_align_t align;
} block_head;

static void *block_alloc(void *user, size_t size) {
    (void)user;
    if (size > RPC_MEMORY_MAX) {
        return NULL;
    }
    block_head *head = malloc(sizeof *head + size);
    if (head == NULL) {
        return NULL;
    }
    head->size = size;
    return head + 1;
}

static void block_free(void *user, void *data) {
    (void)user;
    if (data != NULL) {
        block_head *head = (block_head *)data - 1;
        sodium_memzero(data, head->size);
        free(head);
    }
}

ProtobufCAllocator rpc_allocator = {.alloc = block_alloc, .free = block_free};

void *rpc_alloc(size_t size) {
    void *data = block_alloc(NULL, size == 0 ? 1 : size);
    if (data != NULL) {
        memset(data, 0, size == 0 ? 1 : size);
    }
    return data;
}

void rpc_release(void *data) {
    block_free(NULL, data);
}

void rpc_set_str(char **field, const char *text) {
    size_t len = strlen(text);
    char *copy = rpc_alloc(len + 1);
    if (copy != NULL) {
        memcpy(copy, text, len + 1);
        if (*field != NULL && *field != protobuf_c_empty_string) {
            rpc_release(*field);
        }
        *field = copy;
    }
}

void rpc_set_bytes(ProtobufCBinaryData *field, dstack_bytes bytes) {
    uint8_t *copy = rpc_alloc(bytes.len);
    if (copy != NULL) {
        if (bytes.len > 0) {
            memcpy(copy, bytes.data, bytes.len);
        }
        rpc_release(field->data);
        *field = (ProtobufCBinaryData){.len = bytes.len, .data = copy};
    }
}

/* Room for one more element; NULL leaves the field as it was. Repeated fields are short, so each
 * addition may copy. */
void *rpc_grow(size_t count, void **items, size_t element) {
    char *grown = rpc_alloc((count + 1) * element);
    if (grown == NULL) {
        return NULL;
    }
    if (count > 0) {
        memcpy(grown, *items, count * element);
    }
    rpc_release(*items);
    *items = grown;
    return grown + count * element;
}

void rpc_add_str(size_t *count, char ***items, const char *text) {
    char **slot = rpc_grow(*count, (void **)items, sizeof(char *));
    if (slot != NULL) {
        *slot = NULL;
        rpc_set_str(slot, text);
        *count += *slot != NULL;
    }
}

void rpc_add_bytes(size_t *count, ProtobufCBinaryData **items, dstack_bytes bytes) {
    ProtobufCBinaryData *slot = rpc_grow(*count, (void **)items, sizeof *slot);
    if (slot != NULL) {
        *slot = (ProtobufCBinaryData){0};
        rpc_set_bytes(slot, bytes);
        *count += slot->data != NULL;
    }
}

ProtobufCMessage *rpc_new_message(const ProtobufCMessageDescriptor *descriptor) {
    ProtobufCMessage *message = rpc_alloc(descriptor->sizeof_message);
    if (message != NULL) {
        descriptor->message_init(message);
    }
    return message;
}

ProtobufCMessage *rpc_add_message(size_t *count, void *items,
                                  const ProtobufCMessageDescriptor *descriptor) {
    ProtobufCMessage **slot = rpc_grow(*count, items, sizeof *slot);
    if (slot == NULL || (*slot = rpc_new_message(descriptor)) == NULL) {
        return NULL;
    }
    ++*count;
    return *slot;
}

void rpc_free_message(ProtobufCMessage *message) {
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, &rpc_allocator);
    }
}
