/* The initramfs' reading of the kernel command line. */
#include <stdlib.h>
#include <string.h>

#include "init.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct root_spec spec;
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (root_spec_parse(text, &spec) == NULL &&
        (strlen(spec.hash) != INIT_HASH_HEX_LEN || spec.size == 0 ||
         spec.size % INIT_BLOCK_SIZE != 0 || spec.device[0] == '\0')) {
        abort();
    }
    free(text);
    return 0;
}
