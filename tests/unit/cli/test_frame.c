/* The command-line frame: parsing, exit codes, JSON errors, printing. */
#include "check.h"
#include "cli.h"

static const struct cli_option greet_options[] = {
    {"name", 'n', "NAME", "whom"},
    {"loud", 'l', NULL, "shout"},
    {"size", 0, "SIZE", "how much"},
    {"digest", 0, "HEX", "four bytes"},
    {NULL},
};

static int greet(struct cli *cli, int argc, char **argv, dstack_error *err) {
    uint64_t size;
    uint8_t digest[4];
    bool given;
    int rc = cli_size(cli, "size", 7, 1, &size, err);
    rc = rc != 0 ? rc : cli_hex_fixed(cli, "digest", digest, sizeof digest, &given, err);
    if (rc != 0) {
        return rc;
    }
    if (strcmp(argv[0], "refuse") == 0) {
        cli_detail(cli, "report", json_pack("{s:i}", "score", 3));
        return error_set(err, DSTACK_E_REFUSED, "not today");
    }
    if (strcmp(argv[0], "absent") == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "no such thing");
    }
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *out =
            json_pack("{s:s, s:s, s:b, s:I, s:I, s:i}", "word", argv[0], "name",
                      cli_value(cli, "name", "nobody"), "loud", cli_has(cli, "loud"), "size",
                      (json_int_t)size, "now", (json_int_t)cli->now, "args", argc);
        return cli_print_json(cli, out, err);
    }
    cli_field(cli, "word", "%s", argv[0]);
    return 0;
}

static const struct cli_command greet_command = {.name = "greet",
                                                 .summary = "Greet",
                                                 .usage = "WORD",
                                                 .options = greet_options,
                                                 .min_args = 1,
                                                 .max_args = 2,
                                                 .run = greet};
static const struct cli_command *const say_children[] = {&greet_command, NULL};
static const struct cli_command say = {
    .name = "say", .summary = "Say things", .children = say_children, .max_args = -1};
static const struct cli_command *const root_children[] = {&say, NULL};
static const struct cli_command root = {
    .name = "dstack", .summary = "Root", .children = root_children, .max_args = -1};

/* Runs a command line split at spaces; returns the exit code and both outputs. */
static int run(const char *line, char out[2048], char diag[2048]) {
    char copy[512];
    snprintf(copy, sizeof copy, "dstack %s", line);
    char *argv[32];
    int argc = 0;
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    FILE *files[2] = {tmpfile(), tmpfile()};
    char *texts[2] = {out, diag};
    int code = cli_main(&root, argc, argv, files[0], files[1]);
    for (int i = 0; i < 2; i++) {
        rewind(files[i]);
        texts[i][fread(texts[i], 1, 2047, files[i])] = 0;
        fclose(files[i]);
    }
    return code;
}

static char out[2048], diag[2048];

static void options_and_arguments_may_stand_in_any_order(void **state) {
    assert_int_equal(run("say greet --json hello -n Ann --loud --size=2K --now 5", out, diag), 0);
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *got = json_parse(bytes_of_str(out), 4096, "out", &err);
    DSTACK_AUTO(json)
    json_t *want = json_pack("{s:s,s:s,s:b,s:i,s:i,s:i}", "word", "hello", "name", "Ann", "loud", 1,
                             "size", 2048, "now", 5, "args", 1);
    assert_true(json_equal(got, want));
    assert_string_equal(diag, "");
}

static void usage_errors_exit_2(void **state) {
    const char *lines[] = {"say greet hello --colour",
                           "say greet",
                           "say greet a b c",
                           "say nothing",
                           "frob",
                           "say greet a --name",
                           "say greet a --loud=1",
                           "say",
                           "say greet a --size 3x",
                           "say greet a --digest 00",
                           "say greet a --now x"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_int_equal(run(lines[i], out, diag), 2);
        assert_string_equal(out, "");
        assert_non_null(strstr(diag, "dstack: "));
    }
}

static void refusals_exit_1_and_carry_their_check_in_json(void **state) {
    assert_int_equal(run("say greet refuse", out, diag), 1);
    assert_string_equal(out, "");
    assert_int_equal(run("say greet refuse --json", out, diag), 1);
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *got = json_parse(bytes_of_str(out), 4096, "out", &err);
    DSTACK_AUTO(json)
    json_t *want = json_pack("{s:{s:s,s:s},s:{s:i}}", "error", "check", "refused", "message",
                             "not today", "report", "score", 3);
    assert_true(json_equal(got, want));
}

static void a_missing_thing_exits_3(void **state) {
    assert_int_equal(run("say greet absent", out, diag), 3);
}

static void an_error_before_json_was_parsed_is_still_json(void **state) {
    assert_int_equal(run("say greet a --frob --json", out, diag), 2);
    assert_non_null(strstr(out, "\"check\": \"argument\""));
}

static void a_double_dash_ends_the_options(void **state) {
    assert_int_equal(run("say greet -- --loud", out, diag), 0);
    assert_non_null(strstr(out, "--loud"));
}

static void text_from_outside_cannot_drive_the_terminal(void **state) {
    assert_int_equal(run("say greet \033[2Jx", out, diag), 0);
    assert_null(strchr(out, '\033'));
}

static void completion_knows_every_command(void **state) {
    const char *shells[] = {"bash", "zsh", "fish"};
    for (int i = 0; i < 3; i++) {
        FILE *file = tmpfile();
        dstack_error err = {0};
        assert_ok(cli_completion(file, &root, shells[i], &err), err);
        rewind(file);
        out[fread(out, 1, 2047, file)] = 0;
        fclose(file);
        assert_non_null(strstr(out, "greet"));
    }
    dstack_error err = {0};
    assert_int_equal(cli_completion(stderr, &root, "csh", &err), DSTACK_E_ARGUMENT);
}

static void a_tree_draws_its_branches(void **state) {
    const struct cli_node nodes[] = {{0, CLI_MARK_NONE, "root", NULL},
                                     {1, CLI_MARK_OK, "a", "line"},
                                     {2, CLI_MARK_BAD, "b", NULL},
                                     {1, CLI_MARK_WARN, "c", NULL}};
    FILE *file = tmpfile();
    struct cli cli = {.out = file};
    cli_print_tree(&cli, nodes, 4);
    rewind(file);
    out[fread(out, 1, 2047, file)] = 0;
    fclose(file);
    assert_string_equal(out, "root\n├─ [ok] a\n│  │    line\n│  └─ [NO] b\n└─ [!]  c\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_arguments_may_stand_in_any_order),
        cmocka_unit_test(usage_errors_exit_2),
        cmocka_unit_test(refusals_exit_1_and_carry_their_check_in_json),
        cmocka_unit_test(a_missing_thing_exits_3),
        cmocka_unit_test(an_error_before_json_was_parsed_is_still_json),
        cmocka_unit_test(a_double_dash_ends_the_options),
        cmocka_unit_test(text_from_outside_cannot_drive_the_terminal),
        cmocka_unit_test(completion_knows_every_command),
        cmocka_unit_test(a_tree_draws_its_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
