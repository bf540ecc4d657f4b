/* Firmware and measurement documents of SEV-SNP images. */
#include "measure/snp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_snp_image image;
    const dstack_bytes input = {data, size}, none = {0};
    if (dstack_snp_image_from_document(input, &image, NULL) == 0) {
        (void)snp_image_check(&image, NULL);
    }
    (void)dstack_snp_image_from_files(input, none, none, none, &image, NULL);
    return 0;
}
