#include "platform.h"

#include <string.h>

#include <dstack/measure.h>

#include "acpi_probe.h"
#include "base/cursor.h"
#include "base/error.h"

DSTACK_AUTO_DEFINE_CLEAR(measured_image, dstack_image, dstack_image_clear)
DSTACK_AUTO_DEFINE_CLEAR(machine, dstack_vm_config, dstack_vm_config_clear)

static int measure(const struct launch *launch, dstack_measurements *out, dstack_error *err) {
    DSTACK_AUTO(measured_image) dstack_image image = {0};
    DSTACK_AUTO(machine) dstack_vm_config machine = {0};
    int rc = dstack_image_load(launch->image_dir, &image, err);
    rc = rc != 0 ? rc : dstack_vm_config_parse(bytes_of_str(launch->vm_config), &machine, err);
    rc = rc != 0 ? rc : acpi_probe(launch->probe, &machine.shape, err);
    rc = rc != 0 ? rc : dstack_measure_tdx(&image, &machine.shape, out, err);
    return rc != 0 ? error_prefix(err, rc, "measuring the VM") : 0;
}

int platform_start(const struct launch *launch, const char *dir, struct platform *out,
                   dstack_error *err) {
    dstack_measurements measured;
    memset(out, 0, sizeof *out);
    if (launch->simulator_keys == NULL) {
        return 0;
    }
    DSTACK_AUTO(str) char *state = vm_path(dir, "tee-state.json");
    int rc = sim_keys_load(launch->simulator_keys, &out->keys, err);
    rc = rc != 0 ? rc : measure(launch, &measured, err);
    rc = rc != 0 ? rc
                 : sim_vm_start(out->keys, &measured,
                                launch->has_mr_config_id ? launch->mr_config_id : NULL, state,
                                &out->vm, err);
    if (rc != 0) {
        platform_clear(out);
    }
    return rc;
}

void platform_clear(struct platform *platform) {
    sim_vm_free(platform->vm);
    sim_keys_free(platform->keys);
    memset(platform, 0, sizeof *platform);
}
