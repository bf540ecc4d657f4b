/* sha256sum.txt of an image: every name that comes out can stand as one path component. */
#include <stdint.h>
#include <stdlib.h>

#include "base/cursor.h"
#include "base/file.h"
#include "service/image_sums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static image_sums sums;
    if (image_sums_parse(bytes_of(data, size), &sums, NULL) == 0) {
        for (size_t i = 0; i < sums.count; i++) {
            if (file_check_name(sums.items[i].name, "file", NULL) != 0 ||
                !image_sums_has(&sums, sums.items[i].name)) {
                abort();
            }
        }
    }
    return 0;
}
