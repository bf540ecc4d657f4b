/* The parts of dstack_measure_image_check that are about cloud platforms. */
#ifndef MEASURE_CLOUD_H
#define MEASURE_CLOUD_H

#include <dstack/measure.h>
#include <jansson.h>

int nitro_enclave_answer(const dstack_image_question *question, dstack_anchor *anchor,
                         uint8_t image_hash[32], dstack_error *err);
int nitro_tpm_answer(const dstack_image_question *question, dstack_anchor *anchor,
                     uint8_t image_hash[32], dstack_error *err);

/* dir: folder of an image, or NULL. */
int gcp_answer(const char *dir, const dstack_image_question *question, dstack_anchor *anchor,
               uint8_t image_hash[32], dstack_error *err);

/* Measurement material in vm_config: {"checksum_file", "measurement"} in base64. The checksum file's
 * hash is the stated os_image_hash (and is given), and lists the document under that file name. */
int cloud_material_read(const json_t *config, const char *member, const char *file,
                        const char *stated, dstack_buf *document, uint8_t image_hash[32],
                        dstack_error *err);

#endif
