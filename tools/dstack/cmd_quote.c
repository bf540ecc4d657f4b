/* dstack quote parse|verify|collateral */
#include <string.h>

#include <dstack/attestation.h>
#include <dstack/collateral.h>
#include <dstack/policy.h>
#include <dstack/quote.h>
#include <dstack/verifier.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "cli_trust.h"
#include "tcb_view.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/policy.h"

static int read_quote(const char *path, dstack_buf *out, dstack_error *err) {
    return cli_read_any(path, 3 * (size_t)DSTACK_QUOTE_MAX_SIZE, dstack_quote_looks_binary, out,
                        err);
}

/* ---- parse ---- */

/* The fields of the body stand under the name of its kind and, for readers of flat records, beside
 * it. */
static void flatten_report(json_t *object) {
    json_t *report = json_object_get(object, "report");
    const char *kind = json_string_value(json_object_get(object, "report_type"));
    json_t *fields = json_object_get(report, kind);
    json_t *base = json_object_get(fields, "base");
    if (base != NULL) {
        json_object_update_missing(report, base);
    }
    json_object_update_missing(report, fields);
    json_object_del(report, "base");
}

static json_t *parsed_json(const dstack_quote *quote, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    json_t *object = NULL;
    if (dstack_quote_to_json(quote, false, &text, err) == 0) {
        object = json_parse(bytes_of_buf(&text), SIZE_MAX, "quote", err);
    }
    return object;
}

static int run_parse(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    dstack_quote quote;
    int rc = read_quote(argv[0], &raw, err);
    if (rc == 0) {
        rc = dstack_quote_parse(&quote, bytes_of_buf(&raw), err);
    }
    DSTACK_AUTO(json) json_t *object = rc == 0 ? parsed_json(&quote, err) : NULL;
    if (object == NULL) {
        return rc != 0 ? rc : err->status;
    }
    if (cli->json) {
        flatten_report(object);
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "%s quote, version %u, %zu bytes", dstack_quote_tee_name(&quote),
                quote.version, raw.len);
    cli_print_object(cli, json_object_get(object, "header"));
    cli_print_object(cli, json_object_get(object, "report"));
    cli_heading(cli, "Platform certificate (not verified)");
    if (json_is_object(json_object_get(object, "pck"))) {
        cli_print_object(cli, json_object_get(object, "pck"));
    } else {
        cli_field(cli, "pck", "none in this quote (certification data type %u)", quote.cert_type);
    }
    return 0;
}

/* ---- verify ---- */

/* --compat for all rules, --compat-rule NAME for one. */
static int waived_rules(struct cli *cli, uint32_t *out, dstack_error *err) {
    const char *name, *rule;
    *out = cli_has(cli, "compat") ? DSTACK_COMPAT_ALL : 0;
    for (size_t i = 0; (name = cli_value_at(cli, "compat-rule", i)) != NULL; i++) {
        unsigned bit = 0;
        while ((rule = dstack_compat_rule_name(bit)) != NULL && strcmp(rule, name) != 0) {
            bit++;
        }
        if (rule == NULL) {
            return cli_usage(err, "--compat-rule %s is none of them", name);
        }
        *out |= UINT32_C(1) << bit;
    }
    return 0;
}

static int open_verifier(struct cli *cli, dstack_verifier **out, dstack_error *err) {
    DSTACK_AUTO(cli_roots) cli_roots file = {0};
    const char *path = cli_value(cli, "root", NULL);
    uint32_t compat;
    int rc = waived_rules(cli, &compat, err);
    rc = rc != 0 || path == NULL ? rc : cli_read_roots(path, &file, err);
    if (cli_has(cli, "enforce-names") && cli_has(cli, "no-enforce-names")) {
        rc = cli_usage(err, "--enforce-names and --no-enforce-names exclude each other");
    }
    if (rc != 0) {
        return rc;
    }
    dstack_verifier_options options = {
        .roots = file.roots,
        .root_count = file.count,
        .no_builtin_root = path != NULL,
        .allow_debug = cli_has(cli, "allow-debug"),
        .allow_service_td = cli_has(cli, "allow-service-td"),
        .names = cli_has(cli, "enforce-names")      ? DSTACK_NAMES_ENFORCE
                 : cli_has(cli, "no-enforce-names") ? DSTACK_NAMES_ANY
                                                    : DSTACK_NAMES_DEFAULT,
        .compat = compat,
    };
    return dstack_verifier_new(out, &options, err);
}

