/* The recorded cases of the shared DCAP data: every verdict, status, advisory list and error class,
 * with a fresh verifier and with one that has seen all cases before. */
#include "check.h"

#include <ctype.h>

#include <dstack/outlook.h>
#include <dstack/verifier.h>

#include "verify/dcap/collateral.h"
#include "verify/dcap/policy.h"

#define DATA SHARED_DATA "dcap/"

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* "dcap.tcb_info_format" for "TCB_INFO_FORMAT" */
static void class_name(const char *class, char *out, size_t size) {
    snprintf(out, size, "dcap.%s", class);
    for (char *c = out; *c != '\0'; c++) {
        *c = (char)tolower(*c);
    }
}

/* Replaces every occurrence of a word in a text; the buffer is the caller's. */
static void replace(dstack_buf *text, const char *from, const char *to) {
    dstack_buf out = {0};
    const char *rest = buf_text(text);
    for (const char *at; (at = strstr(rest, from)) != NULL; rest = at + strlen(from)) {
        buf_put(&out, rest, (size_t)(at - rest));
        buf_put_str(&out, to);
    }
    buf_put_str(&out, rest);
    dstack_buf_clear(text);
    *text = out;
}

/* jansson cannot hold the largest 64-bit number: it travels as a string between file and policy. */
#define LARGEST "18446744073709551615"
#define LARGEST_STRING "\"largest u64\""

static json_t *load_tests(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, DATA "%s/manifest.json", folder);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(path, &text);
    replace(&text, LARGEST, LARGEST_STRING);
    dstack_error err = {0};
    json_t *tests = json_parse(bytes_of_buf(&text), (size_t)16 << 20, path, &err);
    assert_ok(tests == NULL ? err.status : 0, err);
    return tests;
}

typedef struct inputs {
    dstack_buf quote, collateral_text, root;
    dstack_collateral *collateral;
    dstack_policy *policy;
    int rc; /* of parsing collateral and policy */
    dstack_error err;
} inputs;

static void load(const json_t *test, const char *folder, inputs *in) {
    char path[512];
    *in = (inputs){0};
    snprintf(path, sizeof path, DATA "%s/%s", folder, text_of(test, "quote"));
    load_file(path, &in->quote);
    snprintf(path, sizeof path, DATA "%s/%s", folder, text_of(test, "collateral"));
    load_file(path, &in->collateral_text);
    if (text_of(test, "root_ca") != NULL) {
        snprintf(path, sizeof path, DATA "%s/%s", folder, text_of(test, "root_ca"));
        load_file(path, &in->root);
    }
    in->rc = dstack_collateral_parse(&in->collateral, bytes_of_buf(&in->collateral_text), &in->err);
    json_t *policy = json_object_get(test, "policy");
    if (in->rc == 0 && policy != NULL) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        in->rc = json_write(policy, false, &text, &in->err);
        replace(&text, LARGEST_STRING, LARGEST);
        in->rc = dstack_policy_parse(&in->policy, bytes_of_buf(&text), &in->err);
    }
}

static void unload(inputs *in) {
    dstack_buf_clear(&in->quote);
    dstack_buf_clear(&in->collateral_text);
    dstack_buf_clear(&in->root);
    dstack_collateral_free(in->collateral);
    dstack_policy_free(in->policy);
}

static uint32_t compat; /* DSTACK_COMPAT_* that all cases of a run waive */

static int open_verifier(const json_t *test, const inputs *in, dstack_verifier **out,
                         dstack_error *err) {
    dstack_trust_root root = {"test root", bytes_of_buf(&in->root)};
    bool own_root = text_of(test, "root_ca") != NULL;
    const json_t *names = json_object_get(test, "enforce_names");
    dstack_verifier_options options = {
        .roots = &root,
        .root_count = own_root ? 1 : 0,
        .no_builtin_root = own_root,
        .allow_debug = json_is_true(json_object_get(test, "allow_debug")),
        .allow_service_td = json_is_true(json_object_get(test, "allow_service_td")),
        .names = names == NULL         ? DSTACK_NAMES_DEFAULT
                 : json_is_true(names) ? DSTACK_NAMES_ENFORCE
                                       : DSTACK_NAMES_ANY,
        .compat = compat,
    };
    return dstack_verifier_new(out, &options, err);
}

static int differences;

static void differ(const json_t *test, const char *what, const char *have, const char *want) {
    print_error("%s: %s is %s, not %s\n", text_of(test, "name"), what, have, want);
    differences++;
}

static void compare_status(const json_t *test, const char *key, dstack_tcb_status have) {
    const json_t *want = json_object_get(test, key);
    const char *name = json_is_object(want) ? text_of(want, "status") : json_string_value(want);
    if (name != NULL && strcmp(name, dstack_tcb_status_name(have)) != 0) {
        differ(test, key, dstack_tcb_status_name(have), name);
    }
}

