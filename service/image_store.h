/* Guest images by their hash: a cache on disk, filled by downloads.
 *
 * An image is downloaded once however many ask for it at a time, also from several processes that
 * share the folder. It appears under its name whole and checked, or not at all. Shared among
 * threads. */
#ifndef SERVICE_IMAGE_STORE_H
#define SERVICE_IMAGE_STORE_H

#include <limits.h>

#include <dstack/bytes.h>

#include "base/auto.h"

#define IMAGE_STORE_PLACE "{OS_IMAGE_HASH}"

typedef struct image_store image_store;

typedef struct image_store_options {
    const char *cache_dir;
    const char *url; /* holds IMAGE_STORE_PLACE */
    int64_t timeout_ms;
    size_t download_max; /* bytes of an archive */
    size_t unpacked_max; /* bytes of its content */
    unsigned keep;       /* images on disk */
    unsigned parallel;   /* downloads at a time */
} image_store_options;

/* Options are copied. No folder is made yet. */
image_store *image_store_new(const image_store_options *options, dstack_error *err);
void image_store_free(image_store *store);
DSTACK_AUTO_DEFINE(image_store, image_store, image_store_free)

/* An image that stays where it is until it is released. */
typedef struct image_lease {
    char path[PATH_MAX];
    int lock; /* -1: none */
    bool is_dev;
    char version[32];
} image_lease;

/* hash: 64 lower-case hex digits. Messages start "Failed to download image <hash>: ". */
int image_store_take(image_store *store, const char *hash, image_lease *out, dstack_error *err);
void image_lease_release(image_lease *lease);
DSTACK_AUTO_DEFINE_CLEAR(image_lease, image_lease, image_lease_release)

#endif
