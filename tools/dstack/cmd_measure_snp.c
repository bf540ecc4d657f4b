/* dstack measure snp: the launch digest of an SEV-SNP guest. */
#include "cmd_measure_snp.h"

#include <string.h>

#include <dstack/measure_snp.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

#define CONFIG_LIMIT ((size_t)1 << 20)
#define DOCUMENT_LIMIT ((size_t)256 << 10)

static const struct cli_option options[] = {
    {"image", 'i', "DIR", "folder of the image; or --document"},
    {"document", 0, "FILE", "measurement.snp.cbor in place of an image"},
    {"vm-config", 0, "JSON|FILE", "the machine; the options below override it"},
    {"cpus", 0, "N", "virtual CPUs"},
    {"cpu-count", 0, "N", "the same"},
    {"vcpu-type", 0, "NAME", "QEMU's CPU model (EPYC-v4)"},
    {"guest-features", 0, "N", "SEV_FEATURES (1)"},
    {"explain", 0, NULL, "print what the digest is made of"},
    {NULL},
};

/* vcpus and vcpu_type stand inside the text member sev_snp_measurement, cpu_count beside it. */
static int read_config(struct cli *cli, dstack_snp_machine *out, dstack_error *err) {
    const char *given = cli_value(cli, "vm-config", NULL);
    DSTACK_AUTO(json) json_t *config = NULL;
    DSTACK_AUTO(json) json_t *inner = NULL;
    int64_t vcpus = 0, features = 0;
    const char *type = NULL;
    if (given == NULL) {
        return 0;
    }
    config = cli_json_or_file(given, CONFIG_LIMIT, err);
    if (config == NULL) {
        return err->status;
    }
    int rc = json_int_or(config, "cpu_count", out->vcpus, &vcpus, err);
    const char *text = json_string_value(json_object_get(config, "sev_snp_measurement"));
    if (rc == 0 && text != NULL) {
        inner = json_parse(bytes_of_str(text), CONFIG_LIMIT, "sev_snp_measurement", err);
        rc = inner == NULL ? DSTACK_E_FORMAT : json_int_or(inner, "vcpus", vcpus, &vcpus, err);
        rc = rc == 0 ? json_int_or(inner, "guest_features", 1, &features, err) : rc;
        rc = rc == 0 ? json_str_or(inner, "vcpu_type", out->vcpu_type, &type, err) : rc;
    }
    if (rc == 0 && (vcpus < 1 || vcpus > DSTACK_SNP_MAX_VCPUS || features < 0)) {
        rc = error_set(err, DSTACK_E_FORMAT, "vm_config: the machine is out of range");
    }
    if (rc == 0) {
        out->vcpus = (uint32_t)vcpus;
        out->guest_features = inner != NULL ? (uint64_t)features : out->guest_features;
        snprintf(out->vcpu_type, sizeof out->vcpu_type, "%s", type != NULL ? type : "EPYC-v4");
    }
    return rc;
}

static int read_machine(struct cli *cli, dstack_snp_machine *out, dstack_error *err) {
    int64_t vcpus = 0, features = 0;
    int rc = read_config(cli, out, err);
    const char *count = cli_has(cli, "cpus") ? "cpus" : "cpu-count";
    rc = rc == 0 ? cli_int(cli, count, out->vcpus, 1, DSTACK_SNP_MAX_VCPUS, &vcpus, err) : rc;
    rc = rc == 0 ? cli_int(cli, "guest-features", (int64_t)out->guest_features, 1, INT64_MAX,
                           &features, err)
                 : rc;
    if (rc == 0) {
        out->vcpus = (uint32_t)vcpus;
        out->guest_features = (uint64_t)features;
        if (cli_has(cli, "vcpu-type")) {
            snprintf(out->vcpu_type, sizeof out->vcpu_type, "%s",
                     cli_value(cli, "vcpu-type", NULL));
        }
    }
    return rc;
}

static int read_image(struct cli *cli, dstack_snp_image *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf document = {0};
    const char *dir = cli_value(cli, "image", NULL), *file = cli_value(cli, "document", NULL);
    if ((dir == NULL) == (file == NULL)) {
        return cli_usage(err, "either --image DIR or --document FILE is needed");
    }
    if (dir != NULL) {
        return dstack_snp_image_load(dir, out, err);
    }
    int rc = cli_read(file, DOCUMENT_LIMIT, &document, err);
    return rc == 0 ? dstack_snp_image_from_document(bytes_of_buf(&document), out, err) : rc;
}

static json_t *sections_json(const dstack_snp_image *image) {
    json_t *list = json_array();
    for (size_t i = 0; i < image->section_count; i++) {
        const dstack_snp_section *s = &image->sections[i];
        json_array_append_new(list, json_pack("{s:I, s:I, s:I}", "gpa", (json_int_t)s->gpa, "size",
                                              (json_int_t)s->size, "type", (json_int_t)s->type));
    }
    return list;
}

static json_t *explain_json(const dstack_snp_image *image, const dstack_snp_machine *machine) {
    return json_pack("{s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:s, s:I, s:o}", "ovmf_hash",
                     json_hex(bytes_of(image->ovmf_hash, sizeof image->ovmf_hash)), "kernel_hash",
                     json_hex(bytes_of(image->kernel_hash, sizeof image->kernel_hash)),
                     "initrd_hash",
                     json_hex(bytes_of(image->initrd_hash, sizeof image->initrd_hash)), "cmdline",
                     image->cmdline, "hashes_table_gpa", (json_int_t)image->hashes_table_gpa,
                     "reset_eip", (json_int_t)image->reset_eip, "vcpus", (json_int_t)machine->vcpus,
                     "vcpu_type", machine->vcpu_type, "guest_features",
                     (json_int_t)machine->guest_features, "ovmf_sections", sections_json(image));
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    dstack_snp_image image;
    dstack_snp_machine machine = {.vcpus = 1, .vcpu_type = "EPYC-v4", .guest_features = 1};
    uint8_t digest[DSTACK_MEASURE_SIZE];
    char hex[2 * DSTACK_MEASURE_SIZE + 1];
    int rc = read_machine(cli, &machine, err);
    rc = rc == 0 ? read_image(cli, &image, err) : rc;
    rc = rc == 0 ? dstack_measure_snp(&image, &machine, digest, err) : rc;
    if (rc != 0) {
        return rc;
    }
    hex_encode(bytes_of(digest, sizeof digest), hex);
    DSTACK_AUTO(json) json_t *object = explain_json(&image, &machine);
    if (object == NULL || json_object_set_new(object, "measurement", json_string(hex)) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_field(cli, "MEASUREMENT", "%s", hex);
    if (cli_has(cli, "explain")) {
        cli_print_object(cli, object);
    }
    return 0;
}

const struct cli_command cli_command_measure_snp = {
    .name = "snp",
    .summary = "Predict the launch digest of an SEV-SNP guest",
    .usage = "--image DIR [--cpus N] [--vcpu-type NAME] [--guest-features N]",
    .help = "The image must have firmware for SEV-SNP (bios-sev in its metadata.json): an AmdSev\n"
            "build of OVMF.",
    .options = options,
    .run = run,
};