static void compare_advisories(const json_t *test, const json_t *want,
                               const dstack_advisories *have) {
    if (want == NULL) {
        return;
    }
    bool same = json_array_size(want) == have->count;
    for (size_t i = 0; same && i < have->count; i++) {
        same = strcmp(json_string_value(json_array_get(want, i)), have->ids[i]) == 0;
    }
    if (!same) {
        differ(test, "advisory_ids", "another list", "the recorded one");
    }
}

static void compare_report(const json_t *test, const dstack_quote_report *r) {
    compare_status(test, "status", r->status);
    compare_status(test, "platform_status", r->platform_status);
    compare_status(test, "qe_status", r->qe_status);
    compare_advisories(test, json_object_get(test, "advisory_ids"), &r->advisories);
    compare_advisories(test,
                       json_object_get(json_object_get(test, "platform_status"), "advisory_ids"),
                       &r->platform_advisories);
    compare_advisories(test, json_object_get(json_object_get(test, "qe_status"), "advisory_ids"),
                       &r->qe_advisories);
    char ppid[33];
    hex_encode(bytes_of(r->pck.ppid, 16), ppid);
    if (text_of(test, "ppid") != NULL && strcmp(text_of(test, "ppid"), ppid) != 0) {
        differ(test, "ppid", ppid, text_of(test, "ppid"));
    }
    const json_t *relaunch = json_object_get(test, "relaunch_advised");
    if (relaunch != NULL && json_is_true(relaunch) != r->relaunch_advised) {
        differ(test, "relaunch_advised", r->relaunch_advised ? "true" : "false",
               "the recorded one");
    }
}

static void compare(const json_t *test, int rc, const dstack_error *err,
                    const dstack_quote_report *report) {
    const char *have = rc == 0 ? "ok" : dstack_status_name((dstack_status)rc);
    char want[96] = "ok";
    if (strcmp(text_of(test, "expect"), "error") == 0) {
        class_name(text_of(test, "error_class"), want, sizeof want);
    }
    /* where a rule is waived, a later one refuses: the class is another then */
    bool agree = compat == 0 ? strcmp(have, want) == 0 : (rc == 0) == (strcmp(want, "ok") == 0);
    if (!agree) {
        differ(test, "verdict", have, want);
        print_error("    %s\n", rc == 0 ? "" : err->message);
    } else if (rc == 0) {
        compare_report(test, report);
    } else if (err->status != rc || err->message[0] == '\0') {
        differ(test, "error object", err->message, "filled");
    }
}

static int check(dstack_verifier *v, const json_t *test, const inputs *in,
                 dstack_quote_report *report, dstack_error *err) {
    dstack_quote_expectations want = {.policy = in->policy};
    int64_t now = json_integer_value(json_object_get(test, "now"));
    return dstack_verifier_check_with(v, bytes_of_buf(&in->quote), in->collateral, &want, now,
                                      report, err);
}

static void run_case(const json_t *test, const char *folder) {
    inputs in;
    load(test, folder, &in);
    dstack_verifier *v = NULL;
    dstack_quote_report report;
    dstack_error err = {0};
    int rc = in.rc;
    if (rc != 0) {
        err = in.err;
    } else {
        rc = open_verifier(test, &in, &v, &err);
    }
    /* cold, then warm, then warm after a refusal for being out of time */
    for (int round = 0; round < 3; round++) {
        if (v != NULL) {
            if (round == 2) {
                (void)dstack_verifier_check_with(v, bytes_of_buf(&in.quote), in.collateral, NULL, 1,
                                                 NULL, NULL);
            }
            memset(&err, 0, sizeof err);
            rc = check(v, test, &in, &report, &err);
        }
        compare(test, rc, &err, &report);
    }
    dstack_verifier_free(v);
    unload(&in);
}

static void run_folder(const char *folder, size_t count) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *tests = load_tests(folder);
    size_t i;
    json_t *test;
    differences = 0;
    json_array_foreach(tests, i, test) {
        run_case(test, folder);
    }
    assert_int_equal(differences, 0);
    assert_int_equal(i, count);
    print_message("%zu cases of %s agree\n", i, folder);
}

static void sec_32_every_case_of_the_suite_gets_the_recorded_verdict(void **state) {
    run_folder("suite", 415);
}

static void sec_32_every_case_where_references_differ_gets_the_decided_verdict(void **state) {
    run_folder("diverge", 42);
}

/* With every rule waived the suite stays as it is, being where all agree, and of the other cases
 * those pass that the reference passes, with its status, and the report says which rule. */