/* --report-data as it is, --nonce with zeros after it. */
static int expected_report_data(struct cli *cli, uint8_t out[64], bool *given, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf nonce = {0};
    int rc = cli_hex_fixed(cli, "report-data", out, 64, given, err);
    if (rc != 0 || !cli_has(cli, "nonce")) {
        return rc;
    }
    if (*given) {
        return cli_usage(err, "--report-data and --nonce exclude each other");
    }
    *given = true;
    rc = cli_hex(cli, "nonce", &nonce, err);
    return rc != 0 ? rc : dstack_report_data_pad(bytes_of_buf(&nonce), out, err);
}

static json_t *report_json(const dstack_quote_report *report, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    json_t *object = NULL;
    if (dstack_quote_report_to_json(report, false, &text, err) == 0) {
        object = json_parse(bytes_of_buf(&text), SIZE_MAX, "report", err);
    }
    return object;
}

static void print_report(struct cli *cli, const dstack_quote_report *r, const json_t *object) {
    cli_heading(cli, "Quote verified");
    cli_field(cli, "status", "%s", dstack_tcb_status_name(r->status));
    for (size_t i = 0; i < r->advisories.count; i++) {
        cli_field(cli, "advisory", "%s", r->advisories.ids[i]);
    }
    if (r->shortfall[0] != '\0') {
        cli_field(cli, "shortfall", "%s", r->shortfall);
    }
    if (r->relaunch_advised) {
        cli_field(cli, "advice", "relaunch: the TDX module was updated since this TD started");
    }
    cli_field(cli, "platform", "%s", dstack_tcb_status_name(r->platform_status));
    cli_field(cli, "quoting enclave", "%s", dstack_tcb_status_name(r->qe_status));
    cli_field(cli, "trust anchor", "%s%s", r->anchor.name,
              r->anchor.builtin ? "" : " (pinned by --root, not Intel's)");
    for (unsigned i = 0; dstack_compat_rule_name(i) != NULL; i++) {
        if ((r->compat_used >> i & 1) != 0) {
            cli_field(cli, "waived rule", "%s: without --compat this quote is refused",
                      dstack_compat_rule_name(i));
        }
    }
    cli_field(cli, "collateral until", "%lld", (long long)r->earliest_expiration_date);
    cli_heading(cli, "Report");
    cli_print_object(cli, json_object_get(object, "report"));
}

/* From the file, or from the servers: then only what verifies is taken. */
static int take_collateral(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                           dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(cli_servers) cli_servers from = {0};
    if (cli_has(cli, "collateral")) {
        return cli_read_collateral(cli_value(cli, "collateral", NULL), out, err);
    }
    int rc = cli_servers_read(cli, &from, err);
    from.servers.verifier = verifier;
    return rc != 0 ? rc : dstack_collateral_fetch(out, quote, &from.servers, err);
}

/* Where the platform stands, and where the coming collateral would put it. */
static int explain(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                   dstack_collateral *collateral, const dstack_policy *policy, json_t **out,
                   dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *next = NULL;
    DSTACK_AUTO(json) json_t *now = tcb_explain(quote, collateral, err);
    if (now != NULL) {
        json_object_set_new(now, "verdict",
                            tcb_verdict(cli, quote, verifier, collateral, policy, NULL));
    }
    int rc = now == NULL ? DSTACK_E_FORMAT : tcb_next_collateral(cli, quote, verifier, &next, err);
    if (rc == 0 && next != NULL) {
        json_t *then = tcb_explain(quote, next, err);
        rc = then == NULL ? DSTACK_E_FORMAT : 0;
        json_object_set_new(now, "next", then);
        if (rc == 0) {
            json_object_set_new(then, "verdict",
                                tcb_verdict(cli, quote, verifier, next, policy, NULL));
        }
    }
    if (rc == 0) {
        *out = json_incref(now);
    }
    return rc;
}

