/* The document of a version 3 launch-time configuration id. */
#include "attest/attest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t hash[32] = {1};
    const dstack_mr_config local = {.compose_hash = bytes_of(hash, sizeof hash),
                                    .app_id = bytes_of(hash, 20)};
    uint8_t id[DSTACK_REGISTER_SIZE];
    bool bound;
    dstack_mr_config_document_id(bytes_of(data, size), id);
    (void)dstack_mr_config_check(id, bytes_of(data, size), &local, &bound, NULL);
    return 0;
}
