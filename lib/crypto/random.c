#include "crypto/random.h"

#include <sodium.h>

void random_fill(void *out, size_t len) {
    randombytes_buf(out, len);
}
