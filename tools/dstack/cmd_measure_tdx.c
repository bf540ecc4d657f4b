/* dstack measure tdx: the registers of a TDX guest, and every event behind them. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cmd_measure.h"
#include "measure/json.h"

#define DOCUMENT_LIMIT ((size_t)1 << 20)

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)
DSTACK_AUTO_DEFINE_CLEAR(image, dstack_image, dstack_image_clear)

static const struct cli_option options[] = {
    {"image", 'i', "DIR", "folder of the image"},
    {"document", 0, "FILE", "measurement.tdx.cbor instead of the image"},
    MEASURE_MACHINE_OPTIONS,
    {"acpi-loader", 0, "HEX", "SHA-384 of etc/table-loader, instead of the generated one"},
    {"acpi-rsdp", 0, "HEX", "SHA-384 of etc/acpi/rsdp"},
    {"acpi-tables", 0, "HEX", "SHA-384 of etc/acpi/tables"},
    {"explain", 0, NULL, "print every event behind the registers, with its source"},
    {NULL},
};

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

static void print_hex(struct cli *cli, const char *name, const uint8_t *value, const char *source) {
    char hex[2 * DSTACK_MEASURE_SIZE + 1];
    hex_encode(bytes_of(value, DSTACK_MEASURE_SIZE), hex);
    cli_field(cli, name, "%s%s%s", hex, source != NULL ? "  " : "", source != NULL ? source : "");
}

static void print_events(struct cli *cli, const dstack_measurements *m) {
    for (uint32_t rtmr = 0; rtmr < 3; rtmr++) {
        cli_heading(cli, "RTMR%u", rtmr);
        for (size_t i = 0; i < m->event_count; i++) {
            const dstack_measure_event *event = &m->events[i];
            if (event->rtmr == rtmr) {
                print_hex(cli, event->name, event->digest, event->source);
            }
        }
    }
}

static int print_json(struct cli *cli, const dstack_measurements *m, const char *os_image_hash,
                      dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = measure_to_json(m);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (os_image_hash[0] != '\0') {
        json_object_set_new(object, "os_image_hash", json_string(os_image_hash));
    }
    return cli_print_json(cli, object, err);
}

static int print(struct cli *cli, const dstack_measurements *m, const char *os_image_hash,
                 dstack_error *err) {
    if (cli->json) {
        return print_json(cli, m, os_image_hash, err);
    }
    print_hex(cli, "MRTD", m->mrtd, NULL);
    print_hex(cli, "RTMR0", m->rtmr[0], NULL);
    print_hex(cli, "RTMR1", m->rtmr[1], NULL);
    if (m->has_rtmr1_distributed) {
        print_hex(cli, "or RTMR1", m->rtmr1_distributed,
                  "when QEMU leaves the kernel's header alone, as 10.2 and later do");
    }
    print_hex(cli, "RTMR2", m->rtmr[2], NULL);
    if (os_image_hash[0] != '\0') {
        cli_field(cli, "OS image", "%s", os_image_hash);
    }
    if (cli_has(cli, "explain")) {
        print_events(cli, m);
    }
    return 0;
}

static int measure_document(struct cli *cli, const dstack_vm_config *config,
                            dstack_measurements *out, dstack_error *err) {
    const char *path = cli_value(cli, "document", NULL);
    DSTACK_AUTO(buf) dstack_buf document = {0};
    dstack_bytes bytes = bytes_of_buf(&config->measurement);
    if (path != NULL) {
        const int rc = cli_read(path, DOCUMENT_LIMIT, &document, err);
        if (rc != 0) {
            return rc;
        }
        bytes = bytes_of_buf(&document);
    } else if (!config->has_measurement) {
        return cli_usage(err, "--image DIR or --document FILE is needed");
    }
    return dstack_measure_from_document(bytes, &config->shape, out, err);
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    const char *dir = cli_value(cli, "image", NULL);
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    DSTACK_AUTO(image) dstack_image image = {0};
    dstack_measurements m;
    int rc;
    if (dir != NULL && cli_has(cli, "document")) {
        return cli_usage(err, "--image and --document exclude each other");
    }
    if ((rc = measure_read_config(cli, &config, err)) != 0 ||
        (rc = read_acpi(cli, &config.shape, err)) != 0) {
        return rc;
    }
    if (dir == NULL) {
        rc = measure_document(cli, &config, &m, err);
        return rc != 0 ? rc : print(cli, &m, config.os_image_hash, err);
    }
    if ((rc = dstack_image_load(dir, &image, err)) != 0 ||
        (rc = dstack_measure_tdx(&image, &config.shape, &m, err)) != 0) {
        return rc;
    }
    if (config.os_image_hash[0] != '\0' && strcmp(config.os_image_hash, image.os_image_hash) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "image %s is %s, but vm_config names %s", dir,
                         image.os_image_hash[0] != '\0' ? image.os_image_hash : "unnamed",
                         config.os_image_hash);
    }
    return print(cli, &m, image.os_image_hash, err);
}

const struct cli_command cli_command_measure_tdx = {
    .name = "tdx",
    .summary = "Predict MRTD and RTMR0 to RTMR2 of a TDX guest",
    .usage = "--image DIR [--vm-config JSON|FILE] [--cpus N] [--memory SIZE] [...]",
    .help = "The ACPI tables of the machine are generated as its QEMU would (8.0 to 11.1). With\n"
            "--explain every event is printed with its digest and what that was computed from.",
    .options = options,
    .run = run,
};
