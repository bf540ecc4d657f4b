/* Boot stages, their order and their deadlines. */
#include "../check.h"

#include <pthread.h>
#include <semaphore.h>

#include "base/clock.h"
#include "boot/runner.h"

typedef struct trace {
    char text[256];
    sem_t release;
    int tolerated;
} trace;

static int good(void *context, dstack_error *err) {
    strcat(((trace *)context)->text, "g");
    return 0;
}

static int bad(void *context, dstack_error *err) {
    strcat(((trace *)context)->text, "b");
    return error_set(err, DSTACK_E_REFUSED, "not allowed");
}

static int stuck(void *context, dstack_error *err) {
    sem_wait(&((trace *)context)->release);
    return 0;
}

static void begin(void *context, const boot_stage *stage) {
    strcat(((trace *)context)->text, stage->name);
}

static void end(void *context, const boot_stage *stage, int64_t took_ms) {
    strcat(((trace *)context)->text, ".");
}

static void tolerate(void *context, const dstack_error *err) {
    ((trace *)context)->tolerated = err->status;
}

static const boot_observer observer = {begin, end};

static void stages_run_in_the_order_of_the_table(void **state) {
    static const boot_stage stages[] = {{"1", NULL, 1000, good, NULL},
                                        {"2", NULL, 1000, good, NULL}};
    trace t = {0};
    dstack_error err = {0};
    assert_ok(boot_run_stages(stages, 2, &observer, &t, &err), err);
    assert_string_equal(t.text, "1g.2g.");
}

static void a_failed_stage_ends_the_boot_with_its_name_and_reason(void **state) {
    static const boot_stage stages[] = {{"keys", NULL, 1000, bad, NULL},
                                        {"2", NULL, 1000, good, NULL}};
    trace t = {0};
    dstack_error err = {0};
    assert_int_equal(boot_run_stages(stages, 2, &observer, &t, &err), DSTACK_E_REFUSED);
    assert_string_equal(err.message, "keys: not allowed");
    assert_string_equal(t.text, "keysb");
}

static void a_tolerated_failure_is_told_and_the_boot_goes_on(void **state) {
    static const boot_stage stages[] = {{"gateway", NULL, 1000, bad, tolerate},
                                        {"2", NULL, 1000, good, NULL}};
    trace t = {0};
    dstack_error err = {0};
    assert_ok(boot_run_stages(stages, 2, &observer, &t, &err), err);
    assert_int_equal(t.tolerated, DSTACK_E_REFUSED);
    assert_string_equal(t.text, "gatewayb.2g.");
}

static void sec_34_a_stage_that_hangs_ends_at_its_deadline(void **state) {
    static const boot_stage stages[] = {{"kms", NULL, 100, stuck, NULL},
                                        {"2", NULL, 1000, good, NULL}};
    static trace t; /* the stage's thread outlives this function's frame */
    sem_init(&t.release, 0, 0);
    dstack_error err = {0};
    int64_t began = clock_monotonic_ms();
    assert_int_equal(boot_run_stages(stages, 2, &observer, &t, &err), DSTACK_E_TIMEOUT);
    assert_true(clock_monotonic_ms() - began < 5000);
    assert_non_null(strstr(err.message, "kms: not done within"));
    assert_string_equal(t.text, "kms");
    sem_post(&t.release);
    usleep(50000);
}

static void sec_34_even_a_tolerated_stage_may_not_hang(void **state) {
    static const boot_stage stages[] = {{"gateway", NULL, 100, stuck, tolerate}};
    static trace t;
    sem_init(&t.release, 0, 0);
    dstack_error err = {0};
    assert_int_equal(boot_run_stages(stages, 1, &observer, &t, &err), DSTACK_E_TIMEOUT);
    sem_post(&t.release);
    usleep(50000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_run_in_the_order_of_the_table),
        cmocka_unit_test(a_failed_stage_ends_the_boot_with_its_name_and_reason),
        cmocka_unit_test(a_tolerated_failure_is_told_and_the_boot_goes_on),
        cmocka_unit_test(sec_34_a_stage_that_hangs_ends_at_its_deadline),
        cmocka_unit_test(sec_34_even_a_tolerated_stage_may_not_hang),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
