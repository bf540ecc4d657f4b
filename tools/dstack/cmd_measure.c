/* dstack measure: what an image must measure to. */
#include <dstack/measure.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "measure/json.h"

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
    {"host-share-mode", "host_share_mode", KIND_TEXT},
};

static const struct cli_option tdx_options[] = {
    {"image", 'i', "DIR", "folder of the image"},
    {"vm-config", 0, "JSON|FILE", "the machine as vm_config; the options below override it"},
    {"cpus", 0, "N", "virtual CPUs"},
    {"cpu-count", 0, "N", "the same"},
    {"memory", 0, "SIZE", "memory in bytes, or with K, M, G"},
    {"memory-size", 0, "SIZE", "the same"},
    {"qemu-version", 0, "X.Y.Z", "QEMU that runs the guest"},
    {"qemu-single-pass-add-pages", 0, "BOOL", "order in which QEMU adds pages; true: two passes"},
    {"pic", 0, "BOOL", "the machine has a PIC"},
    {"pci-hole64-size", 0, "SIZE", "64-bit PCI window"},
    {"hugepages", 0, "BOOL", "memory comes from huge pages"},
    {"hotplug-off", 0, "BOOL", "no ACPI hot-plug of PCI devices"},
    {"swtpm", 0, "BOOL", "the machine has a software TPM (not measurable)"},
    {"num-gpus", 0, "N", "passed-through GPUs"},
    {"num-nvswitches", 0, "N", "passed-through NVSwitches"},
    {"num-nics", 0, "N", "network interfaces"},
    {"num-verity-volumes", 0, "N", "further verity volumes"},
    {"ovmf-variant", 0, "NAME", "firmware layout"},
    {"host-share-mode", 0, "MODE", "how the host's files reach the guest"},
    {"acpi-loader", 0, "HEX", "SHA-384 of etc/table-loader as QEMU gives it"},
    {"acpi-rsdp", 0, "HEX", "SHA-384 of etc/acpi/rsdp"},
    {"acpi-tables", 0, "HEX", "SHA-384 of etc/acpi/tables"},
    {"explain", 0, NULL, "print every event behind the registers"},
    {NULL},
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

static int read_acpi(struct cli *cli, dstack_vm_shape *shape, dstack_error *err) {
    bool loader = false, rsdp = false, tables = false;
    int rc;
    if ((rc = cli_hex_fixed(cli, "acpi-loader", shape->acpi_loader, DSTACK_MEASURE_SIZE, &loader,
                            err)) != 0 ||
        (rc = cli_hex_fixed(cli, "acpi-rsdp", shape->acpi_rsdp, DSTACK_MEASURE_SIZE, &rsdp, err)) !=
            0 ||
        (rc = cli_hex_fixed(cli, "acpi-tables", shape->acpi_tables, DSTACK_MEASURE_SIZE, &tables,
                            err)) != 0) {
        return rc;
    }
    if (loader != rsdp || rsdp != tables) {
        return cli_usage(err, "--acpi-loader, --acpi-rsdp and --acpi-tables belong together");
    }
    shape->has_acpi = loader;
    return 0;
}

static int read_shape(struct cli *cli, dstack_vm_shape *shape, dstack_error *err) {
    const char *given = cli_value(cli, "vm-config", NULL);
    DSTACK_AUTO(json)
    json_t *config = given != NULL ? cli_json_or_file(given, CONFIG_LIMIT, err) : json_object();
    if (config == NULL) {
        return err->status != 0 ? (int)err->status : DSTACK_E_MEMORY;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_vm_config parsed = {0};
    int rc;
    if ((rc = apply_overrides(cli, config, err)) != 0 ||
        (rc = json_write(config, false, &text, err)) != 0 ||
        (rc = dstack_vm_config_parse(bytes_of_buf(&text), &parsed, err)) != 0) {
        return rc;
    }
    *shape = parsed.shape;
    dstack_vm_config_clear(&parsed);
    return read_acpi(cli, shape, err);
}

static void print_register(struct cli *cli, const char *name, const uint8_t *value) {
    char hex[2 * DSTACK_MEASURE_SIZE + 1];
    hex_encode(bytes_of(value, DSTACK_MEASURE_SIZE), hex);
    cli_field(cli, name, "%s", hex);
}

static void print_events(struct cli *cli, const dstack_measurements *m, bool has_acpi) {
    for (uint32_t rtmr = 0; rtmr < 3; rtmr++) {
        cli_heading(cli, "RTMR%u", rtmr);
        for (size_t i = 0; i < m->event_count; i++) {
            const dstack_measure_event *event = &m->events[i];
            if (event->rtmr != rtmr) {
                continue;
            }
            if (!has_acpi && strcmp(event->payload, "ACPI DATA") == 0) {
                cli_field(cli, event->name, "not given");
            } else {
                print_register(cli, event->name, event->digest);
            }
        }
    }
}

/* Without the ACPI digests RTMR0 is not known: then it is left out, not guessed. */
static int print_tdx(struct cli *cli, const dstack_measurements *m, bool has_acpi,
                     const char *os_image_hash, dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json) json_t *object = measure_to_json(m);
        if (object == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "out of memory");
        }
        if (!has_acpi) {
            json_object_del(object, "rtmr0");
            json_object_del(object, "events");
        }
        if (os_image_hash[0] != '\0') {
            json_object_set_new(object, "os_image_hash", json_string(os_image_hash));
        }
        return cli_print_json(cli, object, err);
    }
    print_register(cli, "MRTD", m->mrtd);
    if (has_acpi) {
        print_register(cli, "RTMR0", m->rtmr[0]);
    } else {
        cli_field(cli, "RTMR0", "needs the digests of the ACPI tables (--acpi-loader, ...)");
    }
    print_register(cli, "RTMR1", m->rtmr[1]);
    print_register(cli, "RTMR2", m->rtmr[2]);
    if (os_image_hash[0] != '\0') {
        cli_field(cli, "OS image", "%s", os_image_hash);
    }
    if (cli_has(cli, "explain")) {
        print_events(cli, m, has_acpi);
    }
    return 0;
}

