#include "cmd_evidence.h"

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "base/yaml.h"
#include "verify/dcap/collateral.h"

const struct cli_option evidence_cli_options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON; without it, it is fetched"},
    CLI_SERVER_OPTIONS,
    CLI_KDS_OPTIONS,
    {"require-crl", 0, NULL, "SEV-SNP passes only with AMD's revocation list, fetched if need be"},
    {"root", 0, "FILE", "trust these root certificates (PEM or DER) in place of the vendor's"},
    {"tpm-root", 0, "FILE", "trust this root of vTPM keys in place of Google Cloud's"},
    {"image", 0, "DIR", "guest image folder: the registers must be those of this image"},
    {"policy", 0, "FILE", "what is accepted (YAML or JSON)"},
    {"report-data", 0, "HEX", "refuse unless the evidence binds these 64 bytes"},
    {"nonce", 0, "HEX", "refuse unless it binds these bytes with zeros after them"},
    {NULL, 0, NULL, NULL},
};

void evidence_options_clear(evidence_options *options) {
    dstack_verifier_free(options->verifier);
    dstack_policy_free(options->policy);
    dstack_attestation_policy_free(options->whole);
    cli_servers_clear(&options->from);
    dstack_tpm_fetcher_free(options->tpm_fetcher);
    cli_kds_clear(&options->kds);
    cli_roots_clear(&options->roots);
    cli_roots_clear(&options->tpm_root);
    *options = (evidence_options){0};
}

/* With --root no vendor's own root is trusted. A root that cannot be Intel's (its key is not P-256)
 * leaves no verifier, and Intel quotes are refused. */
static int open_verifier(struct cli *cli, evidence_options *out, dstack_error *err) {
    const char *path = cli_value(cli, "root", NULL);
    int rc = path == NULL ? 0 : cli_read_roots(path, &out->roots, err);
    const dstack_verifier_options options = {
        .roots = out->roots.roots,
        .root_count = out->roots.count,
        .no_builtin_root = path != NULL,
    };
    if (rc == 0 && path != NULL) {
        const dstack_bytes root = out->roots.roots[0].cert;
        out->platform_roots = (dstack_platform_roots){root, root, root, root, root, root};
    }
    const char *tpm = cli_value(cli, "tpm-root", NULL);
    if (rc == 0 && tpm != NULL) {
        rc = cli_read_roots(tpm, &out->tpm_root, err);
        if (rc == 0 && out->tpm_root.count != 1) {
            rc = cli_usage(err, "--tpm-root must hold one certificate");
        }
        out->platform_roots.gcp_tpm = out->tpm_root.roots[0].cert;
    }
    rc = rc == 0 ? dstack_verifier_new(&out->verifier, &options, err) : rc;
    return rc == DSTACK_E_DCAP_ROOT_CA_FORMAT && out->roots.count == 1 ? 0 : rc;
}

static int fetch(void *user, dstack_verifier *verifier, dstack_bytes quote, dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    dstack_collateral_servers servers = *(const dstack_collateral_servers *)user;
    servers.verifier = verifier; /* what it refuses is not kept, and the next server is asked */
    int rc = dstack_collateral_fetch(&collateral, quote, &servers, err);
    return rc == 0 ? dstack_verifier_add_collateral(verifier, collateral, err) : rc;
}

static int fetch_snp(void *user, dstack_bytes report, const dstack_snp_options *how,
                     dstack_snp_certs *certs, dstack_error *err) {
    return dstack_snp_certs_fetch(report, how, user, certs, err);
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
    *source = fetch;
    return cli_servers_read(cli, &out->from, err);
}

