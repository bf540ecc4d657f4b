#include <signal.h>
#include <sys/wait.h>

#include "check.h"

static void secrets_copy_and_compare(void **state) {
    (void)state;
    DSTACK_AUTO(secret) dstack_secret *a = dstack_secret_copy((const uint8_t *)"abcd", 4);
    DSTACK_AUTO(secret) dstack_secret *b = dstack_secret_copy((const uint8_t *)"abcd", 4);
    DSTACK_AUTO(secret) dstack_secret *c = dstack_secret_copy((const uint8_t *)"abce", 4);
    DSTACK_AUTO(secret) dstack_secret *d = dstack_secret_copy((const uint8_t *)"abc", 3);
    assert_true(dstack_secret_equal(a, b));
    assert_false(dstack_secret_equal(a, c));
    assert_false(dstack_secret_equal(a, d));
    assert_false(dstack_secret_equal(a, NULL));
}

static void impossible_sizes_give_null(void **state) {
    (void)state;
    assert_null(dstack_secret_new(0));
    assert_null(dstack_secret_new(SIZE_MAX));
    assert_int_equal(dstack_secret_len(NULL), 0);
    dstack_secret_free(NULL);
}

/* The guard page behind a secret ends a process that reads on. */
static void a_read_past_a_secret_kills_the_process(void **state) {
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        dstack_secret *secret = dstack_secret_new(16);
        const volatile uint8_t *data = dstack_secret_peek(secret);
        _exit(data[16] == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_copy_and_compare),
        cmocka_unit_test(impossible_sizes_give_null),
        cmocka_unit_test(a_read_past_a_secret_kills_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
