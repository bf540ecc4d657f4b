#include "tcb_view.h"

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/date.h"

json_t *tcb_explain(dstack_bytes quote, const dstack_collateral *collateral, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return dstack_quote_explain(quote, collateral, false, &text, err) == 0
               ? json_parse(bytes_of_buf(&text), SIZE_MAX, "explanation", err)
               : NULL;
}

json_t *tcb_date_json(int64_t seconds) {
    char text[32];
    dcap_date_text(seconds, text);
    return json_string(text);
}

static const char *text_at(const json_t *object, const char *key, const char *otherwise) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : otherwise;
}

static long long number_at(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

/* "SGX component 2 is 1, 2 needed (BIOS, Early Microcode Update)" */
static void print_gap(struct cli *cli, const json_t *gap) {
    const char *part = text_at(gap, "part", "");
    const char *category = text_at(gap, "category", NULL), *type = text_at(gap, "type", NULL);
    char where[200] = "", name[32] = "PCESVN";
    if (category != NULL || type != NULL) {
        snprintf(where, sizeof where, " (%s%s%s)", category != NULL ? category : "",
                 category != NULL && type != NULL ? ", " : "", type != NULL ? type : "");
    }
    if (json_object_get(gap, "index") != NULL) {
        snprintf(name, sizeof name, "%s component %lld", part[0] == 's' ? "SGX" : "TDX",
                 number_at(gap, "index"));
    }
    cli_field(cli, "behind", "%s is %lld, %lld needed%s", name, number_at(gap, "have"),
              number_at(gap, "need"), where);
}

static void print_svn(struct cli *cli, const char *what, const json_t *part) {
    if (json_is_object(part)) {
        cli_field(cli, what, "svn %lld, best is %lld: %s, TCB date %s", number_at(part, "svn"),
                  number_at(part, "best_svn"), text_at(part, "status", "below every level"),
                  text_at(part, "tcb_date", "none"));
    }
}

void tcb_explain_print(struct cli *cli, const json_t *explained) {
    const json_t *platform = json_object_get(explained, "platform"), *gap;
    const json_t *verdict = json_object_get(explained, "verdict");
    const char *refused = text_at(verdict, "refused", NULL),
               *until = text_at(verdict, "until", NULL);
    size_t i;
    cli_field(cli, "verdict", "%s%s%s", text_at(verdict, "status", "none"),
              refused != NULL ? ", refused: "
              : until != NULL ? ", accepted until "
                              : "",
              refused != NULL ? refused
              : until != NULL ? until
                              : "");
    cli_field(cli, "evaluation", "TCB evaluation data number %lld, issued %s, next update %s",
              number_at(explained, "eval_data_number"), text_at(explained, "issue_date", ""),
              text_at(explained, "next_update", ""));
    if (json_is_integer(json_object_get(platform, "level"))) {
        cli_field(cli, "level", "%lld of %lld (1 is best): %s, TCB date %s",
                  number_at(platform, "level"), number_at(platform, "levels"),
                  text_at(platform, "status", ""), text_at(platform, "tcb_date", "none"));
    } else {
        cli_field(cli, "level", "none of %lld is met", number_at(platform, "levels"));
    }
    json_array_foreach(json_object_get(platform, "gaps"), i, gap) {
        print_gap(cli, gap);
    }
    print_svn(cli, "TDX module", json_object_get(explained, "module"));
    print_svn(cli, "quoting enclave", json_object_get(explained, "qe"));
}

int tcb_next_collateral(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                        dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(cli_servers) cli_servers from = {0};
    const char *path = cli_value(cli, "next", NULL);
    int64_t number = 0;
    bool early = cli_has(cli, "early"), numbered = cli_has(cli, "eval-number");
    *out = NULL;
    if ((path != NULL) + early + numbered > 1) {
        return cli_usage(err, "--next, --early and --eval-number exclude each other");
    }
    if (path != NULL) {
        return cli_read_collateral(path, out, err);
    }
    if (!early && !numbered) {
        return 0;
    }
    int rc = cli_servers_read(cli, &from, err);
    rc = rc != 0 ? rc : cli_int(cli, "eval-number", 0, 1, UINT32_MAX, &number, err);
    from.servers.early = early;
    from.servers.eval_number = (uint32_t)number;
    from.servers.verifier = verifier;
    return rc != 0 ? rc : dstack_collateral_fetch(out, quote, &from.servers, err);
}

static void set_outlook(json_t *object, const dstack_policy *policy, const dstack_quote_report *r,
                        int64_t at) {
    dstack_quote_outlook outlook;
    dstack_policy_outlook(policy, r, at, &outlook);
    if (outlook.decision != 0) {
        json_object_set_new(object, "refused",
                            json_string(dstack_status_name((dstack_status)outlook.decision)));
    } else if (outlook.ends) {
        json_object_set_new(object, "until", tcb_date_json(outlook.end));
        json_object_set_new(object, "until_unix", json_integer(outlook.end));
        json_object_set_new(object, "cause", json_string(dstack_status_name(outlook.cause)));
    }
}

json_t *tcb_verdict(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                    dstack_collateral *collateral, const dstack_policy *policy,
                    dstack_quote_report *report) {
    dstack_quote_report own, *r = report != NULL ? report : &own;
    dstack_error err = {0};
    json_t *object = json_object();
    int64_t at = cli->now;
    int rc = collateral != NULL
                 ? dstack_verifier_check_with(verifier, quote, collateral, NULL, cli->now, r, &err)
                 : dstack_verifier_check(verifier, quote, NULL, cli->now, r, &err);
    rc = rc != 0 ? rc : cli_int(cli, "at", cli->now, 0, INT64_MAX, &at, &err);
    json_object_set_new(object, "status", json_null());
    json_object_set_new(object, "refused", json_null());
    if (rc != 0) {
        json_object_set_new(object, "refused", json_string(dstack_status_name((dstack_status)rc)));
        json_object_set_new(object, "reason", json_string(err.message));
        return object;
    }
    json_object_set_new(object, "status", json_string(dstack_tcb_status_name(r->status)));
    if (policy != NULL) {
        set_outlook(object, policy, r, at);
    }
    return object;
}
