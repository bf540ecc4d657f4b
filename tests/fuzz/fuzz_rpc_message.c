/* RPC bodies: JSON, query arguments and protobuf of a message with every kind of field the KMS has.
 * The first byte picks the form. What decodes must encode again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "service/kms.pb-c.h"
#include "service/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const ProtobufCMessageDescriptor *descriptor, uint8_t form, dstack_bytes body) {
    ProtobufCMessage *message = NULL;
    if (form % 3 == 0) {
        rpc_message_from_json(descriptor, body, &message, NULL);
    } else if (form % 3 == 1) {
        rpc_message_from_protobuf(descriptor, body, &message, NULL);
    } else {
        char *query = strndup((const char *)body.data, body.len);
        rpc_message_from_query(descriptor, query, &message, NULL);
        free(query);
    }
    if (message != NULL) {
        dstack_buf out = {0};
        if (rpc_message_to_json(message, &out, NULL) != 0 ||
            rpc_message_to_protobuf(message, &out, NULL) != 0) {
            abort();
        }
        dstack_buf_clear(&out);
    }
    rpc_free_message(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 1) {
        decode(&kms__get_meta_response__descriptor, data[0], bytes_of(data + 1, size - 1));
        decode(&kms__sign_cert_response__descriptor, data[0], bytes_of(data + 1, size - 1));
    }
    return 0;
}
