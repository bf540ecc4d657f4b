/* dstack measure uki: the PCRs of a machine that starts a unified kernel image. */
#include <dstack/uki.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "cmd_measure.h"
#include "crypto/hash.h"

#define GPT_MAX ((size_t)64 << 10)

static const struct cli_option options[] = {
    {"firmware", 0, "NAME", "uefi (PCR 4, the default), aws (the same, SHA-384), gcp (PCR 2)"},
    {"bank", 0, "NAME", "sha256 or sha384 (uefi, gcp: sha256; aws: sha384)"},
    {"gpt", 0, "FILE", "the event of the partition table, as the boot log has it (gcp)"},
    {"gpt-digest", 0, "HEX", "its digest instead"},
    {"stub-version", 0, "N", "systemd's version, for an image whose stub does not tell"},
    {"pcr7", 0, "HEX", "PCR 7 (secure boot), for the digest over PCR 4, 7 and 12 (aws)"},
    {"document", 0, "FILE", "write measurement.gcp.cbor, or measurement.aws.cbor with --pcr7"},
    {"explain", 0, NULL, "print every event behind the registers, with its source"},
    {NULL},
};

static int read_firmware(struct cli *cli, dstack_uki_options *out, bool *aws, dstack_error *err) {
    const char *firmware = cli_value(cli, "firmware", "uefi");
    *aws = strcmp(firmware, "aws") == 0;
    const char *bank = cli_value(cli, "bank", *aws ? "sha384" : "sha256");
    if (!*aws && strcmp(firmware, "uefi") != 0 && strcmp(firmware, "gcp") != 0) {
        return cli_usage(err, "--firmware is uefi, aws or gcp");
    }
    if (strcmp(bank, "sha256") != 0 && strcmp(bank, "sha384") != 0) {
        return cli_usage(err, "--bank is sha256 or sha384");
    }
    out->firmware = strcmp(firmware, "gcp") == 0 ? DSTACK_UKI_GCP : DSTACK_UKI_UEFI;
    out->bank = strcmp(bank, "sha384") == 0 ? DSTACK_PCR_SHA384 : DSTACK_PCR_SHA256;
    return 0;
}

static int read_gpt(struct cli *cli, dstack_uki_options *out, dstack_buf *gpt, dstack_error *err) {
    const char *path = cli_value(cli, "gpt", NULL);
    out->gpt_is_digest = cli_has(cli, "gpt-digest");
    if (path != NULL && out->gpt_is_digest) {
        return cli_usage(err, "--gpt and --gpt-digest exclude each other");
    }
    if ((path != NULL || out->gpt_is_digest) && out->firmware != DSTACK_UKI_GCP) {
        return cli_usage(err, "the partition table belongs to --firmware gcp");
    }
    int rc = path != NULL         ? cli_read(path, GPT_MAX, gpt, err)
             : out->gpt_is_digest ? cli_hex(cli, "gpt-digest", gpt, err)
                                  : 0;
    out->gpt = bytes_of_buf(gpt);
    return rc;
}

static json_t *events_json(const dstack_uki_prediction *p) {
    json_t *list = json_array();
    for (size_t i = 0; i < p->event_count; i++) {
        const dstack_uki_event *event = &p->events[i];
        json_array_append_new(
            list, json_pack("{s:I, s:I, s:s, s:s, s:o}", "pcr", (json_int_t)event->pcr, "type",
                            (json_int_t)event->type, "name", event->name, "source", event->source,
                            "digest",
                            event->known ? json_hex(bytes_of(event->digest, p->digest_size))
                                         : json_null()));
    }
    return list;
}

static json_t *prediction_json(const dstack_uki_prediction *p, const uint8_t *boot_digest) {
    json_t *object = json_object(), *pcrs = json_object();
    for (unsigned pcr = 0; pcr < DSTACK_UKI_MAX_PCRS; pcr++) {
        char name[8];
        snprintf(name, sizeof name, "%u", pcr);
        if ((p->pcr_mask >> pcr & 1) != 0) {
            json_object_set_new(pcrs, name, json_hex(bytes_of(p->pcrs[pcr], p->digest_size)));
        }
    }
    json_object_set_new(object, "bank", json_string(p->digest_size == 48 ? "sha384" : "sha256"));
    json_object_set_new(object, "pcrs", pcrs);
    json_object_set_new(object, "uki_authenticode",
                        json_hex(bytes_of(p->uki_authenticode, p->digest_size)));
    json_object_set_new(object, "linux_authenticode",
                        json_hex(bytes_of(p->linux_authenticode, p->digest_size)));
    json_object_set_new(object, "stub_version", json_integer(p->stub_version));
    if (boot_digest != NULL) {
        json_object_set_new(object, "boot_pcr_digest", json_hex(bytes_of(boot_digest, 32)));
    }
    json_object_set_new(object, "events", events_json(p));
    return object;
}

static void print_hex(struct cli *cli, const char *name, const uint8_t *digest, size_t size,
                      const char *source) {
    char hex[2 * DSTACK_UKI_DIGEST_SIZE + 1];
    hex_encode(bytes_of(digest, size), hex);
    cli_field(cli, name, "%s%s%s", hex, source != NULL ? "  " : "", source != NULL ? source : "");
}

