/* Guest images as the VMM sees them: one folder each, described by metadata.json. */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stdbool.h>

#include <jansson.h>

#include <dstack/bytes.h>

#include "base/auto.h"
#include "names.h"

struct vm_image {
    char name[IMAGE_NAME_MAX + 1];
    char *dir; /* absolute */
    json_t *metadata;
    char *kernel, *initrd;    /* absolute paths inside dir */
    char *bios, *rootfs;      /* NULL when the image names none */
    const char *cmdline;      /* owned by metadata; "" when missing */
    const char *version;      /* owned by metadata or name; "" when unknown */
    const char *ovmf_variant; /* NULL when missing */
    bool shared_ro, is_dev;
    char digest[65]; /* of digest.txt; "" when missing */
};

/* Loads <images>/<name>: files named by the metadata must exist inside the folder. */
int vm_image_load(const char *images, const char *name, struct vm_image *out, dstack_error *err);
void vm_image_clear(struct vm_image *image);
DSTACK_AUTO_DEFINE_CLEAR(vm_image, struct vm_image, vm_image_clear)

/* Names of every loadable image, sorted, as a JSON array of {name, description, version, is_dev}.
 * DSTACK_E_IO "Failed to read image directory". */
int vm_image_list(const char *images, json_t **out, dstack_error *err);
/* Value of dstack.sim_root= in the command line into out[65]; false when there is none. */
bool vm_image_sim_root(const struct vm_image *image, char out[65]);
/* {"checksum_file", "measurement"} of measurement.tdx.cbor and sha256sum.txt; *out NULL when the
 * image lacks one of them. */
int vm_image_tdx_measurement(const struct vm_image *image, json_t **out, dstack_error *err);

#endif
