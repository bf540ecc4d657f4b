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

/* Sizes that keys have are kept for the next taker; nothing of the last owner may show there. */
static void a_kept_block_is_wiped_and_guarded(void **state) {
    (void)state;
    static const size_t sizes[] = {32, 64, 241};
    static const uint8_t zeros[241];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        dstack_secret *first = dstack_secret_new(sizes[i]);
        const uint8_t *at = dstack_secret_peek(first);
        memset(dstack_secret_data(first), 0xa5, sizes[i]);
        dstack_secret_free(first);
        DSTACK_AUTO(secret) dstack_secret *second = dstack_secret_new(sizes[i]);
        assert_ptr_equal(dstack_secret_peek(second), at);
        assert_memory_equal(dstack_secret_peek(second), zeros, sizes[i]);
    }
}

/* More than are kept at once, in an order that mixes them up. */
static void many_secrets_live_side_by_side(void **state) {
    (void)state;
    dstack_secret *secrets[40];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 40; i++) {
            secrets[i] = dstack_secret_new(32);
            memset(dstack_secret_data(secrets[i]), (int)i, 32);
        }
        for (size_t i = 0; i < 40; i++) {
            assert_int_equal(dstack_secret_peek(secrets[i])[31], i);
        }
        for (size_t i = 0; i < 40; i++) {
            dstack_secret_free(secrets[(i * 7) % 40]);
        }
    }
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
        cmocka_unit_test(a_kept_block_is_wiped_and_guarded),
        cmocka_unit_test(many_secrets_live_side_by_side),
        cmocka_unit_test(a_read_past_a_secret_kills_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