static void print_events(struct cli *cli, const dstack_uki_prediction *p) {
    for (unsigned pcr = 0; pcr < DSTACK_UKI_MAX_PCRS; pcr++) {
        bool headed = false;
        for (size_t i = 0; i < p->event_count; i++) {
            const dstack_uki_event *event = &p->events[i];
            if (event->pcr != pcr) {
                continue;
            }
            if (!headed) {
                cli_heading(cli, "PCR %u", pcr);
                headed = true;
            }
            if (event->known) {
                print_hex(cli, event->name, event->digest, p->digest_size, event->source);
            } else {
                cli_field(cli, event->name, "not known  %s", event->source);
            }
        }
    }
}

static int print(struct cli *cli, const dstack_uki_prediction *p, const uint8_t *boot_digest,
                 dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json) json_t *object = prediction_json(p, boot_digest);
        return cli_print_json(cli, object, err);
    }
    for (unsigned pcr = 0; pcr < DSTACK_UKI_MAX_PCRS; pcr++) {
        char name[8];
        snprintf(name, sizeof name, "PCR%u", pcr);
        if ((p->pcr_mask >> pcr & 1) != 0) {
            print_hex(cli, name, p->pcrs[pcr], p->digest_size, NULL);
        }
    }
    print_hex(cli, "UKI", p->uki_authenticode, p->digest_size, "Authenticode");
    if (boot_digest != NULL) {
        print_hex(cli, "boot PCRs", boot_digest, 32, "SHA-256 over PCR 4, 7 and 12");
    }
    if (cli_has(cli, "explain")) {
        print_events(cli, p);
    }
    return 0;
}

/* measurement.gcp.cbor names the image, measurement.aws.cbor the registers after it. */
static int write_document(struct cli *cli, bool gcp, const dstack_uki_prediction *p,
                          const uint8_t *boot_digest, dstack_error *err) {
    const char *path = cli_value(cli, "document", NULL);
    DSTACK_AUTO(buf) dstack_buf document = {0};
    if (path == NULL) {
        return 0;
    }
    if (!gcp && boot_digest == NULL) {
        return cli_usage(err, "--document needs --firmware gcp, or aws and --pcr7");
    }
    if (gcp && p->digest_size != 32) {
        return cli_usage(err, "measurement.gcp.cbor holds a SHA-256 digest");
    }
    int rc = gcp ? dstack_measure_gcp_encode(p->uki_authenticode, &document, err)
                 : dstack_measure_aws_encode(boot_digest, &document, err);
    return rc == 0 ? file_write_atomic(path, bytes_of_buf(&document), 0644, err) : rc;
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf uki = {0}, gpt = {0};
    dstack_uki_options how = {0};
    dstack_uki_prediction p;
    uint8_t pcr7[48], digest[32];
    bool aws = false, has_pcr7 = false;
    int64_t version = 0;
    int rc = read_firmware(cli, &how, &aws, err);
    rc = rc == 0 ? read_gpt(cli, &how, &gpt, err) : rc;
    rc = rc == 0 ? cli_int(cli, "stub-version", 0, 0, 9999, &version, err) : rc;
    rc = rc == 0 ? cli_hex_fixed(cli, "pcr7", pcr7, sizeof pcr7, &has_pcr7, err) : rc;
    if (rc == 0 && has_pcr7 && (!aws || how.bank != DSTACK_PCR_SHA384)) {
        rc = cli_usage(err, "--pcr7 belongs to --firmware aws");
    }
    how.stub_version = (unsigned)version;
    rc = rc == 0 ? cli_read(argv[0], DSTACK_UKI_MAX_SIZE, &uki, err) : rc;
    rc = rc == 0 ? dstack_uki_measure(bytes_of_buf(&uki), &how, &p, err) : rc;
    if (rc != 0) {
        return rc;
    }
    const dstack_bytes parts[3] = {bytes_of(p.pcrs[4], 48), bytes_of(pcr7, 48),
                                   bytes_of(p.pcrs[12], 48)};
    if (has_pcr7) {
        hash_parts(HASH_SHA256, parts, 3, digest);
    }
    const uint8_t *boot_digest = has_pcr7 ? digest : NULL;
    rc = write_document(cli, how.firmware == DSTACK_UKI_GCP, &p, boot_digest, err);
    return rc == 0 ? print(cli, &p, boot_digest, err) : rc;
}

const struct cli_command cli_command_measure_uki = {
    .name = "uki",
    .summary = "Predict the PCRs of a machine that starts a unified kernel image",
    .usage = "FILE [--firmware NAME] [--bank NAME] [--gpt FILE] [--pcr7 HEX] [--document FILE]",
    .help =
        "PCR 4 (Google Cloud: PCR 2) holds what the firmware starts, PCR 11 what systemd's stub\n"
        "measures of the image, PCR 12 is zero when nothing is passed beside it. With --explain\n"
        "every event is printed with its digest and what that was computed from.",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
