/* The machine that is measured: --vm-config, and an option for each of its members. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cmd_measure.h"

#define CONFIG_LIMIT ((size_t)1 << 20)

/* Options that set a member of vm_config, and how their text is read. */
enum kind { KIND_NUMBER, KIND_SIZE, KIND_BOOL, KIND_TEXT };

static const struct member {
    const char *option, *key;
    enum kind kind;
} members[] = {
    {"cpus", "cpu_count", KIND_NUMBER},
    {"cpu-count", "cpu_count", KIND_NUMBER},
    {"memory", "memory_size", KIND_SIZE},
    {"memory-size", "memory_size", KIND_SIZE},
    {"qemu-version", "qemu_version", KIND_TEXT},
    {"qemu-single-pass-add-pages", "qemu_single_pass_add_pages", KIND_BOOL},
    {"two-pass", "qemu_single_pass_add_pages", KIND_BOOL},
    {"pic", "pic", KIND_BOOL},
    {"pci-hole64-size", "pci_hole64_size", KIND_SIZE},
    {"hugepages", "hugepages", KIND_BOOL},
    {"hotplug-off", "hotplug_off", KIND_BOOL},
    {"swtpm", "swtpm", KIND_BOOL},
    {"num-gpus", "num_gpus", KIND_NUMBER},
    {"num-nvswitches", "num_nvswitches", KIND_NUMBER},
    {"num-nics", "num_nics", KIND_NUMBER},
    {"num-verity-volumes", "num_verity_volumes", KIND_NUMBER},
    {"ovmf-variant", "ovmf_variant", KIND_TEXT},
    {"os-image-hash", "os_image_hash", KIND_TEXT},
    {"image-name", "image", KIND_TEXT},
    {"host-share-mode", "host_share_mode", KIND_TEXT},
    {"tdx-attestation-variant", "tdx_attestation_variant", KIND_TEXT},
};

static int read_member(struct cli *cli, const struct member *m, json_t **out, dstack_error *err) {
    const char *text = cli_value(cli, m->option, NULL);
    int64_t number = 0;
    uint64_t size = 0;
    int rc = 0;
    switch (m->kind) {
    case KIND_NUMBER:
        rc = cli_int(cli, m->option, 0, 0, UINT32_MAX, &number, err);
        *out = json_integer(number);
        break;
    case KIND_SIZE:
        rc = cli_size(cli, m->option, 0, 1, &size, err);
        if (rc == 0 && size > INT64_MAX) {
            rc = cli_usage(err, "--%s is too large", m->option);
        }
        *out = json_integer((json_int_t)size);
        break;
    case KIND_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            rc = cli_usage(err, "--%s: true or false expected", m->option);
        }
        *out = json_boolean(strcmp(text, "true") == 0);
        break;
    case KIND_TEXT:
    default:
        *out = json_string(text);
        break;
    }
    return rc;
}

static int apply_overrides(struct cli *cli, json_t *config, dstack_error *err) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *value = NULL;
        if (!cli_has(cli, members[i].option)) {
            continue;
        }
        const int rc = read_member(cli, &members[i], &value, err);
        if (rc != 0) {
            json_decref(value);
            return rc;
        }
        json_object_set_new(config, members[i].key, value);
    }
    return 0;
}

/* A whole sys-config carries the configuration as text in a member of that name. */
static json_t *unwrap(json_t *config, dstack_error *err) {
    const char *text = json_string_value(json_object_get(config, "vm_config"));
    if (text == NULL) {
        return config;
    }
    json_t *inner = json_parse(bytes_of_str(text), CONFIG_LIMIT, "vm_config", err);
    json_decref(config);
    return inner;
}

int measure_read_config(struct cli *cli, dstack_vm_config *out, dstack_error *err) {
    const char *given = cli_value(cli, "vm-config", NULL);
    json_t *document = given != NULL ? cli_json_or_file(given, CONFIG_LIMIT, err) : json_object();
    DSTACK_AUTO(json) json_t *config = document != NULL ? unwrap(document, err) : NULL;
    if (config == NULL) {
        return err->status != 0 ? (int)err->status : DSTACK_E_MEMORY;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc;
    if ((rc = apply_overrides(cli, config, err)) != 0 ||
        (rc = json_write(config, false, &text, err)) != 0) {
        return rc;
    }
    return dstack_vm_config_parse(bytes_of_buf(&text), out, err);
}
