/* The app manifest, its requirements, and the canonical form. */
#include <stdlib.h>

#include "base/buf.h"
#include "manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    DSTACK_AUTO(buf) dstack_buf once = {0};
    DSTACK_AUTO(buf) dstack_buf twice = {0};
    if (dstack_manifest_parse(bytes_of(data, size), &manifest, NULL) == 0) {
        const dstack_manifest_host host = {.os_version = "0.6.0", .user_config = {data, size}};
        (void)dstack_manifest_check_host(manifest, &host, NULL);
    }
    if (dstack_compose_canonical(bytes_of(data, size), true, &once, NULL) == 0 &&
        (dstack_compose_canonical(bytes_of_buf(&once), true, &twice, NULL) != 0 ||
         !bytes_equal(bytes_of_buf(&once), bytes_of_buf(&twice)))) {
        abort();
    }
    return 0;
}
