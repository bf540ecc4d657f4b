/* dstack measure acpi: the tables themselves, to be held against a real machine's. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cmd_measure.h"
#include "crypto/hash.h"

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)
DSTACK_AUTO_DEFINE_CLEAR(acpi, dstack_acpi, dstack_acpi_clear)

static const struct cli_option options[] = {
    {"out", 'o', "DIR", "write table-loader, rsdp and tables there"},
    MEASURE_MACHINE_OPTIONS,
    {NULL},
};

static int write_file(const char *dir, const char *name, dstack_bytes content, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    return text == NULL ? buf_check(&path, err) : file_write_atomic(text, content, 0644, err);
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    const char *dir = cli_value(cli, "out", NULL);
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    DSTACK_AUTO(acpi) dstack_acpi acpi = {0};
    DSTACK_AUTO(json) json_t *object = json_object();
    int rc;
    if ((rc = measure_read_config(cli, &config, err)) != 0 ||
        (rc = dstack_acpi_generate(&config.shape, &acpi, err)) != 0) {
        return rc;
    }
    const struct {
        const char *name;
        dstack_bytes content;
    } files[] = {{"table-loader", bytes_of_buf(&acpi.loader)},
                 {"rsdp", bytes_of_buf(&acpi.rsdp)},
                 {"tables", bytes_of_buf(&acpi.tables)}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        uint8_t digest[DSTACK_MEASURE_SIZE];
        DSTACK_AUTO(buf) dstack_buf hex = {0};
        hash_sha384(files[i].content, digest);
        buf_put_hex(&hex, bytes_of(digest, sizeof digest));
        const char *text = buf_text(&hex);
        rc = dir == NULL ? 0 : write_file(dir, files[i].name, files[i].content, err);
        if (rc != 0 || text == NULL) {
            return rc != 0 ? rc : buf_check(&hex, err);
        }
        json_object_set_new(object, files[i].name, json_string(text));
        if (!cli->json) {
            cli_field(cli, files[i].name, "%s", text);
        }
    }
    return cli->json ? cli_print_json(cli, object, err) : 0;
}

const struct cli_command cli_command_measure_acpi = {
    .name = "acpi",
    .summary = "Generate the ACPI tables that QEMU gives a guest, and print their digests",
    .usage = "[--out DIR] [--vm-config JSON|FILE] [--cpus N] [--memory SIZE] [...]",
    .help =
        "SHA-384 of etc/table-loader, etc/acpi/rsdp and etc/acpi/tables, as RTMR0 measures them.",
    .options = options,
    .run = run,
};
