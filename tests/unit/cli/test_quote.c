/* dstack quote: what scripts see, over quotes of our own making. */
#include "../verify/dcap/made.h"

#include "../verify/dcap/pccs.h"
#include "cli.h"
#include "verify/dcap/quote_build.h"
#include "x509/pem.h"

extern const struct cli_command cli_command_quote, cli_command_fleet;

static const struct cli_command *const children[] = {&cli_command_quote, &cli_command_fleet, NULL};
static const struct cli_command root = {
    .name = "dstack", .summary = "test", .children = children, .max_args = -1};

/* Files of one sound quote, and of a debug TD's. */
typedef struct files {
    char folder[64];
    char quote[96], hex[96], debug[96], collateral[96], der[96], pem[96], policy[96], none[96];
} files;

static void write_file(const char *path, dstack_bytes content) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(path, content, 0600, &err), err);
}

static int make_files(void **state) {
    static files f;
    DSTACK_AUTO(made) made sound, debug;
    DSTACK_AUTO(buf) dstack_buf json = {0}, hex = {0}, pem = {0};
    made_spec s;
    dstack_error err = {0};
    strcpy(f.folder, "/tmp/dstack-quote-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
#define PATH(name, file) snprintf(f.name, sizeof f.name, "%s/" file, f.folder)
    PATH(quote, "quote.bin");
    PATH(hex, "quote.hex");
    PATH(debug, "debug.bin");
    PATH(collateral, "collateral.json");
    PATH(der, "root.der");
    PATH(pem, "root.pem");
    PATH(policy, "policy.yaml");
    PATH(none, "none");
    made_spec_init(&s);
    made_build(&s, &sound);
    s.td.td_attributes[0] = 1;
    made_build(&s, &debug);
    assert_ok(dstack_collateral_to_json(sound.collateral, false, &json, &err), err);
    assert_ok(pem_append(&pem, "CERTIFICATE", bytes_of_buf(&sound.root), &err), err);
    buf_put_hex(&hex, bytes_of_buf(&sound.quote));
    buf_put_str(&hex, "\n");
    write_file(f.quote, bytes_of_buf(&sound.quote));
    write_file(f.hex, bytes_of_buf(&hex));
    write_file(f.debug, bytes_of_buf(&debug.quote));
    write_file(f.collateral, bytes_of_buf(&json));
    write_file(f.der, bytes_of_buf(&sound.root));
    write_file(f.pem, bytes_of_buf(&pem));
    write_file(f.policy, bytes_of_str("allowed_statuses: [SWHardeningNeeded]\n"));
    *state = &f;
    return 0;
}

static int remove_files(void **state) {
    const files *f = *state;
    const char *const paths[] = {f->quote, f->hex, f->debug, f->collateral,
                                 f->der,   f->pem, f->policy};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        unlink(paths[i]);
    }
    return rmdir(f->folder);
}

/* Runs a command line with --json at the made time; gives its exit code and document. */
static int run(json_t **document, const char *const *args) {
    char *argv[40] = {"dstack"};
    int argc = 1;
    for (; *args != NULL; args++) {
        argv[argc++] = (char *)(uintptr_t)*args;
    }
    argv[argc++] = "--json";
    argv[argc++] = "--now";
    argv[argc++] = "1790000000";
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    FILE *diag = fopen("/dev/null", "w");
    int code = cli_main(&root, argc, argv, out, diag);
    fclose(out);
    fclose(diag);
    dstack_error err = {0};
    *document = json_parse(bytes_of(text, len), 1 << 20, "output", &err);
    free(text);
    assert_non_null(*document);
    return code;
}
#define RUN(document, ...) run((document), (const char *const[]){__VA_ARGS__, NULL})

static const char *at(const json_t *object, const char *a, const char *b) {
    const json_t *inner = json_object_get(object, a);
    return json_string_value(b == NULL ? inner : json_object_get(inner, b));
}

