/* Whether a quote's registers are those of an operating system image. */
#include <dstack/measure.h>
#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "measure/cloud.h"
#include "measure/snp.h"

#define EV_PLATFORM_CONFIG_FLAGS 10U
#define ACPI_EVENTS 3

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)
DSTACK_AUTO_DEFINE_CLEAR(image, dstack_image, dstack_image_clear)

static int compare_acpi(const char *name, const dstack_vm_shape *shape, const uint8_t *generated,
                        dstack_bytes logged, dstack_error *err) {
    if (bytes_equal(logged, bytes_of(generated, DSTACK_MEASURE_SIZE))) {
        return 0;
    }
    char expected[2 * DSTACK_MEASURE_SIZE + 1], actual[2 * DSTACK_MEASURE_SIZE + 1] = "";
    hex_encode(bytes_of(generated, DSTACK_MEASURE_SIZE), expected);
    if (logged.len == DSTACK_MEASURE_SIZE) {
        hex_encode(logged, actual);
    }
    return error_set(err, DSTACK_E_REFUSED,
                     "%s mismatch: QEMU %u.%u.%u gives the machine of vm_config %.16s..., the "
                     "event log has %.16s...",
                     name, shape->qemu_version[0], shape->qemu_version[1], shape->qemu_version[2],
                     expected, actual);
}

/* The three ACPI digests stand in the log in a fixed order, marked by their payload. RTMR0 decides;
 * this says in words what is wrong with it. A log may have been stripped of them. */
static int check_logged_acpi(const dstack_event_log *log, const dstack_vm_shape *shape,
                             dstack_error *err) {
    const struct {
        const char *name;
        const uint8_t *digest;
    } generated[] = {{"ACPI loader", shape->acpi_loader},
                     {"ACPI RSDP", shape->acpi_rsdp},
                     {"ACPI tables", shape->acpi_tables}};
    size_t found = 0;
    dstack_event event;
    for (size_t i = 0; log != NULL && dstack_event_log_get(log, i, &event); i++) {
        if (event.imr != 0 || event.type != EV_PLATFORM_CONFIG_FLAGS ||
            !bytes_equal_str(event.payload, "ACPI DATA")) {
            continue;
        }
        if (found == ACPI_EVENTS) {
            return error_set(err, DSTACK_E_REFUSED, "event log has more than %d ACPI events",
                             ACPI_EVENTS);
        }
        const int rc =
            compare_acpi(generated[found].name, shape, generated[found].digest, event.digest, err);
        if (rc != 0) {
            return rc;
        }
        found++;
    }
    return 0;
}

static int compare(const dstack_measurements *expected, const dstack_image_question *question,
                   dstack_error *err) {
    uint8_t rtmr[3][DSTACK_MEASURE_SIZE];
    for (size_t i = 0; i < 3; i++) {
        memcpy(rtmr[i], question->rtmr[i], DSTACK_MEASURE_SIZE);
    }
    return dstack_measure_compare(expected, question->mrtd, rtmr, err);
}

static int check_document(const dstack_vm_config *config, const dstack_image_question *question,
                          dstack_error *err) {
    dstack_measurements expected;
    const int rc = dstack_measure_from_document(bytes_of_buf(&config->measurement), &config->shape,
                                                &expected, err);
    return rc != 0 ? rc : compare(&expected, question, err);
}

/* *known tells whether the folder holds the image of that hash. */
static int check_folder(const char *dir, const char *hash, const dstack_vm_shape *shape,
                        const dstack_image_question *question, bool *known, dstack_error *err) {
    *known = false;
    if (dir == NULL) {
        return 0;
    }
    DSTACK_AUTO(image) dstack_image image = {0};
    dstack_measurements expected;
    int rc = dstack_image_load(dir, &image, err);
    if (rc != 0 || strcmp(image.os_image_hash, hash) != 0) {
        return rc;
    }
    if ((rc = dstack_measure_tdx(&image, shape, &expected, err)) != 0 ||
        (rc = compare(&expected, question, err)) != 0) {
        return rc;
    }
    *known = true;
    return 0;
}

int dstack_measure_image_check(void *user, const dstack_image_question *question,
                               dstack_anchor *anchor, uint8_t image_hash[32], dstack_error *err) {
    const char *dir = user;
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    char hash[65] = "";
    bool known = false;
    int rc;
    *anchor = DSTACK_ANCHOR_NONE;
    if (question->vm_config == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "the attestation carries no vm_config");
    }
    if (question->variant == DSTACK_TEE_SEV_SNP) {
        return snp_image_answer(dir, question, anchor, image_hash, err);
    }
    if (question->variant == DSTACK_TEE_NITRO_ENCLAVE) {
        return nitro_enclave_answer(question, anchor, image_hash, err);
    }
    if (question->variant == DSTACK_TEE_AWS_NITRO_TPM) {
        return nitro_tpm_answer(question, anchor, image_hash, err);
    }
    if (question->variant == DSTACK_TEE_GCP_TDX) {
        return gcp_answer(dir, question, anchor, image_hash, err);
    }
    if (question->mrtd == NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "images of %s guests are not measured here",
                         dstack_tee_variant_name(question->variant));
    }
    if ((rc = dstack_vm_config_parse(bytes_of_str(question->vm_config), &config, err)) != 0 ||
        (rc = dstack_vm_shape_set_acpi(&config.shape, err)) != 0 ||
        (rc = check_logged_acpi(question->event_log, &config.shape, err)) != 0) {
        return rc;
    }
    memcpy(hash, config.os_image_hash, sizeof hash);
    if ((config.has_measurement && (rc = dstack_measure_material_check(&config, hash, err)) != 0) ||
        (rc = check_folder(dir, hash, &config.shape, question, &known, err)) != 0) {
        return rc;
    }
    if (!known && !config.has_measurement) {
        return error_set(err, DSTACK_E_REFUSED,
                         "vm_config has no measurement material, and image %.64s is not at hand",
                         hash[0] != '\0' ? hash : "(unnamed)");
    }
    if (!known && (rc = check_document(&config, question, err)) != 0) {
        return rc;
    }
    *anchor = known ? DSTACK_ANCHOR_REFERENCE_IMAGE : DSTACK_ANCHOR_SELF_ASSERTED;
    return hex_decode_fixed(hash, image_hash, 32, err);
}
