/* dstack fleet tcb: for many quotes, until when a policy accepts each. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "cli.h"
#include "cli_trust.h"
#include "tcb_view.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/policy.h"

#define COLUMNS 6
#define DAY 86400

/* UpToDate and nothing else; how a platform is made up does not matter. */
static const char default_policy[] =
    "{\"allow_dynamic_platform\":true,\"allow_cached_keys\":true,\"allow_smt\":true}";

typedef struct fleet {
    dstack_verifier *verifier;
    dstack_policy *policy;
    int64_t horizon; /* an end before it counts as trouble */
    size_t refused, ending;
} fleet;

static void fleet_clear(fleet *f) {
    dstack_verifier_free(f->verifier);
    dstack_policy_free(f->policy);
}
DSTACK_AUTO_DEFINE_CLEAR(fleet, fleet, fleet_clear)

static int fleet_open(struct cli *cli, fleet *f, dstack_error *err) {
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    const char *path = cli_value(cli, "root", NULL);
    int64_t days = 0;
    int rc = path == NULL ? 0 : cli_read_roots(path, &roots, err);
    const dstack_verifier_options options = {
        .roots = roots.roots,
        .root_count = roots.count,
        .no_builtin_root = path != NULL,
    };
    rc = rc != 0 ? rc : dstack_verifier_new(&f->verifier, &options, err);
    for (size_t i = 0; rc == 0 && (path = cli_value_at(cli, "collateral", i)) != NULL; i++) {
        DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
        rc = cli_read_collateral(path, &collateral, err);
        rc = rc != 0 ? rc : dstack_verifier_add_collateral(f->verifier, collateral, err);
    }
    path = cli_value(cli, "policy", NULL);
    if (rc == 0) {
        rc = path != NULL ? cli_read_policy(path, &f->policy, err)
                          : dstack_policy_parse(&f->policy, bytes_of_str(default_policy), err);
    }
    rc = rc != 0 ? rc : cli_int(cli, "within", 0, 0, 36500, &days, err);
    f->horizon = cli->now + days * DAY;
    return rc;
}

/* Fetched once for each kind of platform: the verifier keeps it, and so does the disk. */
static int need_collateral(struct cli *cli, fleet *f, dstack_bytes quote, dstack_error *err) {
    DSTACK_AUTO(cli_servers) cli_servers from = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    if (cli_has(cli, "collateral") ||
        dstack_verifier_has_collateral(f->verifier, quote, cli->now)) {
        return 0;
    }
    int rc = cli_servers_read(cli, &from, err);
    from.servers.verifier = f->verifier;
    rc = rc != 0 ? rc : dstack_collateral_fetch(&collateral, quote, &from.servers, err);
    return rc != 0 ? rc : dstack_verifier_add_collateral(f->verifier, collateral, err);
}

static json_t *failed(int rc, const dstack_error *err) {
    return json_pack("{s:n, s:s, s:s}", "status", "refused", dstack_status_name((dstack_status)rc),
                     "reason", err->message);
}

static bool is_refused(const json_t *verdict) {
    return json_is_string(json_object_get(verdict, "refused"));
}

static bool ends_soon(const fleet *f, const json_t *verdict) {
    const json_t *until = json_object_get(verdict, "until_unix");
    return json_is_integer(until) && json_integer_value(until) <= f->horizon;
}

/* A quote's part in the count: refused now, or soon, or by what comes next. */
static void count(fleet *f, const json_t *verdict) {
    const json_t *next = json_object_get(verdict, "next");
    if (is_refused(verdict)) {
        f->refused++;
    } else if (ends_soon(f, verdict) || is_refused(next) || ends_soon(f, next)) {
        f->ending++;
    }
}

static json_t *judge(struct cli *cli, fleet *f, const char *path) {
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    DSTACK_AUTO(collateral) dstack_collateral *next = NULL;
    dstack_quote_report report;
    dstack_error err = {0};
    int rc = cli_read_any(path, 3 * (size_t)DSTACK_QUOTE_MAX_SIZE, dstack_quote_looks_binary,
                          &quote, &err);
    rc = rc != 0 ? rc : need_collateral(cli, f, bytes_of_buf(&quote), &err);
    json_t *verdict =
        rc != 0 ? failed(rc, &err)
                : tcb_verdict(cli, bytes_of_buf(&quote), f->verifier, NULL, f->policy, &report);
    json_object_set_new(verdict, "file", json_string(path));
    if (!json_is_string(json_object_get(verdict, "status"))) {
        return verdict;
    }
    json_object_set_new(verdict, "eval_data_number", json_integer(report.tcb_eval_data_number));
    json_object_set_new(verdict, "collateral_until",
                        tcb_date_json(report.earliest_expiration_date));
    json_object_set_new(verdict, "shortfall",
                        report.shortfall[0] == '\0' ? json_null() : json_string(report.shortfall));
    rc = tcb_next_collateral(cli, bytes_of_buf(&quote), f->verifier, &next, &err);
    if (rc != 0) {
        json_object_set_new(verdict, "next", failed(rc, &err));
    } else if (next != NULL) {
        json_t *then =
            tcb_verdict(cli, bytes_of_buf(&quote), f->verifier, next, f->policy, &report);
        if (json_is_string(json_object_get(then, "status"))) {
            json_object_set_new(then, "eval_data_number",
                                json_integer(report.tcb_eval_data_number));
        }
        json_object_set_new(verdict, "next", then);
    }
    return verdict;
}