static int verify_into(struct cli *cli, dstack_bytes quote, const dstack_policy *policy,
                       dstack_quote_report *report, json_t **explained, dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    DSTACK_AUTO(verifier) dstack_verifier *verifier = NULL;
    uint8_t data[64];
    bool given = false;
    int rc = expected_report_data(cli, data, &given, err);
    if (rc == 0) {
        rc = open_verifier(cli, &verifier, err);
    }
    if (rc == 0) {
        rc = take_collateral(cli, quote, verifier, &collateral, err);
    }
    if (rc == 0) {
        dstack_quote_expectations want = {.report_data = given ? data : NULL, .policy = policy};
        rc = dstack_verifier_check_with(verifier, quote, collateral, &want, cli->now, report, err);
        if (cli_has(cli, "explain")) {
            dstack_error own = {0};
            int explained_rc =
                explain(cli, quote, verifier, collateral, policy, explained, rc == 0 ? err : &own);
            rc = rc != 0 ? rc : explained_rc;
        }
    }
    return rc;
}

static void print_explained(struct cli *cli, const json_t *explained) {
    const json_t *next = json_object_get(explained, "next");
    cli_heading(cli, "Where the platform stands");
    tcb_explain_print(cli, explained);
    if (next != NULL) {
        cli_heading(cli, "What comes next would make of it");
        tcb_explain_print(cli, next);
    }
}

/* The quote is true; a refusal, if any, is the caller's own demand. */
static bool is_verified(int rc) {
    return rc == 0 || rc == DSTACK_E_DCAP_REPORT_DATA || rc == DSTACK_E_DCAP_POLICY_ATTRIBUTES ||
           (rc <= DSTACK_E_DCAP_POLICY_STATUS && rc >= DSTACK_E_DCAP_POLICY_SGX_TYPE);
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(policy) dstack_policy *policy = NULL;
    DSTACK_AUTO(json) json_t *explained = NULL;
    dstack_quote_report report;
    int rc = read_quote(argv[0], &raw, err);
    if (rc == 0 && cli_has(cli, "policy")) {
        rc = cli_read_policy(cli_value(cli, "policy", NULL), &policy, err);
    }
    if (rc == 0) {
        rc = verify_into(cli, bytes_of_buf(&raw), policy, &report, &explained, err);
    }
    if (rc != 0 && explained != NULL) {
        cli_detail(cli, "explain", json_incref(explained));
        if (!cli->json) {
            print_explained(cli, explained);
        }
    }
    if (!is_verified(rc)) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *object = report_json(&report, NULL);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the report");
    }
    if (rc != 0) {
        cli_detail(cli, "report", json_incref(object));
        return rc;
    }
    if (cli->json) {
        if (explained != NULL) {
            json_object_set(object, "explain", explained);
        }
        return cli_print_json(cli, object, err);
    }
    print_report(cli, &report, object);
    if (explained != NULL) {
        print_explained(cli, explained);
    }
    return 0;
}

/* ---- collateral ---- */

static int run_collateral(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0}, text = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    DSTACK_AUTO(cli_servers) cli_servers from = {0};
    int64_t number = 0;
    int rc = cli_servers_read(cli, &from, err);
    rc = rc != 0 ? rc : cli_int(cli, "eval-number", 0, 1, UINT32_MAX, &number, err);
    rc = rc != 0 ? rc : read_quote(argv[0], &raw, err);
    if (rc == 0) {
        from.servers.early = cli_has(cli, "early");
        from.servers.eval_number = (uint32_t)number;
        rc = dstack_collateral_fetch(&collateral, bytes_of_buf(&raw), &from.servers, err);
    }
    if (rc == 0) {
        rc = dstack_collateral_to_json(collateral, false, &text, err);
    }
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *object = json_parse(bytes_of_buf(&text), SIZE_MAX, "collateral", err);
    return object == NULL ? DSTACK_E_MEMORY : cli_print_json(cli, object, err);
}

