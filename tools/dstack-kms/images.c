/* Whether registers follow from the image that vm_config names: by the measurement document that the
 * caller brings, or by the image itself, fetched by its hash. */
#include <string.h>

#include <dstack/measure.h>

#include "base/cursor.h"
#include "base/error.h"
#include "kms.h"
#include "service/image_answers.h"
#if DSTACK_HAVE_IMAGES
#include "service/image_store.h"
#endif

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)

#if DSTACK_HAVE_IMAGES
int kms_images_open(kms *k, dstack_error *err) {
    const char *url = config_str(k->config, "core.image.download_url");
    if (url[0] == '\0') {
        return 0;
    }
    const image_store_options options = {
        .cache_dir = config_str(k->config, "core.image.cache_dir"),
        .url = url,
        .timeout_ms = config_duration_ms(k->config, "core.image.download_timeout"),
        .download_max = config_size(k->config, "core.image.download_max"),
        .unpacked_max = config_size(k->config, "core.image.unpacked_max"),
        .keep = (unsigned)config_int(k->config, "core.image.keep"),
        .parallel = (unsigned)config_int(k->config, "core.image.downloads"),
    };
    k->images = image_store_new(&options, err);
    return k->images != NULL ? 0 : DSTACK_E_MEMORY;
}

void kms_images_close(kms *k) {
    image_store_free(k->images);
}

/* What a server gives for a hash proves that an image of that hash exists. That it may run was the
 * policy's word, before anything was fetched. */
static int check_download(kms *k, const char *image, const dstack_image_question *question,
                          dstack_anchor *anchor, uint8_t hash[32], dstack_error *err) {
    DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
    int rc = image_store_take(k->images, image, &lease, err);
    rc = rc != 0 ? rc : dstack_measure_image_check(lease.path, question, anchor, hash, err);
    if (rc == 0 && *anchor == DSTACK_ANCHOR_REFERENCE_IMAGE) {
        *anchor = DSTACK_ANCHOR_SELF_ASSERTED;
    }
    return rc;
}
#else
int kms_images_open(kms *k, dstack_error *err) {
    return config_str(k->config, "core.image.download_url")[0] == '\0'
               ? 0
               : error_set(err, DSTACK_E_UNSUPPORTED,
                           "core.image.download_url: this build has no download of images");
}

void kms_images_close(kms *k) {
    (void)k;
}

static int check_download(kms *k, const char *image, const dstack_image_question *question,
                          dstack_anchor *anchor, uint8_t hash[32], dstack_error *err) {
    (void)k;
    (void)image;
    return dstack_measure_image_check(NULL, question, anchor, hash, err);
}
#endif

int kms_image_check(void *user, const dstack_image_question *question, dstack_anchor *anchor,
                    uint8_t hash[32], dstack_error *err) {
    kms *k = user;
    uint8_t name[32];
    const bool named = image_answers_name(question, name);
    if (named && image_answers_find(k->answers, name, anchor, hash)) {
        return 0;
    }
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    if (question->variant != DSTACK_TEE_TDX || question->vm_config == NULL) {
        return dstack_measure_image_check(NULL, question, anchor, hash, err);
    }
    int rc =
        error_prefix(err, dstack_vm_config_parse(bytes_of_str(question->vm_config), &config, err),
                     "Failed to decode VM config");
    if (rc == 0 && config.lite && !config.has_measurement) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "tdx lite attestation requires vm_config.tdx_measurement");
    }
    if (rc != 0) {
        return rc;
    }
    if (k->images != NULL && !config.has_measurement) {
        return check_download(k, config.os_image_hash, question, anchor, hash, err);
    }
    rc = dstack_measure_image_check(NULL, question, anchor, hash, err);
    if (rc == 0 && named) {
        image_answers_keep(k->answers, name, *anchor, hash);
    }
    return rc;
}
