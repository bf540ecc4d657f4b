/* dstack attestation decode|verify */
#include <dstack/attestation.h>
#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "cli_trust.h"
#include "cmd_evidence.h"

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

static bool looks_binary(dstack_bytes content) {
    return content.len > 0 && (content.data[0] == 0 || (content.data[0] & 0xf0) == 0x80 ||
                               content.data[0] == 0xde || content.data[0] == 0xdf);
}

/* Either encoding (binary, hex or base64), or the JSON of a verification request. */
static int read_attestation(const char *path, dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    int rc = cli_read(path, 3 * DSTACK_ATTESTATION_MAX_SIZE, &raw, err);
    if (rc != 0) {
        return rc;
    }
    if (raw.len > 0 && raw.data[0] == '{') {
        return evidence_from_request(bytes_of_buf(&raw), out, err);
    }
    rc = bytes_from_any_text(bytes_of_buf(&raw), looks_binary, &bytes, err);
    return rc == 0 ? dstack_attestation_decode(bytes_of_buf(&bytes), out, err) : rc;
}

static int run_decode(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = read_attestation(argv[0], &a, err);
    if (rc == 0) {
        rc = dstack_attestation_to_json(a, &text, err);
    }
    DSTACK_AUTO(json)
    json_t *object = rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "attestation", err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : err->status;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "Attestation (nothing is verified)");
    cli_print_object(cli, object);
    return 0;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    DSTACK_AUTO(evidence_options) evidence_options options = {0};
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    int rc = read_attestation(argv[0], &a, err);
    if (rc == 0) {
        rc = evidence_options_read(cli, &options, err);
    }
    if (rc == 0) {
        rc = dstack_attestation_verify(options.verifier, a, &options.attestation, &verified, err);
    }
    return rc == 0 ? evidence_print(cli, "Attestation verified", &options, verified, err) : rc;
}

static const struct cli_command attestation_decode = {
    .name = "decode",
    .summary = "Show what an attestation holds",
    .usage = "FILE",
    .help =
        "FILE is an attestation of version 0 or 1, binary, in hex or in base64, or the JSON of a\n"
        "verification request. Nothing is verified.",
    .min_args = 1,
    .max_args = 1,
    .run = run_decode,
};

static const struct cli_command attestation_verify = {
    .name = "verify",
    .summary = "Verify an attestation end to end",
    .usage = "FILE [--collateral FILE] [--root FILE] [--image DIR] [--policy FILE] [--now UNIX]",
    .help = "Every claim is printed with the anchor that it rests on: measured, reference-image,\n"
            "policy, or self-asserted. A policy with \"version\" holds rules about the whole: "
            "platform,\n"
            "TCB, app, image, keys, anchors; without it, about TCB levels alone.",
    .options = evidence_cli_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const attestation_children[] = {&attestation_decode,
                                                                 &attestation_verify, NULL};

const struct cli_command cli_command_attestation = {
    .name = "attestation",
    .summary = "Versioned attestations: evidence, event log, identity",
    .children = attestation_children,
};
