#include <dstack/measure.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_vm_shape shape;
    dstack_measurements out;
    dstack_vm_shape_init(&shape);
    shape.has_acpi = true;
    (void)dstack_measure_from_document(bytes_of(data, size), &shape, &out, NULL);
    uint8_t digest[32];
    (void)dstack_measure_gcp_decode(bytes_of(data, size), digest, NULL);
    (void)dstack_measure_aws_decode(bytes_of(data, size), digest, NULL);
    return 0;
}
