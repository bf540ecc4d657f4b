/* EAR tokens and key sets from anywhere: the input up to its first line feed is the token, the rest
 * the key set. */
#include <stdint.h>
#include <string.h>

#include <dstack/ear.h>

#include "base/auto.h"
#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    if (end != NULL) {
        size_t len = (size_t)(end - data);
        DSTACK_AUTO(buf) dstack_buf claims = {0};
        (void)dstack_ear_verify(bytes_of(data, len), bytes_of(end + 1, size - len - 1), 1800000000,
                                &claims, NULL);
    }
    return 0;
}