/* A document with the key "version" is about the whole attestation, one without about TCB levels. */
static int read_policy(const char *path, evidence_options *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = cli_read(path, DSTACK_ATTESTATION_POLICY_MAX, &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *document = yaml_to_json(bytes_of_buf(&text), DSTACK_ATTESTATION_POLICY_MAX, path, NULL);
    return json_object_get(document, "version") != NULL
               ? dstack_attestation_policy_parse(&out->whole, bytes_of_buf(&text), err)
               : cli_read_policy(path, &out->policy, err);
}

int evidence_options_read(struct cli *cli, evidence_options *out, dstack_error *err) {
    bool bound = false;
    dstack_collateral_source source = NULL;
    int rc = open_verifier(cli, out, err);
    if (rc == 0 && out->verifier != NULL) {
        rc = choose_collateral(cli, out, &source, err);
    }
    rc = rc == 0 ? cli_kds_read(cli, &out->kds, err) : rc;
    if (rc == 0 && cli_has(cli, "policy")) {
        rc = read_policy(cli_value(cli, "policy", NULL), out, err);
    }
    if (rc == 0) {
        rc = cli_hex_fixed(cli, "report-data", out->report_data, sizeof out->report_data, &bound,
                           err);
    }
    rc = rc == 0 ? dstack_tpm_fetcher_new(&out->tpm_fetcher, NULL, err) : rc;
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
        .collateral_user = &out->from.servers,
        .tpm_collateral = dstack_tpm_collateral_fetch, /* asked for only where a vTPM signed */
        .tpm_collateral_user = out->tpm_fetcher,
        .snp_certs = fetch_snp,
        .snp_certs_user = &out->kds.servers,
        .snp_require_crl = cli_has(cli, "require-crl"),
        /* a policy may name the image: then the registers are held against it also without a copy */
        .roots = &out->platform_roots,                     /* empty ones are the vendors' */
        .self_asserted_identity = !cli_has(cli, "policy"), /* shown as what it is */
        .image = image == NULL && out->whole == NULL ? NULL : dstack_measure_image_check,
        .image_user = (void *)image,
    };
    return rc;
}

static int print_json(struct cli *cli, const dstack_verified *verified,
                      const dstack_attestation_decision *decision, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0}, rules = {0};
    int rc = dstack_verified_to_json(verified, &text, err);
    if (rc == 0 && decision != NULL) {
        rc = dstack_attestation_decision_to_json(decision, &rules, err);
    }
    DSTACK_AUTO(json)
    json_t *object = rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "report", err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : (int)err->status;
    }
    if (decision != NULL) {
        json_object_set_new(object, "policy",
                            json_parse(bytes_of_buf(&rules), SIZE_MAX, "policy", NULL));
    }
    return cli_print_json(cli, object, err);
}

static dstack_anchor anchor_of(const dstack_attestation_decision *decision,
                               const dstack_attestation_claim *claim) {
    return decision == NULL ? claim->anchor
                            : dstack_attestation_decision_anchor(decision, claim->name);
}

int evidence_print(struct cli *cli, const char *title, const evidence_options *options,
                   const dstack_verified *verified, dstack_error *err) {
    DSTACK_AUTO(decision) dstack_attestation_decision *decision = NULL;
    if (options->whole != NULL) {
        int rc = dstack_attestation_policy_decide(options->whole, verified, &decision, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (cli->json) {
        return print_json(cli, verified, decision, err);
    }
    cli_heading(cli, "%s", title);
    dstack_attestation_claim claim;
    for (size_t i = 0; dstack_verified_claim(verified, i, &claim); i++) {
        cli_field(cli, claim.name, "%s  [%s]", claim.value,
                  dstack_anchor_name(anchor_of(decision, &claim)));
    }
    for (size_t i = 0; i < dstack_verified_advisory_count(verified); i++) {
        cli_field(cli, "advisory", "%s", dstack_verified_advisory(verified, i));
    }
    dstack_attestation_rule rule;
    for (size_t i = 0; decision != NULL && dstack_attestation_decision_rule(decision, i, &rule);
         i++) {
        cli_field(cli, i == 0 ? "policy" : "", "%s holds", rule.name);
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
