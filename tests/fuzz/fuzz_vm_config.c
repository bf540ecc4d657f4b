#include <dstack/measure.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_vm_config config;
    if (dstack_vm_config_parse(bytes_of(data, size), &config, NULL) == 0) {
        (void)dstack_measure_material_check(&config, NULL, NULL);
        dstack_vm_config_clear(&config);
    }
    return 0;
}