/* ---- table ---- */

static const struct cli_command quote_parse = {
    .name = "parse",
    .summary = "Show every field of an SGX or TDX quote",
    .usage = "QUOTE",
    .help =
        "QUOTE is a file (or - for standard input) with a quote of version 3, 4 or 5, binary, in\n"
        "hex or in base64. Nothing is verified.",
    .min_args = 1,
    .max_args = 1,
    .run = run_parse,
};

static const struct cli_option verify_options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON; without it, it is fetched"},
    CLI_SERVER_OPTIONS,
    {"root", 0, "FILE", "trust these root certificates (PEM or DER) in place of Intel's"},
    {"policy", 0, "FILE", "which TCB levels pass (YAML or JSON)"},
    {"report-data", 0, "HEX", "refuse unless the quote carries these 64 bytes"},
    {"nonce", 0, "HEX", "refuse unless it carries these bytes with zeros after them"},
    {"allow-debug", 0, NULL, "let debug TDs and enclaves pass"},
    {"allow-service-td", 0, NULL, "let TDs with a bound service TD pass"},
    {"enforce-names", 0, NULL, "demand the certificate names of Intel's PKI"},
    {"no-enforce-names", 0, NULL, "do not demand them (the default with --root)"},
    {"explain", 0, NULL, "say how far behind the platform is, and until when --policy takes it"},
    {"at", 0, "UNIX", "with --explain: what --policy says at this date"},
    TCB_NEXT_OPTIONS,
    {"compat", 0, NULL, "waive every rule that the reference verifier does not have"},
    {"compat-rule", 0, "NAME", "waive this one (repeat for more)"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command quote_verify = {
    .name = "verify",
    .summary = "Verify an SGX or TDX quote against collateral",
    .usage = "QUOTE [--collateral FILE] [--root FILE] [--policy FILE] [--now UNIX]",
    .help =
        "Without a policy every TCB status but Revoked passes, and the report says which it is.\n"
        "Rules that can be waived, where the reference verifier is laxer than Intel's own or "
        "ours:\n"
        "anchor_dates, td_attributes, crl_not_yet_valid, crl_swapped, component_count,\n"
        "no_identities, certificate_names, key_usage, masked_identity, tcb_info_kind, "
        "quote_slack,\n"
        "signature_size. The report names each one that the quote or its collateral breaks.",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_option collateral_options[] = {
    CLI_SERVER_OPTIONS,
    {"eval-number", 0, "N", "fetch the update with this TCB evaluation data number"},
    {"early", 0, NULL, "fetch the early TCB update, not the standard one"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command quote_collateral = {
    .name = "collateral",
    .summary = "Fetch the collateral that a quote is verified with",
    .usage = "QUOTE [--pccs URL]...",
    .help =
        "Prints the JSON bundle that `dstack quote verify --collateral` takes. Without --pccs the\n"
        "variable PCCS_URL names the server, or else " DSTACK_COLLATERAL_DEFAULT_SERVER ".\n"
        "\"file:PATH\" as a URL is a bundle, taken when the servers before it gave none. What was\n"
        "fetched is kept in ~/.cache/dstack/collateral and serves for a day, and until its dates\n"
        "end while no server answers.",
    .options = collateral_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_collateral,
};

static const struct cli_command *const quote_children[] = {&quote_parse, &quote_verify,
                                                           &quote_collateral, NULL};

const struct cli_command cli_command_quote = {
    .name = "quote",
    .summary = "Intel SGX and TDX quotes",
    .children = quote_children,
};
