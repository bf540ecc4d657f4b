/* vm_config: the machine as the host says it started it. Its keys are public names of the reference
 * system; what is not listed here does not change a register. */
#include <dstack/measure.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

#define VM_CONFIG_MAX_SIZE ((size_t)1 << 20)

void dstack_vm_shape_init(dstack_vm_shape *shape) {
    *shape = (dstack_vm_shape){
        .cpu_count = 1,
        .memory_size = UINT64_C(2) << 30,
        .qemu_version = {9, 1, 0},
        .num_nics = 1,
    };
}

int dstack_vm_shape_set_qemu(dstack_vm_shape *shape, const char *version, dstack_error *err) {
    uint32_t parts[3];
    int used = 0;
    if (sscanf(version, "%4u.%4u.%4u%n", &parts[0], &parts[1], &parts[2], &used) != 3 ||
        (version[used] != '\0' && version[used] != ' ')) {
        return error_set(err, DSTACK_E_FORMAT, "QEMU version \"%.40s\" is not of the form x.y.z",
                         version);
    }
    if (parts[0] < 8) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "QEMU %u.%u is too old to be measured",
                         parts[0], parts[1]);
    }
    memcpy(shape->qemu_version, parts, sizeof parts);
    shape->two_pass = parts[0] == 8;
    shape->pic = parts[0] == 8;
    return 0;
}

static int read_u32(const json_t *object, const char *key, uint32_t *value, dstack_error *err) {
    int64_t number = 0;
    const int rc = json_int_or(object, key, *value, &number, err);
    if (rc != 0) {
        return rc;
    }
    if (number < 0 || number > UINT32_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "vm_config: %s is out of range", key);
    }
    *value = (uint32_t)number;
    return 0;
}

static int read_u64(const json_t *object, const char *key, uint64_t *value, dstack_error *err) {
    int64_t number = 0;
    const int rc = json_int_or(object, key, (int64_t)*value, &number, err);
    if (rc != 0) {
        return rc;
    }
    if (number < 0) {
        return error_set(err, DSTACK_E_FORMAT, "vm_config: %s is negative", key);
    }
    *value = (uint64_t)number;
    return 0;
}

static int read_numbers(const json_t *object, dstack_vm_shape *out, dstack_error *err) {
    int rc;
    if ((rc = read_u32(object, "cpu_count", &out->cpu_count, err)) != 0 ||
        (rc = read_u64(object, "memory_size", &out->memory_size, err)) != 0 ||
        (rc = read_u64(object, "pci_hole64_size", &out->pci_hole64_size, err)) != 0 ||
        (rc = read_u32(object, "num_gpus", &out->num_gpus, err)) != 0 ||
        (rc = read_u32(object, "num_nvswitches", &out->num_nvswitches, err)) != 0 ||
        (rc = read_u32(object, "num_nics", &out->num_nics, err)) != 0 ||
        (rc = read_u32(object, "num_verity_volumes", &out->num_verity_volumes, err)) != 0) {
        return rc;
    }
    return 0;
}

/* The flags' defaults are those of the QEMU version, read before. */
static int read_flags(const json_t *object, dstack_vm_shape *out, dstack_error *err) {
    int rc;
    if ((rc = json_bool_or(object, "hugepages", false, &out->hugepages, err)) != 0 ||
        (rc = json_bool_or(object, "hotplug_off", false, &out->hotplug_off, err)) != 0 ||
        (rc = json_bool_or(object, "swtpm", false, &out->swtpm, err)) != 0 ||
        (rc = json_bool_or(object, "pic", out->pic, &out->pic, err)) != 0 ||
        (rc = json_bool_or(object, "qemu_single_pass_add_pages", out->two_pass, &out->two_pass,
                           err)) != 0) {
        return rc;
    }
    return 0;
}