static void a_sound_quote_verifies_with_its_root_named_in_the_report(void **state) {
    const files *f = *state;
    const char *const quotes[] = {f->quote, f->hex};
    const char *const roots[][2] = {{f->der, "root.der"}, {f->pem, "root.pem"}};
    for (int i = 0; i < 2; i++) {
        DSTACK_AUTO(json) json_t *d = NULL;
        assert_int_equal(RUN(&d, "quote", "verify", quotes[i], "--collateral", f->collateral,
                             "--root", roots[i][0]),
                         0);
        assert_string_equal(at(d, "status", NULL), "UpToDate");
        assert_string_equal(at(d, "tee", NULL), "tdx");
        assert_string_equal(at(d, "qe_status", "status"), "UpToDate");
        assert_string_equal(at(d, "platform_status", "status"), "UpToDate");
        assert_string_equal(at(d, "anchor", "name"), roots[i][1]);
        assert_non_null(json_object_get(json_object_get(d, "report"), "TD10"));
        assert_int_equal(json_integer_value(json_object_get(d, "earliest_expiration_date")),
                         MADE_NOW + 20 * 86400);
    }
}

static void without_its_root_a_quote_of_ours_is_refused(void **state) {
    const files *f = *state;
    DSTACK_AUTO(json) json_t *d = NULL;
    assert_int_equal(RUN(&d, "quote", "verify", f->quote, "--collateral", f->collateral), 1);
    assert_string_equal(at(d, "error", "check"), "dcap.crl_not_found");
}

