#include <dstack/measure.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_vm_config config;
    if (dstack_vm_config_parse(bytes_of(data, size), &config, NULL) == 0) {
        (void)dstack_measure_material_check(&config, NULL, NULL);
        /* Any machine that a host states is generated or refused; many CPUs only cost time. */
        if (config.shape.cpu_count < 300) {
            (void)dstack_vm_shape_set_acpi(&config.shape, NULL);
        }
        dstack_vm_config_clear(&config);
    }
    return 0;
}
