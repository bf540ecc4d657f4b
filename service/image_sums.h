/* sha256sum.txt of a guest image: what belongs to it. */
#ifndef SERVICE_IMAGE_SUMS_H
#define SERVICE_IMAGE_SUMS_H

#include <dstack/bytes.h>

#define IMAGE_SUMS_FILE "sha256sum.txt"
#define IMAGE_SUMS_SIZE_MAX ((size_t)64 << 10)
#define IMAGE_SUMS_MAX 128
#define IMAGE_NAME_SIZE 129

typedef struct image_sum {
    char name[IMAGE_NAME_SIZE]; /* can stand as one path component */
    uint8_t digest[32];
} image_sum;

typedef struct image_sums {
    size_t count;
    image_sum items[IMAGE_SUMS_MAX];
} image_sums;

/* Lines "digest name"; empty lines are skipped. DSTACK_E_FORMAT, DSTACK_E_LIMIT. */
int image_sums_parse(dstack_bytes text, image_sums *out, dstack_error *err);
bool image_sums_has(const image_sums *sums, const char *name);

#endif
