/* dstack nitro verify */
#include <string.h>

#include <dstack/attestation.h>
#include <dstack/nitro.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "cli_trust.h"

/* COSE_Sign1: an array of four, tagged or not. */
static bool looks_binary(dstack_bytes content) {
    return content.len > 0 && (content.data[0] == 0x84 || content.data[0] == 0xd2);
}

/* {"0": hex, ...}: each PCR named must have that value. */
static int check_pcrs(struct cli *cli, const dstack_nitro_verdict *v, dstack_error *err) {
    const char *given = cli_value(cli, "pcrs", NULL);
    if (given == NULL) {
        return 0;
    }
    DSTACK_AUTO(json) json_t *wanted = cli_json_or_file(given, (size_t)64 << 10, err);
    if (!json_is_object(wanted)) {
        return cli_usage(err, "--pcrs: a JSON object from PCR number to hex is needed");
    }
    const char *key;
    json_t *value;
    json_object_foreach(wanted, key, value) {
        char *end = NULL;
        const unsigned long index = strtoul(key, &end, 10);
        uint8_t raw[DSTACK_NITRO_PCR_SIZE];
        if (*key == '\0' || *end != '\0' || index >= DSTACK_NITRO_MAX_PCRS ||
            json_string_value(value) == NULL ||
            hex_decode_fixed(json_string_value(value), raw, sizeof raw, NULL) != 0) {
            return cli_usage(err, "--pcrs: a JSON object from PCR number to hex is needed");
        }
        if ((v->pcr_mask >> index & 1) == 0 || memcmp(raw, v->pcrs[index], sizeof raw) != 0) {
            return error_set(err, DSTACK_E_REFUSED, "PCR%lu is not the expected one", index);
        }
    }
    return 0;
}

static int set_root(struct cli *cli, cli_roots *file, dstack_nitro_options *options,
                    dstack_error *err) {
    const char *path = cli_value(cli, "root", NULL);
    int rc = path == NULL ? 0 : cli_read_roots(path, file, err);
    if (rc == 0 && path != NULL && file->count != 1) {
        rc = cli_usage(err, "--root must hold one certificate");
    }
    if (rc == 0 && path != NULL) {
        options->root = file->roots[0].cert;
    }
    return rc;
}

static int print_verdict(struct cli *cli, const dstack_nitro_verdict *v, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = dstack_nitro_verdict_to_json(v, &text, err);
    DSTACK_AUTO(json)
    json_t *object = rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "verdict", err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : DSTACK_E_MEMORY;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "Nitro attestation document verified");
    cli_field(cli, "trust anchor", "%s%s", v->anchor.name,
              v->anchor.builtin ? "" : " (pinned by --root, not AWS's)");
    cli_print_object(cli, object);
    return 0;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0}, user_data = {0}, nonce = {0};
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    dstack_nitro_verdict verdict;
    dstack_nitro_options options = {
        .now = cli->now, .tpm = cli_has(cli, "tpm"), .allow_debug = cli_has(cli, "allow-debug")};
    int rc = cli_read_any(argv[0], 3 * DSTACK_NITRO_MAX_SIZE, looks_binary, &raw, err);
    rc = rc == 0 ? set_root(cli, &roots, &options, err) : rc;
    rc = rc == 0
             ? cli_int(cli, "max-age", DSTACK_NITRO_MAX_AGE, 1, INT32_MAX, &options.max_age, err)
             : rc;
    rc = rc == 0 ? cli_hex(cli, "report-data", &user_data, err) : rc;
    rc = rc == 0 ? cli_hex(cli, "nonce", &nonce, err) : rc;
    const dstack_bytes data_view = bytes_of_buf(&user_data), nonce_view = bytes_of_buf(&nonce);
    options.user_data = cli_has(cli, "report-data") ? &data_view : NULL;
    options.nonce = cli_has(cli, "nonce") ? &nonce_view : NULL;
    rc = rc == 0 ? dstack_nitro_verify(bytes_of_buf(&raw), &options, &verdict, err) : rc;
    rc = rc == 0 ? check_pcrs(cli, &verdict, err) : rc;
    return rc == 0 ? print_verdict(cli, &verdict, err) : rc;
}

static const struct cli_option verify_options[] = {
    {"root", 0, "FILE", "trust this root (PEM or DER) in place of AWS's"},
    {"pcrs", 0, "JSON", "refuse unless these PCRs have these values: {\"0\": HEX, ...}"},
    {"max-age", 0, "SECONDS", "oldest document that passes (3600)"},
    {"report-data", 0, "HEX", "refuse unless the document's user_data is this"},
    {"nonce", 0, "HEX", "refuse unless the document's nonce is this"},
    {"tpm", 0, NULL, "the document is a NitroTPM's, not an enclave's"},
    {"allow-debug", 0, NULL, "let enclaves in debug mode pass"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command nitro_verify = {
    .name = "verify",
    .summary = "Verify an AWS Nitro attestation document",
    .usage = "DOCUMENT [--root FILE] [--pcrs JSON] [--max-age SECONDS] [--now UNIX]",
    .help = "DOCUMENT is the COSE_Sign1 that NSM or a NitroTPM gives, binary, in hex or in base64.",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const nitro_children[] = {&nitro_verify, NULL};

const struct cli_command cli_command_nitro = {
    .name = "nitro",
    .summary = "AWS Nitro Enclave and NitroTPM attestation documents",
    .children = nitro_children,
};