static void options_decide_what_passes(void **state) {
    const files *f = *state;
    static const char other[] = "22222222222222222222222222222222222222222222222222222222222222222"
                                "222222222222222222222222222222222222222222222222222222222222222";
    DSTACK_AUTO(json) json_t *debug = NULL, *allowed = NULL, *policy = NULL, *data = NULL;
    assert_int_equal(
        RUN(&debug, "quote", "verify", f->debug, "--collateral", f->collateral, "--root", f->der),
        1);
    assert_string_equal(at(debug, "error", "check"), "dcap.debug");
    assert_int_equal(RUN(&allowed, "quote", "verify", f->debug, "--collateral", f->collateral,
                         "--root", f->der, "--allow-debug"),
                     0);
    assert_int_equal(RUN(&policy, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--root", f->der, "--policy", f->policy),
                     1);
    assert_string_equal(at(policy, "error", "check"), "dcap.policy_status");
    assert_string_equal(at(policy, "report", "status"), "UpToDate");
    assert_int_equal(RUN(&data, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--root", f->der, "--report-data", other),
                     1);
    assert_string_equal(at(data, "error", "check"), "dcap.report_data");
}

static void usage_and_missing_files_have_their_own_exit_codes(void **state) {
    const files *f = *state;
    DSTACK_AUTO(json) json_t *a = NULL, *b = NULL, *c = NULL, *d = NULL, *e = NULL;
    assert_int_equal(RUN(&a, "quote", "verify"), 2);
    assert_int_equal(RUN(&e, "quote", "verify", f->none), 3);
    assert_int_equal(RUN(&b, "quote", "verify", f->none, "--collateral", f->collateral), 3);
    assert_int_equal(RUN(&c, "quote", "verify", f->quote, "--collateral", f->none), 3);
    assert_int_equal(RUN(&d, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--enforce-names", "--no-enforce-names"),
                     2);
}

static void collateral_is_fetched_once_and_verifies_the_quote(void **state) {
    const files *f = *state;
    DSTACK_AUTO(json) json_t *bundle = NULL, *gone = NULL, *verified = NULL, *refused = NULL;
    DSTACK_AUTO(json) json_t *unnamed = NULL;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    char cache[128], record[224];
    pccs server = {0};
    snprintf(cache, sizeof cache, "%s/cache", f->folder);
    snprintf(record, sizeof record, "%s/tdx-00906ea10000-platform-standard.json", cache);
    assert_ok(file_read(f->collateral, 1 << 20, &text, &err), err);
    assert_ok(dstack_collateral_parse(&c, bytes_of_buf(&text), &err), err);
    pccs_start(&server, c);
    assert_int_equal(
        RUN(&bundle, "quote", "collateral", f->quote, "--pccs", server.url, "--cache", cache), 0);
    assert_non_null(json_object_get(bundle, "pck_certificate_chain"));
    /* No server named: the environment's. */
    assert_int_equal(setenv("PCCS_URL", server.url, 1), 0);
    assert_int_equal(RUN(&unnamed, "quote", "verify", f->quote, "--no-cache", "--root", f->der), 0);
    assert_int_equal(unsetenv("PCCS_URL"), 0);
    atomic_store(&server.fault, PCCS_MISSING);
    assert_int_equal(RUN(&verified, "quote", "verify", f->quote, "--pccs", server.url, "--cache",
                         cache, "--root", f->der),
                     0);
    assert_string_equal(at(verified, "status", NULL), "UpToDate");
    assert_int_equal(
        RUN(&gone, "quote", "collateral", f->quote, "--pccs", server.url, "--no-cache"), 1);
    assert_string_equal(at(gone, "error", "check"), "dcap.collateral_fetch");
    assert_int_equal(
        RUN(&refused, "quote", "verify", f->quote, "--pccs", server.url, "--cache", cache), 1);
    pccs_stop(&server);
    assert_int_equal(unlink(record), 0);
    assert_int_equal(rmdir(cache), 0);
}

static void a_nonce_is_report_data_with_zeros_after_it(void **state) {
    const files *f = *state;
    static const char ones[] = "11111111111111111111111111111111111111111111111111111111111111111"
                               "111111111111111111111111111111111111111111111111111111111111111";
    DSTACK_AUTO(json) json_t *whole = NULL, *part = NULL, *both = NULL;
    assert_int_equal(RUN(&whole, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--root", f->der, "--nonce", ones),
                     0);
    assert_int_equal(RUN(&part, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--root", f->der, "--nonce", "1111"),
                     1);
    assert_string_equal(at(part, "error", "check"), "dcap.report_data");
    assert_int_equal(RUN(&both, "quote", "verify", f->quote, "--collateral", f->collateral,
                         "--root", f->der, "--nonce", ones, "--report-data", ones),
                     2);
}

static void waived_rules_are_named_in_the_report(void **state) {
    const files *f = *state;
    char path[96];
    DSTACK_AUTO(json) json_t *strict = NULL, *one = NULL, *all = NULL, *none = NULL;
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    dstack_error err = {0};
    snprintf(path, sizeof path, "%s/slack.bin", f->folder);
    assert_ok(file_read(f->quote, 1 << 20, &quote, &err), err);
    buf_put_str(&quote, "slack");
    write_file(path, bytes_of_buf(&quote));
#define VERIFY(d, ...)                                                                             \
    RUN(d, "quote", "verify", path, "--collateral", f->collateral, "--root", f->der, ##__VA_ARGS__)
    assert_int_equal(VERIFY(&strict), 1);
    assert_string_equal(at(strict, "error", "check"), "dcap.quote_format");
    assert_int_equal(VERIFY(&one, "--compat-rule", "quote_slack"), 0);
    assert_int_equal(VERIFY(&all, "--compat"), 0);
    const json_t *rules = json_object_get(all, "compat");
    assert_int_equal(json_array_size(rules), 1);
    assert_string_equal(json_string_value(json_array_get(rules, 0)), "quote_slack");
    assert_true(json_equal(rules, json_object_get(one, "compat")));
    assert_int_equal(VERIFY(&none, "--compat-rule", "slack"), 2);
    unlink(path);
}

/* The made platform's collateral after a TCB recovery: SGX component 0 must be 4. */
static void write_next(const char *path) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    made_spec s;
    made_spec_init(&s);
    s.tcb_edits[0] = "\"sgxtcbcomponents\":[{\"svn\":3}";
    s.tcb_edits[1] =
        "\"sgxtcbcomponents\":[{\"svn\":4,\"category\":\"BIOS\",\"type\":\"Microcode\"}";
    s.tcb_edits[2] = "\"tcbEvaluationDataNumber\":18";
    s.tcb_edits[3] = "\"tcbEvaluationDataNumber\":19";
    made_build(&s, &m);
    assert_ok(dstack_collateral_to_json(m.collateral, false, &text, &err), err);
    write_file(path, bytes_of_buf(&text));
}

#define RECOVERY ((int64_t)1772323200) /* tcbDate of made levels, 2026-03-01 */
#define YEAR ((int64_t)365 * 86400)

static long long number_at(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static void explain_says_what_a_platform_lacks_now_and_next(void **state) {
    const files *f = *state;
    char next[96];
    DSTACK_AUTO(json) json_t *d = NULL;
    snprintf(next, sizeof next, "%s/next.json", f->folder);
    write_next(next);
    assert_int_equal(RUN(&d, "quote", "verify", f->quote, "--collateral", f->collateral, "--root",
                         f->der, "--explain", "--next", next),
                     0);
    const json_t *now = json_object_get(d, "explain"), *then = json_object_get(now, "next");
    const json_t *platform = json_object_get(now, "platform");
    assert_string_equal(at(d, "status", NULL), "UpToDate");
    assert_int_equal(number_at(platform, "level"), 1);
    assert_int_equal(number_at(platform, "levels"), 2);
    assert_int_equal(json_array_size(json_object_get(platform, "gaps")), 0);
    assert_string_equal(at(platform, "tcb_date", NULL), "2026-03-01T00:00:00Z");
    assert_int_equal(number_at(json_object_get(now, "module"), "svn"), 5);
    assert_int_equal(number_at(json_object_get(now, "qe"), "best_svn"), 8);
    assert_int_equal(number_at(then, "eval_data_number"), 19);
    assert_string_equal(at(then, "verdict", "status"), "OutOfDate");
    platform = json_object_get(then, "platform");
    assert_int_equal(number_at(platform, "level"), 2);
    const json_t *gap = json_array_get(json_object_get(platform, "gaps"), 0);
    assert_int_equal(json_array_size(json_object_get(platform, "gaps")), 1);
    assert_string_equal(at(gap, "part", NULL), "sgx");
    assert_int_equal(number_at(gap, "index"), 0);
    assert_int_equal(number_at(gap, "have"), 3);
    assert_int_equal(number_at(gap, "need"), 4);
    assert_string_equal(at(gap, "type", NULL), "Microcode");
    unlink(next);
}

/* Also when it reaches no level at all. */
static void explain_speaks_when_the_quote_is_refused(void **state) {
    const files *f = *state;
    char path[96];
    DSTACK_AUTO(json) json_t *d = NULL;
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    made_spec s;
    made_spec_init(&s);
    s.tcb_edits[0] = "\"pcesvn\":5";
    s.tcb_edits[1] = "\"pcesvn\":12";
    s.tcb_edits[2] = "\"pcesvn\":11";
    s.tcb_edits[3] = "\"pcesvn\":13";
    made_build(&s, &m);
    snprintf(path, sizeof path, "%s/high.json", f->folder);
    assert_ok(dstack_collateral_to_json(m.collateral, false, &text, &err), err);
    write_file(path, bytes_of_buf(&text));
    assert_int_equal(
        RUN(&d, "quote", "verify", f->quote, "--collateral", path, "--root", f->der, "--explain"),
        1);
    assert_string_equal(at(d, "error", "check"), "dcap.tcb_not_supported");
    const json_t *platform = json_object_get(json_object_get(d, "explain"), "platform");
    assert_true(json_is_null(json_object_get(platform, "level")));
    assert_int_equal(number_at(json_array_get(json_object_get(platform, "gaps"), 0), "need"), 13);
    unlink(path);
}

static void a_fleet_is_told_until_when_each_quote_is_accepted(void **state) {
    const files *f = *state;
    char next[96], grace[96];
    DSTACK_AUTO(json)
    json_t *fine = NULL, *coming = NULL, *years = NULL, *late = NULL, *debug = NULL;
    snprintf(next, sizeof next, "%s/next.json", f->folder);
    snprintf(grace, sizeof grace, "%s/grace.yaml", f->folder);
    write_next(next);
    write_file(grace, bytes_of_str("allowed_statuses: [UpToDate, OutOfDate]\n"
                                   "platform_grace_period_secs: 31536000\n"));
#define FLEET(d, ...)                                                                              \
    RUN(d, "fleet", "tcb", "--root", f->der, "--collateral", f->collateral, __VA_ARGS__)
    assert_int_equal(FLEET(&fine, f->quote, f->hex), 0);
    assert_int_equal(json_array_size(json_object_get(fine, "quotes")), 2);
    const json_t *one = json_array_get(json_object_get(fine, "quotes"), 0);
    assert_string_equal(at(one, "status", NULL), "UpToDate");
    assert_null(json_object_get(one, "until"));
    /* the coming collateral makes it out of date, which the default policy refuses */
    assert_int_equal(FLEET(&coming, f->quote, "--next", next), 1);
    assert_int_equal(number_at(coming, "refused"), 0);
    assert_int_equal(number_at(coming, "ending"), 1);
    one = json_array_get(json_object_get(coming, "quotes"), 0);
    assert_string_equal(at(one, "next", "refused"), "dcap.policy_status");
    /* a policy that grants a year lets it live until then */
    assert_int_equal(FLEET(&years, f->quote, "--next", next, "--policy", grace), 0);
    one = json_object_get(json_array_get(json_object_get(years, "quotes"), 0), "next");
    assert_int_equal(number_at(one, "until_unix"), RECOVERY + YEAR + 1);
    assert_string_equal(at(one, "until", NULL), "2027-03-01T00:00:01Z");
    assert_string_equal(at(one, "cause", NULL), "dcap.policy_platform_age");
    assert_int_equal(number_at(one, "eval_data_number"), 17);
    assert_int_equal(FLEET(&late, f->quote, "--next", next, "--policy", grace, "--within", "200"),
                     1);
    assert_int_equal(FLEET(&debug, f->quote, f->debug), 1);
    assert_int_equal(number_at(debug, "refused"), 1);
    one = json_array_get(json_object_get(debug, "quotes"), 1);
    assert_string_equal(at(one, "refused", NULL), "dcap.debug");
    unlink(next);
    unlink(grace);
}

static void a_policy_is_asked_about_a_later_date(void **state) {
    const files *f = *state;
    char next[96], grace[96];
    DSTACK_AUTO(json) json_t *before = NULL, *after = NULL;
    snprintf(next, sizeof next, "%s/next.json", f->folder);
    snprintf(grace, sizeof grace, "%s/grace.yaml", f->folder);
    write_next(next);
    write_file(grace, bytes_of_str("allowed_statuses: [UpToDate, OutOfDate]\n"
                                   "platform_grace_period_secs: 31536000\n"));
#define AT(d, date)                                                                                \
    RUN(d, "fleet", "tcb", f->quote, "--root", f->der, "--collateral", next, "--policy", grace,    \
        "--at", date)
    assert_int_equal(AT(&before, "1803859200"), 0); /* RECOVERY + YEAR */
    assert_int_equal(AT(&after, "1803859201"), 1);
    const json_t *one = json_array_get(json_object_get(after, "quotes"), 0);
    assert_string_equal(at(one, "refused", NULL), "dcap.policy_platform_age");
    unlink(next);
    unlink(grace);
}

static void parse_prints_every_field_nested_and_flat(void **state) {
    const files *f = *state;
    DSTACK_AUTO(json) json_t *d = NULL;
    assert_int_equal(RUN(&d, "quote", "parse", f->hex), 0);
    const json_t *report = json_object_get(d, "report");
    assert_string_equal(at(report, "TD10", "mr_td"), at(report, "mr_td", NULL));
    assert_string_equal(at(d, "report_type", NULL), "TD10");
    assert_string_equal(at(d, "pck", "fmspc"), "00906ea10000");
    assert_int_equal(json_integer_value(json_object_get(d, "signed_length")), QUOTE_V4_SIGNED_SIZE);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(d, "header"), "version")),
                     4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_quote_verifies_with_its_root_named_in_the_report),
        cmocka_unit_test(without_its_root_a_quote_of_ours_is_refused),
        cmocka_unit_test(options_decide_what_passes),
        cmocka_unit_test(usage_and_missing_files_have_their_own_exit_codes),
        cmocka_unit_test(collateral_is_fetched_once_and_verifies_the_quote),
        cmocka_unit_test(a_nonce_is_report_data_with_zeros_after_it),
        cmocka_unit_test(waived_rules_are_named_in_the_report),
        cmocka_unit_test(explain_says_what_a_platform_lacks_now_and_next),
        cmocka_unit_test(explain_speaks_when_the_quote_is_refused),
        cmocka_unit_test(a_fleet_is_told_until_when_each_quote_is_accepted),
        cmocka_unit_test(a_policy_is_asked_about_a_later_date),
        cmocka_unit_test(parse_prints_every_field_nested_and_flat),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
