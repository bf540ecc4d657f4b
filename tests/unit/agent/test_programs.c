/* How the guest runs other programs, and what reaches them. */
#include "../check.h"

#include "app/environment.h"
#include "base/clock.h"
#include "proc.h"

static int shell(const char *script, const char *const *envp, dstack_error *err) {
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    return proc_run(&(proc_spec){.argv = argv, .envp = envp, .timeout_ms = 5000}, err);
}

static void success_and_failure_are_told_apart(void **state) {
    dstack_error err = {0};
    assert_ok(shell("exit 0", NULL, &err), err);
    assert_int_equal(shell("echo first; echo why >&2; exit 3", NULL, &err), DSTACK_E_IO);
    assert_non_null(strstr(err.message, "code 3: why"));
    const char *argv[] = {"/bin/sh", "-c", "exit 1", NULL};
    assert_ok(proc_run(&(proc_spec){.argv = argv, .timeout_ms = 5000, .ok_codes = 3}, &err), err);
    const char *missing[] = {"/nonexistent", NULL};
    assert_int_equal(proc_run(&(proc_spec){.argv = missing, .timeout_ms = 5000}, &err),
                     DSTACK_E_NOT_FOUND);
}

static void input_comes_by_descriptor(void **state) {
    const char *argv[] = {"/bin/sh", "-c", "read x; test \"$x\" = hello", NULL};
    dstack_error err = {0};
    assert_ok(
        proc_run(&(proc_spec){.argv = argv, .input = bytes_of_str("hello\n"), .timeout_ms = 5000},
                 &err),
        err);
}

static void sec_34_a_program_that_hangs_is_killed_with_its_children(void **state) {
    const char *argv[] = {"/bin/sh", "-c", "sleep 60 & sleep 60", NULL};
    dstack_error err = {0};
    int64_t began = clock_monotonic_ms();
    assert_int_equal(proc_run(&(proc_spec){.argv = argv, .timeout_ms = 200}, &err),
                     DSTACK_E_TIMEOUT);
    assert_true(clock_monotonic_ms() - began < 5000);
}

static void sec_06_a_child_inherits_no_environment(void **state) {
    setenv("DSTACK_TEST_SECRET", "leak", 1);
    dstack_error err = {0};
    assert_ok(shell("test -z \"$DSTACK_TEST_SECRET\" && test -n \"$PATH\"", NULL, &err), err);
    unsetenv("DSTACK_TEST_SECRET");
}

static void write_env(char *path, const char *json) {
    strcpy(path, "/tmp/dstack-env-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, strlen(json)), (ssize_t)strlen(json));
    close(fd);
}

/* What the shell in the child sees must be what the deployer wrote. */
static void sec_28_values_reach_a_program_byte_for_byte(void **state) {
    char path[40];
    write_env(path,
              "{\"A\":\"back\\\\\",\"B\":\"line1\\nline2 $HOME `id` \\\"q\\\" 'x'\",\"C\":\"\"}");
    DSTACK_AUTO(app_environment) app_environment env = {0};
    dstack_error err = {0};
    assert_ok(app_environment_load(path, &env, &err), err);
    unlink(path);
    assert_string_equal(env.list[2], "A=back\\");
    assert_string_equal(env.list[3], "B=line1\nline2 $HOME `id` \"q\" 'x'");
    assert_string_equal(env.list[4], "C=");
    assert_null(env.list[5]);
    assert_ok(shell("test \"$A\" = 'back\\' && test ${#A} = 5 && test ${#B} = 30 && "
                    "test \"${B##* }\" = \"'x'\"",
                    env.list, &err),
              err);
}

static void an_empty_environment_is_none_and_a_broken_one_an_error(void **state) {
    char path[40];
    dstack_error err = {0};
    write_env(path, "");
    DSTACK_AUTO(app_environment) app_environment empty = {0};
    assert_ok(app_environment_load(path, &empty, &err), err);
    assert_null(empty.list[2]);
    unlink(path);
    static const char *const bad[] = {"[]", "{\"A\":1}", "{", "{\"A\":\"x\\u0000y\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(app_environment) app_environment env = {0};
        write_env(path, bad[i]);
        assert_int_equal(app_environment_load(path, &env, &err), DSTACK_E_FORMAT);
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_and_failure_are_told_apart),
        cmocka_unit_test(input_comes_by_descriptor),
        cmocka_unit_test(sec_34_a_program_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(sec_06_a_child_inherits_no_environment),
        cmocka_unit_test(sec_28_values_reach_a_program_byte_for_byte),
        cmocka_unit_test(an_empty_environment_is_none_and_a_broken_one_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