static int read_material(const json_t *object, dstack_vm_config *out, dstack_error *err) {
    const json_t *pair = json_object_get(object, "tdx_measurement");
    if (pair == NULL || json_is_null(pair)) {
        return 0;
    }
    const char *checksums = NULL, *measurement = NULL;
    int rc;
    if ((rc = json_need_str(pair, "checksum_file", &checksums, err)) != 0 ||
        (rc = json_need_str(pair, "measurement", &measurement, err)) != 0 ||
        (rc = base64_decode(bytes_of_str(checksums), BASE64_STANDARD, &out->checksum_file, err)) !=
            0 ||
        (rc = base64_decode(bytes_of_str(measurement), BASE64_STANDARD, &out->measurement, err)) !=
            0) {
        return error_prefix(err, rc, "vm_config: tdx_measurement");
    }
    out->has_measurement = true;
    return 0;
}

static int read_config(const json_t *object, dstack_vm_config *out, dstack_error *err) {
    const char *qemu = NULL, *variant = NULL, *attestation = NULL, *hash = NULL;
    int rc;
    if ((rc = json_str_or(object, "qemu_version", "9.1.0", &qemu, err)) != 0 ||
        (rc = dstack_vm_shape_set_qemu(&out->shape, qemu, err)) != 0 ||
        (rc = read_numbers(object, &out->shape, err)) != 0 ||
        (rc = read_flags(object, &out->shape, err)) != 0 ||
        (rc = json_str_or(object, "ovmf_variant", "pre202505", &variant, err)) != 0 ||
        (rc = json_str_or(object, "tdx_attestation_variant", "legacy", &attestation, err)) != 0 ||
        (rc = json_str_or(object, "os_image_hash", "", &hash, err)) != 0 ||
        (rc = read_material(object, out, err)) != 0) {
        return rc;
    }
    if (strcmp(variant, "pre202505") != 0) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "vm_config: unknown ovmf_variant \"%.40s\"",
                         variant);
    }
    out->lite = strcmp(attestation, "lite") == 0;
    if (!out->lite && strcmp(attestation, "legacy") != 0) {
        return error_set(err, DSTACK_E_FORMAT,
                         "vm_config: unknown tdx_attestation_variant \"%.40s\"", attestation);
    }
    if (hash[0] != '\0') {
        uint8_t raw[32];
        rc = hex_decode_fixed(hash, raw, sizeof raw, err);
        if (rc != 0) {
            return error_prefix(err, rc, "vm_config: os_image_hash");
        }
        hex_encode(bytes_of(raw, sizeof raw), out->os_image_hash);
    }
    return 0;
}

int dstack_vm_config_parse(dstack_bytes text, dstack_vm_config *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    dstack_vm_shape_init(&out->shape);
    DSTACK_AUTO(json) json_t *root = json_parse(text, VM_CONFIG_MAX_SIZE, "vm_config", err);
    DSTACK_AUTO(json) json_t *inner = NULL;
    if (root == NULL) {
        return err != NULL ? (int)err->status : DSTACK_E_FORMAT;
    }
    /* A whole sys-config carries the configuration as text in a member of that name. */
    const char *nested = json_string_value(json_object_get(root, "vm_config"));
    if (nested != NULL) {
        inner = json_parse(bytes_of_str(nested), VM_CONFIG_MAX_SIZE, "vm_config", err);
        if (inner == NULL) {
            return err != NULL ? (int)err->status : DSTACK_E_FORMAT;
        }
    }
    const json_t *config = inner != NULL ? inner : root;
    int rc = json_is_object(config)
                 ? read_config(config, out, err)
                 : error_set(err, DSTACK_E_FORMAT, "vm_config is not a JSON object");
    if (rc != 0) {
        dstack_vm_config_clear(out);
    }
    return rc;
}

void dstack_vm_config_clear(dstack_vm_config *config) {
    if (config != NULL) {
        dstack_buf_clear(&config->checksum_file);
        dstack_buf_clear(&config->measurement);
        memset(config, 0, sizeof *config);
    }
}