static int run_tdx(struct cli *cli, int argc, char **argv, dstack_error *err) {
    const char *dir = cli_value(cli, "image", NULL);
    if (dir == NULL) {
        return cli_usage(err, "--image DIR is needed");
    }
    dstack_vm_shape shape;
    dstack_image image = {0};
    dstack_measurements m;
    int rc = read_shape(cli, &shape, err);
    if (rc != 0 || (rc = dstack_image_load(dir, &image, err)) != 0) {
        return rc;
    }
    const bool has_acpi = shape.has_acpi;
    shape.has_acpi = true;
    rc = dstack_measure_tdx(&image, &shape, &m, err);
    if (rc == 0) {
        rc = print_tdx(cli, &m, has_acpi, image.os_image_hash, err);
    }
    dstack_image_clear(&image);
    return rc;
}

static int print_digest(struct cli *cli, const char *digest, dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json) json_t *object = json_pack("{s:s}", "os_image_hash", digest);
        return cli_print_json(cli, object, err);
    }
    fprintf(cli->out, "%s\n", digest);
    return 0;
}

static int run_digest(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char digest[65];
    const int rc = dstack_measure_digest(argv[0], digest, err);
    return rc != 0 ? rc : print_digest(cli, digest, err);
}

static int run_write(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char digest[65];
    const int rc = dstack_measure_write(argv[0], digest, err);
    return rc != 0 ? rc : print_digest(cli, digest, err);
}

static const struct cli_command command_tdx = {
    .name = "tdx",
    .summary = "predict MRTD and RTMR0 to RTMR2 of a TDX guest",
    .usage = "--image DIR [--vm-config JSON|FILE] [--cpus N] [--memory SIZE] [...]",
    .help =
        "ACPI tables are not generated: RTMR0 is predicted when the digests of the tables that\n"
        "QEMU hands to the guest are given.",
    .options = tdx_options,
    .run = run_tdx,
};

static const struct cli_command command_digest = {
    .name = "digest",
    .summary = "identity of an image: SHA-256 of its sha256sum.txt",
    .usage = "DIR",
    .min_args = 1,
    .max_args = 1,
    .run = run_digest,
};

static const struct cli_command command_write = {
    .name = "write",
    .summary = "write measurement document, checksum file and digest into an image folder",
    .usage = "DIR",
    .min_args = 1,
    .max_args = 1,
    .run = run_write,
};

static const struct cli_command *const children[] = {&command_tdx, &command_digest, &command_write,
                                                     NULL};

const struct cli_command cli_command_measure = {
    .name = "measure",
    .summary = "predict what an image measures to",
    .children = children,
};
