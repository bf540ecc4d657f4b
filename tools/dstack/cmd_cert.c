/* dstack cert inspect|verify */
#include <string.h>

#include <dstack/cert.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"
#include "cmd_evidence.h"

#define CERT_FILE_MAX ((size_t)1 << 20)

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

static int read_cert(const char *path, dstack_buf *raw, dstack_cert **out, dstack_error *err) {
    int rc = cli_read(path, CERT_FILE_MAX, raw, err);
    return rc == 0 ? dstack_cert_parse(bytes_of_buf(raw), out, err) : rc;
}

static json_t *cert_json(const dstack_cert *cert, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return dstack_cert_to_json(cert, &text, err) == 0
               ? json_parse(bytes_of_buf(&text), SIZE_MAX, "certificate", err)
               : NULL;
}

static int run_inspect(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int rc = read_cert(argv[0], &raw, &cert, err);
    DSTACK_AUTO(json) json_t *object = rc == 0 ? cert_json(cert, err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : err->status;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "Certificate (nothing is verified)");
    cli_print_object(cli, object);
    return 0;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf ca = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    DSTACK_AUTO(evidence_options) evidence_options options = {0};
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    uint8_t app_id[20];
    bool app_given = false;
    int rc = read_cert(argv[0], &raw, &cert, err);
    if (rc == 0 && cli_has(cli, "ca")) {
        rc = cli_read(cli_value(cli, "ca", NULL), CERT_FILE_MAX, &ca, err);
    }
    if (rc == 0) {
        rc = cli_hex_fixed(cli, "app-id", app_id, sizeof app_id, &app_given, err);
    }
    bool attested = rc == 0 && dstack_cert_attestation(cert) != NULL;
    if (rc == 0 && (attested || cli_has(cli, "collateral"))) {
        rc = evidence_options_read(cli, &options, err);
    }
    if (rc == 0 && cli_has(cli, "policy") && !attested) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "the certificate carries no attestation for the policy to judge");
    }
    if (rc == 0 && ca.len == 0 && !attested) {
        rc = cli_usage(err, "the certificate carries no attestation: --ca FILE is needed");
    }
    if (rc != 0) {
        return rc;
    }
    const dstack_cert_check check = {
        .now = cli->now,
        .root = bytes_of_buf(&ca),
        .intermediates = bytes_of_buf(&raw),
        .host = cli_value(cli, "host", NULL),
        .usage = cli_value(cli, "usage", NULL),
        .app_id = bytes_of(app_id, app_given ? sizeof app_id : 0),
        .require_attestation = options.verifier != NULL,
        .attestation = &options.attestation,
    };
    rc = dstack_cert_verify(options.verifier, cert, &check, &verified, err);
    if (rc != 0 || verified != NULL) {
        return rc != 0 ? rc : evidence_print(cli, "Certificate verified", &options, verified, err);
    }
    DSTACK_AUTO(json) json_t *object = cert_json(cert, err);
    if (object == NULL) {
        return err->status;
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "Certificate chain verified (no attestation in it)");
    cli_print_object(cli, object);
    return 0;
}

static const struct cli_command cert_inspect = {
    .name = "inspect",
    .summary = "Show a certificate and its RA-TLS extensions",
    .usage = "PEM",
    .min_args = 1,
    .max_args = 1,
    .run = run_inspect,
};

static const struct cli_option verify_options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON; without it, it is fetched"},
    CLI_SERVER_OPTIONS,
    {"root", 0, "FILE", "hardware roots (PEM or DER) in place of Intel's"},
    {"image", 0, "DIR", "guest image folder: the registers must be those of this image"},
    {"policy", 0, "FILE", "which TCB levels pass (YAML or JSON)"},
    {"ca", 0, "FILE", "the chain must end in this certificate (for example a KMS's root CA)"},
    {"usage", 0, "TEXT", "required usage extension; needs --ca"},
    {"app-id", 0, "HEX", "required app id extension; needs --ca"},
    {"host", 0, "NAME", "name that the certificate must cover"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command cert_verify = {
    .name = "verify",
    .summary = "Verify a certificate: chain, names, and the attestation bound to its key",
    .usage = "PEM [--ca FILE] [--collateral FILE] [...]",
    .help =
        "Further certificates in PEM are used as intermediates. What an issuer claims (usage, app\n"
        "id) counts with --ca alone.",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const cert_children[] = {&cert_inspect, &cert_verify, NULL};

const struct cli_command cli_command_cert = {
    .name = "cert",
    .summary = "RA-TLS certificates",
    .children = cert_children,
};
