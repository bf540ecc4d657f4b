#include "platform.h"

#include <inttypes.h>
#include <string.h>

#include <dstack/measure.h>

#include "acpi_probe.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "service/log.h"

DSTACK_AUTO_DEFINE_CLEAR(measured_image, dstack_image, dstack_image_clear)
DSTACK_AUTO_DEFINE_CLEAR(machine, dstack_vm_config, dstack_vm_config_clear)

static int compare(const char *name, const uint32_t *version, const uint8_t *generated,
                   const uint8_t *probed, dstack_error *err) {
    if (memcmp(generated, probed, DSTACK_MEASURE_SIZE) == 0) {
        return 0;
    }
    char expected[2 * DSTACK_MEASURE_SIZE + 1], actual[2 * DSTACK_MEASURE_SIZE + 1];
    hex_encode(bytes_of(generated, DSTACK_MEASURE_SIZE), expected);
    hex_encode(bytes_of(probed, DSTACK_MEASURE_SIZE), actual);
    return error_set(err, DSTACK_E_REFUSED,
                     "%s of this QEMU differ from those that verifiers generate for QEMU "
                     "%" PRIu32 ".%" PRIu32 ".%" PRIu32 " and this machine: generated %.16s..., "
                     "QEMU's own %.16s...",
                     name, version[0], version[1], version[2], expected, actual);
}

int platform_check_acpi(const dstack_vm_shape *probed, dstack_error *err) {
    dstack_vm_shape generated = *probed;
    dstack_error reason = {0};
    int rc = dstack_vm_shape_set_acpi(&generated, &reason);
    if (rc == DSTACK_E_UNSUPPORTED) {
        LOG_WARN("no verifier knows the ACPI tables of this machine", "reason", reason.message);
        return 0;
    }
    const uint32_t *version = probed->qemu_version;
    if (rc != 0) {
        return error_set(err, (dstack_status)rc, "%s", reason.message);
    }
    if ((rc = compare("ACPI tables", version, generated.acpi_tables, probed->acpi_tables, err)) !=
            0 ||
        (rc = compare("ACPI RSDP", version, generated.acpi_rsdp, probed->acpi_rsdp, err)) != 0) {
        return rc;
    }
    return compare("ACPI loader", version, generated.acpi_loader, probed->acpi_loader, err);
}

static int measure(const struct launch *launch, dstack_measurements *out, dstack_error *err) {
    DSTACK_AUTO(measured_image) dstack_image image = {0};
    DSTACK_AUTO(machine) dstack_vm_config machine = {0};
    int rc = dstack_image_load(launch->image_dir, &image, err);
    rc = rc != 0 ? rc : dstack_vm_config_parse(bytes_of_str(launch->vm_config), &machine, err);
    rc = rc != 0 ? rc : acpi_probe(launch->probe, &machine.shape, err);
    rc = rc != 0 ? rc : platform_check_acpi(&machine.shape, err);
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
