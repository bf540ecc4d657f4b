/* What the public pages cost the hardware, when it answers and when it does not. */
#include "agent_world.h"

#include <poll.h>

#include "base/clock.h"

static int asked;

static int broken_device(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                         dstack_attestation **out, dstack_error *err) {
    (void)source;
    (void)report_data;
    (void)out;
    asked++;
    return error_set(err, DSTACK_E_IO, "the device <is> gone");
}

static int counted_device(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                          dstack_attestation **out, dstack_error *err) {
    asked++;
    return world_attest(source, report_data, out, err);
}

static void look(world *w, int times) {
    static const char *const paths[] = {"/", "/page/live", "/prpc/Worker.Info", "/prpc/v1/Info"};
    for (int i = 0; i < times; i++) {
        for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
            (void)fixture_call(&w->f, "external", paths[p], NULL, NULL);
        }
    }
}

static void the_pages_take_one_quote_for_all_who_look(void **state) {
    world w;
    asked = 0;
    world_engine = "/nonexistent/docker.sock";
    world_begin(&w, "");
    w.f.a->attest = counted_device;
    look(&w, 50);
    assert_int_equal(asked, 1);
    world_end(&w);
}

/* The reference answers 200 here, and its clients may count on that. */
static void a_device_that_fails_is_not_asked_by_everyone_who_looks(void **state) {
    world w;
    asked = 0;
    world_engine = "/nonexistent/docker.sock";
    world_begin(&w, "");
    w.f.a->attest = broken_device;
    int64_t begin = clock_monotonic_ms();
    look(&w, 50);
    int64_t seconds = (clock_monotonic_ms() - begin) / 1000;
    assert_true(asked >= 1 && asked <= seconds + 2);
    assert_int_equal(fixture_call(&w.f, "external", "/", NULL, NULL), 200);
    /* It is asked again, and the page is there when it has come back. */
    w.f.a->attest = world_attest;
    const agent_info *info = NULL;
    while (agent_info_get(w.f.a, &info, NULL) != 0) {
        poll(NULL, 0, 20);
    }
    assert_non_null(info);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pages_take_one_quote_for_all_who_look),
        cmocka_unit_test(a_device_that_fails_is_not_asked_by_everyone_who_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