static void waived_rules_give_the_reference_verdict(void **state) {
    static const char *const never[] = {"tcb_deep_100000", "tcb_next_1969"};
    need_shared_data();
    compat = DSTACK_COMPAT_ALL;
    run_folder("suite", 415);
    DSTACK_AUTO(json) json_t *tests = load_tests("diverge");
    size_t i, waived = 0;
    json_t *test;
    json_array_foreach(tests, i, test) {
        const json_t *reference = json_object_get(test, "upstream");
        const char *name = text_of(test, "name");
        bool laxer = strcmp(text_of(test, "expect"), "error") == 0 &&
                     strcmp(text_of(reference, "expect"), "ok") == 0 &&
                     strcmp(name, never[0]) != 0 && strcmp(name, never[1]) != 0;
        inputs in;
        dstack_quote_report report = {0};
        dstack_verifier *v = NULL;
        dstack_error err = {0};
        load(test, "diverge", &in);
        assert_ok(open_verifier(test, &in, &v, &err), err);
        int rc = check(v, test, &in, &report, &err);
        if (laxer && rc != 0) {
            differ(test, "verdict", err.message, "ok");
        } else if (laxer) {
            waived += report.compat_used != 0;
            compare_status(reference, "status", report.status);
        } else if (rc == 0) {
            assert_int_equal(report.compat_used, 0);
        }
        dstack_verifier_free(v);
        unload(&in);
    }
    compat = 0;
    assert_int_equal(differences, 0);
    assert_int_equal(waived, 27);
}

static void sec_32_quotes_of_real_machines_get_the_recorded_verdict(void **state) {
    run_folder("real", 26);
}

static void every_policy_case_gets_the_recorded_verdict(void **state) {
    run_folder("policy", 35);
}

/* One verifier for all cases with the same root and options, in both orders. */
static void a_verifier_that_has_seen_all_other_cases_gives_the_same_verdicts(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *tests = load_tests("suite");
    size_t count = json_array_size(tests);
    dstack_verifier *v = NULL;
    differences = 0;
    for (size_t n = 0; n < 2 * count; n++) {
        const json_t *test = json_array_get(tests, n < count ? n : 2 * count - 1 - n);
        const char *root = text_of(test, "root_ca");
        if (root == NULL || strcmp(root, "roots/root.der") != 0 ||
            json_object_get(test, "allow_debug") != NULL ||
            json_object_get(test, "allow_service_td") != NULL ||
            json_object_get(test, "enforce_names") != NULL) {
            continue;
        }
        inputs in;
        dstack_quote_report report;
        dstack_error err = {0};
        load(test, "suite", &in);
        if (v == NULL) {
            assert_ok(open_verifier(test, &in, &v, &err), err);
        }
        if (in.rc == 0) {
            int rc = check(v, test, &in, &report, &err);
            compare(test, rc, &err, &report);
        }
        unload(&in);
    }
    dstack_verifier_free(v);
    assert_int_equal(differences, 0);
}

static void collateral_written_out_reads_back_the_same(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf text = {0}, again = {0};
    DSTACK_AUTO(collateral) dstack_collateral *a = NULL, *b = NULL;
    dstack_error err = {0};
    load_file(DATA "real/tdx_quote_collateral.json", &text);
    assert_ok(dstack_collateral_parse(&a, bytes_of_buf(&text), &err), err);
    assert_ok(dstack_collateral_to_json(a, true, &again, &err), err);
    assert_ok(dstack_collateral_parse(&b, bytes_of_buf(&again), &err), err);
    assert_true(bytes_equal(dstack_collateral_id(a), dstack_collateral_id(b)));
    int64_t expires;
    assert_ok(dstack_collateral_expires(a, &expires, &err), err);
    assert_int_equal(expires, 1752919235);
}

/* A real machine whose TDX 1.5 module is newer than the levels ask for. */
static void a_real_platform_stands_where_its_levels_say(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf quote = {0}, text = {0}, out = {0};
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    dstack_error err = {0};
    load_file(DATA "real/tdx_quote.bin", &quote);
    load_file(DATA "real/tdx_quote_collateral.json", &text);
    assert_ok(dstack_collateral_parse(&c, bytes_of_buf(&text), &err), err);
    assert_ok(dstack_quote_explain(bytes_of_buf(&quote), c, false, &out, &err), err);
    DSTACK_AUTO(json) json_t *o = json_parse(bytes_of_buf(&out), SIZE_MAX, "explanation", &err);
    const json_t *platform = json_object_get(o, "platform"), *module = json_object_get(o, "module");
    assert_string_equal(text_of(platform, "fmspc"), "b0c06f000000");
    assert_int_equal(json_integer_value(json_object_get(platform, "level")), 1);
    assert_string_equal(text_of(platform, "tcb_date"), "2024-03-13T00:00:00Z");
    assert_int_equal(json_integer_value(json_object_get(module, "svn")), 6);
    assert_int_equal(json_integer_value(json_object_get(module, "best_svn")), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_32_every_case_of_the_suite_gets_the_recorded_verdict),
        cmocka_unit_test(sec_32_every_case_where_references_differ_gets_the_decided_verdict),
        cmocka_unit_test(waived_rules_give_the_reference_verdict),
        cmocka_unit_test(sec_32_quotes_of_real_machines_get_the_recorded_verdict),
        cmocka_unit_test(every_policy_case_gets_the_recorded_verdict),
        cmocka_unit_test(a_verifier_that_has_seen_all_other_cases_gives_the_same_verdicts),
        cmocka_unit_test(a_real_platform_stands_where_its_levels_say),
        cmocka_unit_test(collateral_written_out_reads_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
