#include "cmd_evidence.h"

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "verify/dcap/collateral.h"

const struct cli_option evidence_cli_options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON; without it, it is fetched"},
    {"pccs", 0, "URL", "server to fetch collateral from (repeat for more, tried in order)"},
    {"root", 0, "FILE", "trust these root certificates (PEM or DER) in place of Intel's"},
    {"image", 0, "DIR", "guest image folder: the registers must be those of this image"},
    {"policy", 0, "FILE", "which TCB levels pass (YAML or JSON)"},
    {"report-data", 0, "HEX", "refuse unless the evidence binds these 64 bytes"},
    {"nonce", 0, "HEX", "refuse unless it binds these bytes with zeros after them"},
    {NULL, 0, NULL, NULL},
};

void evidence_options_clear(evidence_options *options) {
    dstack_verifier_free(options->verifier);
    dstack_policy_free(options->policy);
    *options = (evidence_options){0};
}

/* With --root the built-in root is not trusted. */
static int open_verifier(struct cli *cli, dstack_verifier **out, dstack_error *err) {
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    const char *path = cli_value(cli, "root", NULL);
    int rc = path == NULL ? 0 : cli_read_roots(path, &roots, err);
    const dstack_verifier_options options = {
        .roots = roots.roots,
        .root_count = roots.count,
        .no_builtin_root = path != NULL,
    };
    return rc == 0 ? dstack_verifier_new(out, &options, err) : rc;
}

static int fetch(void *user, dstack_verifier *verifier, dstack_bytes quote, dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    int rc = dstack_collateral_fetch(&collateral, quote, user, err);
    return rc == 0 ? dstack_verifier_add_collateral(verifier, collateral, err) : rc;
}

/* From the file, or later from the servers: then *source is set. */
static int choose_collateral(struct cli *cli, evidence_options *out,
                             dstack_collateral_source *source, dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    const char *path = cli_value(cli, "collateral", NULL);
    if (path != NULL) {
        int rc = cli_read_collateral(path, &collateral, err);
        return rc == 0 ? dstack_verifier_add_collateral(out->verifier, collateral, err) : rc;
    }
    size_t count = 0;
    for (const char *url;
         count < EVIDENCE_SERVERS_MAX && (url = cli_value_at(cli, "pccs", count)) != NULL;) {
        out->urls[count++] = url;
    }
    out->servers = (dstack_collateral_servers){.urls = out->urls, .url_count = count};
    *source = fetch;
    return 0;
}

int evidence_options_read(struct cli *cli, evidence_options *out, dstack_error *err) {
    bool bound = false;
    dstack_collateral_source source = NULL;
    int rc = open_verifier(cli, &out->verifier, err);
    if (rc == 0) {
        rc = choose_collateral(cli, out, &source, err);
    }
    if (rc == 0 && cli_has(cli, "policy")) {
        rc = cli_read_policy(cli_value(cli, "policy", NULL), &out->policy, err);
    }
    if (rc == 0) {
        rc = cli_hex_fixed(cli, "report-data", out->report_data, sizeof out->report_data, &bound,
                           err);
    }
    DSTACK_AUTO(buf) dstack_buf nonce = {0};
    if (rc == 0 && !bound && cli_has(cli, "nonce")) {
        bound = true;
        rc = cli_hex(cli, "nonce", &nonce, err);
        if (rc == 0) {
            rc = dstack_report_data_pad(bytes_of_buf(&nonce), out->report_data, err);
        }
    }
    const char *image = cli_value(cli, "image", NULL);
    out->attestation = (dstack_attestation_options){
        .now = cli->now,
        .policy = out->policy,
        .report_data = bound ? out->report_data : NULL,
        .collateral = source,
        .collateral_user = &out->servers,
        .image = image == NULL ? NULL : dstack_measure_image_check,
        .image_user = (void *)image,
    };
    return rc;
}

int evidence_print(struct cli *cli, const char *title, const dstack_verified *verified,
                   dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        int rc = dstack_verified_to_json(verified, &text, err);
        DSTACK_AUTO(json)
        json_t *object = rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "report", err) : NULL;
        return object == NULL ? err->status : cli_print_json(cli, object, err);
    }
    cli_heading(cli, "%s", title);
    dstack_attestation_claim claim;
    for (size_t i = 0; dstack_verified_claim(verified, i, &claim); i++) {
        cli_field(cli, claim.name, "%s  [%s]", claim.value, dstack_anchor_name(claim.anchor));
    }
    for (size_t i = 0; i < dstack_verified_advisory_count(verified); i++) {
        cli_field(cli, "advisory", "%s", dstack_verified_advisory(verified, i));
    }
    return 0;
}

int evidence_from_request(dstack_bytes text, dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *request = json_parse(text, 3 * DSTACK_ATTESTATION_MAX_SIZE, "request", err);
    if (request == NULL) {
        return DSTACK_E_FORMAT;
    }
    DSTACK_AUTO(buf) dstack_buf attestation = {0};
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    const char *log = "";
    int rc = json_hex_or_empty(request, "attestation", &attestation, err);
    if (rc == 0 && attestation.len > 0) {
        return dstack_attestation_decode(bytes_of_buf(&attestation), out, err);
    }
    if (rc == 0) {
        rc = json_hex_or_empty(request, "quote", &quote, err);
    }
    if (rc == 0 && quote.len == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "the JSON has neither \"attestation\" nor \"quote\"");
    }
    if (rc == 0) {
        rc = json_need_str(request, "event_log", &log, err);
    }
    return rc == 0
               ? dstack_attestation_from_quote(bytes_of_buf(&quote), bytes_of_str(log), out, err)
               : rc;
}