/* ---- text ---- */

static const char *text_at(const json_t *object, const char *key, const char *otherwise) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : otherwise;
}

/* "refused: dcap.policy_status", "until 2026-...", "no end in sight" */
static void put_until(const json_t *verdict, char out[96]) {
    const char *refused = text_at(verdict, "refused", NULL);
    const char *until = text_at(verdict, "until", NULL);
    snprintf(out, 96, "%s%s",
             refused != NULL ? "refused: "
             : until != NULL ? "until "
                             : "no end in sight",
             refused != NULL ? refused
             : until != NULL ? until
                             : "");
}

typedef struct row {
    char number[16], until[96], next[96];
} row;

static int print_table(struct cli *cli, const json_t *quotes, dstack_error *err) {
    size_t rows = json_array_size(quotes) + 1, i;
    const char **cells = calloc(rows * COLUMNS, sizeof *cells);
    row *texts = calloc(rows, sizeof *texts);
    const json_t *verdict;
    static const char *const heads[COLUMNS] = {"QUOTE",    "STATUS", "NUMBER",
                                               "ACCEPTED", "NEXT",   "LACKS"};
    if (cells != NULL && texts != NULL) {
        memcpy(cells, heads, sizeof heads);
        json_array_foreach(quotes, i, verdict) {
            const json_t *next = json_object_get(verdict, "next");
            const json_t *number = json_object_get(verdict, "eval_data_number");
            row *r = &texts[i + 1];
            snprintf(r->number, sizeof r->number, "%lld", (long long)json_integer_value(number));
            put_until(verdict, r->until);
            if (next != NULL) {
                put_until(next, r->next);
            }
            const char *line[COLUMNS] = {
                text_at(verdict, "file", ""),
                text_at(verdict, "status", "-"),
                number == NULL ? "-" : r->number,
                r->until,
                next == NULL ? "-" : r->next,
                text_at(verdict, "shortfall", text_at(verdict, "reason", "-"))};
            memcpy(&cells[(i + 1) * COLUMNS], line, sizeof line);
        }
        cli_print_table(cli, cells, COLUMNS, rows);
    }
    int rc = cells != NULL && texts != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    free(cells);
    free(texts);
    return rc;
}

static int run_tcb(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(fleet) fleet f = {0};
    DSTACK_AUTO(json) json_t *document = json_object();
    json_t *quotes = json_array();
    int64_t at;
    json_object_set_new(document, "quotes", quotes);
    int rc = cli_int(cli, "at", cli->now, 0, INT64_MAX, &at, err);
    rc = rc != 0 ? rc : fleet_open(cli, &f, err);
    if (rc != 0) {
        return rc;
    }
    for (int i = 0; i < argc; i++) {
        json_t *verdict = judge(cli, &f, argv[i]);
        count(&f, verdict);
        json_array_append_new(quotes, verdict);
    }
    json_object_set_new(document, "refused", json_integer((json_int_t)f.refused));
    json_object_set_new(document, "ending", json_integer((json_int_t)f.ending));
    bool trouble = f.refused + f.ending > 0;
    if (trouble) {
        rc = error_set(err, DSTACK_E_DCAP_POLICY_STATUS,
                       "%zu of %d quotes are refused, and %zu will be", f.refused, argc, f.ending);
    }
    if (cli->json && trouble) {
        cli_detail(cli, "quotes", json_incref(quotes));
        cli_detail(cli, "refused", json_integer((json_int_t)f.refused));
        cli_detail(cli, "ending", json_integer((json_int_t)f.ending));
        return rc;
    }
    int printed = cli->json ? cli_print_json(cli, document, err) : print_table(cli, quotes, err);
    return rc != 0 ? rc : printed;
}

static const struct cli_option tcb_options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON (repeat for more); without it, fetched"},
    CLI_SERVER_OPTIONS,
    {"root", 0, "FILE", "trust these root certificates (PEM or DER) in place of Intel's"},
    {"policy", 0, "FILE", "which TCB levels pass (YAML or JSON); default: UpToDate alone"},
    {"within", 0, "DAYS", "fail also when a quote stops being accepted within this time"},
    {"at", 0, "UNIX", "decide for this date, not for now"},
    TCB_NEXT_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static const struct cli_command fleet_tcb = {
    .name = "tcb",
    .summary = "Say until when a policy accepts each of many quotes",
    .usage = "QUOTE... [--policy FILE] [--within DAYS] [--next FILE | --early | --eval-number N]",
    .help =
        "Each quote is verified, and held against the policy: accepted without end, accepted\n"
        "until a grace period ends, or refused. With --next, --early or --eval-number also\n"
        "under the collateral that comes. Collateral's own dates do not count: it is renewed.\n"
        "Fails when any quote is refused, or will be within --within days or by what comes next.",
    .options = tcb_options,
    .min_args = 1,
    .max_args = -1,
    .run = run_tcb,
};

static const struct cli_command *const fleet_children[] = {&fleet_tcb, NULL};

const struct cli_command cli_command_fleet = {
    .name = "fleet",
    .summary = "Many machines at once",
    .children = fleet_children,
};
