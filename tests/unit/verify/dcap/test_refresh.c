/* Renewal of collateral: what replaces what, when, and what happens to those who look meanwhile. */
#include "made.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <dstack/refresh.h>

#define DAY 86400

/* Old collateral ends in ten days, its successors thirty days later. */
typedef struct scene {
    made old, fresh;
    dstack_verifier *v;
    atomic_int calls, failures, rounds;
    atomic_size_t renewed;
    int answer;                /* of the next fetch: 0, or a status */
    dstack_collateral *served; /* what it gives */
    const dstack_collateral *asked_for;
    int last_failure;
} scene;

static void until(made_spec *s, int64_t end) {
    s->root_crl.until = s->pck_crl.until = end;
    s->texts_until = end;
}

static void scene_open(scene *c) {
    made_spec s;
    *c = (scene){0};
    made_spec_init(&s);
    until(&s, MADE_NOW + 10 * DAY);
    made_build(&s, &c->old);
    until(&s, MADE_NOW + 40 * DAY);
    made_build(&s, &c->fresh);
    c->v = made_verifier(&c->old, (dstack_verifier_options){0});
    c->served = c->fresh.collateral;
    assert_int_equal(dstack_verifier_add_collateral(c->v, c->old.collateral, NULL), 0);
}

static void scene_close(scene *c) {
    dstack_verifier_free(c->v);
    made_clear(&c->old);
    made_clear(&c->fresh);
}

static int refetch(void *user, const dstack_collateral *old, dstack_collateral **out,
                   dstack_error *err) {
    scene *c = user;
    atomic_fetch_add(&c->calls, 1);
    c->asked_for = old;
    if (c->answer != 0) {
        return error_set(err, (dstack_status)c->answer, "no answer today");
    }
    *out = dstack_collateral_ref(c->served);
    return 0;
}

static int check_at(scene *c, int64_t now) {
    return dstack_verifier_check(c->v, bytes_of_buf(&c->old.quote), NULL, now, NULL, NULL);
}

static int refresh(scene *c, int64_t now, size_t *renewed) {
    return dstack_verifier_refresh(c->v, now, DAY, refetch, c, renewed, NULL);
}

static void collateral_is_renewed_when_its_end_is_near_and_not_before(void **state) {
    scene c;
    size_t renewed = 9;
    int64_t near = MADE_NOW + 10 * DAY - DAY / 2, after = MADE_NOW + 11 * DAY;
    scene_open(&c);
    assert_int_equal(check_at(&c, MADE_NOW), 0);
    assert_int_equal(refresh(&c, MADE_NOW, &renewed), 0);
    assert_int_equal(renewed, 0);
    assert_int_equal(c.calls, 0);
    assert_int_equal(check_at(&c, after), DSTACK_E_DCAP_CRL_EXPIRED);
    assert_int_equal(refresh(&c, near, &renewed), 0);
    assert_int_equal(renewed, 1);
    assert_int_equal(c.calls, 1);
    assert_true(
        bytes_equal(dstack_collateral_id(c.asked_for), dstack_collateral_id(c.old.collateral)));
    assert_int_equal(check_at(&c, near), 0);
    assert_int_equal(check_at(&c, after), 0);
    assert_int_equal(refresh(&c, near, &renewed), 0); /* the new one is far from its end */
    assert_int_equal(c.calls, 1);
    scene_close(&c);
}

static void the_old_serves_on_while_nothing_new_can_be_had(void **state) {
    scene c;
    size_t renewed = 9;
    int64_t near = MADE_NOW + 10 * DAY - 10;
    scene_open(&c);
    c.answer = DSTACK_E_NETWORK;
    assert_int_equal(refresh(&c, near, &renewed), DSTACK_E_NETWORK);
    assert_int_equal(renewed, 0);
    assert_int_equal(check_at(&c, near), 0);
    assert_int_equal(check_at(&c, near + 10), DSTACK_E_DCAP_CRL_EXPIRED);
    c.answer = 0;
    assert_int_equal(refresh(&c, near + 10, &renewed), 0); /* also after its end */
    assert_int_equal(renewed, 1);
    assert_int_equal(check_at(&c, near + 10), 0);
    scene_close(&c);
}

/* Whoever answers for the server cannot make a verifier worse off than silence would. */
static void sec_23_what_is_forged_foreign_or_no_newer_does_not_replace(void **state) {
    static const struct {
        unsigned forged;
        const char *edits[2];
        int64_t end;
        int result;
    } cases[] = {
        {MADE_BIT(MADE_SIGNED_TCB_INFO), {NULL}, 40 * DAY, DSTACK_E_DCAP_TCB_INFO_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_QE_IDENTITY), {NULL}, 40 * DAY, DSTACK_E_DCAP_QE_IDENTITY_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_ROOT_CRL), {NULL}, 40 * DAY, DSTACK_E_DCAP_CRL_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_PCK_CRL), {NULL}, 40 * DAY, DSTACK_E_DCAP_CRL_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_SIGNER), {NULL}, 40 * DAY, DSTACK_E_DCAP_CERT_SIGNATURE},
        {0, {"00906EA10000", "00906EA10001"}, 40 * DAY, DSTACK_E_DCAP_COLLATERAL_FETCH},
        {0, {NULL}, 10 * DAY, DSTACK_E_DCAP_COLLATERAL_FETCH},
        {0, {NULL}, 9 * DAY, DSTACK_E_DCAP_COLLATERAL_FETCH},
    };
    scene c;
    int64_t near = MADE_NOW + 9 * DAY + 10;
    scene_open(&c);
    assert_int_equal(check_at(&c, near), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(made) made bad;
        made_spec s;
        size_t renewed = 9;
        made_spec_init(&s);
        s.forged = cases[i].forged;
        s.tcb_edits[0] = cases[i].edits[0];
        s.tcb_edits[1] = cases[i].edits[1];
        until(&s, MADE_NOW + cases[i].end);
        made_build(&s, &bad);
        c.served = bad.collateral;
        int rc = refresh(&c, near, &renewed);
        if (rc != cases[i].result || renewed != 0) {
            fail_msg("case %zu: %s, %zu renewed", i, dstack_status_name((dstack_status)rc),
                     renewed);
        }
        assert_int_equal(check_at(&c, near), 0);
    }
    scene_close(&c);
}

static void a_renewed_list_revokes_a_known_platform(void **state) {
    DSTACK_AUTO(made) made revoking;
    scene c;
    made_spec s;
    size_t renewed;
    int64_t near = MADE_NOW + 10 * DAY - 10;
    scene_open(&c);
    made_spec_init(&s);
    until(&s, MADE_NOW + 40 * DAY);
    s.revoked = MADE_BIT(MADE_LEAF);
    made_build(&s, &revoking);
    c.served = revoking.collateral;
    assert_int_equal(check_at(&c, near), 0);
    assert_int_equal(refresh(&c, near, &renewed), 0);
    assert_int_equal(check_at(&c, near), DSTACK_E_DCAP_CERT_REVOKED);
    scene_close(&c);
}

/* ---- in the background ---- */

static int64_t near_end(void *user) {
    return MADE_NOW + 10 * DAY - 10;
}

static void failed(void *user, const dstack_error *err) {
    scene *c = user;
    c->last_failure = err->status;
    atomic_fetch_add(&c->failures, 1);
}

static void looked(void *user, size_t renewed) {
    scene *c = user;
    atomic_fetch_add(&c->renewed, renewed);
    atomic_fetch_add(&c->rounds, 1);
}

static void *look_all_the_time(void *arg) {
    scene *c = arg;
    intptr_t wrong = 0;
    while (atomic_load(&c->calls) == 0) {
        wrong += check_at(c, near_end(NULL)) != 0;
    }
    for (int i = 0; i < 20; i++) {
        wrong += check_at(c, near_end(NULL)) != 0;
    }
    return (void *)wrong;
}

static void wait_for(atomic_int *value, int least) {
    const struct timespec moment = {0, 2000000};
    for (int i = 0; i < 5000 && atomic_load(value) < least; i++) {
        nanosleep(&moment, NULL);
    }
    assert_true(atomic_load(value) >= least);
}

static void a_refresher_swaps_under_the_eyes_of_others(void **state) {
    scene c;
    pthread_t others[3];
    dstack_refresher *r = NULL;
    const dstack_refresher_options options = {
        .refetch = refetch, .failed = failed, .now = near_end, .user = &c, .interval_seconds = 1};
    scene_open(&c);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&others[i], NULL, look_all_the_time, &c), 0);
    }
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        void *wrong = NULL;
        pthread_join(others[i], &wrong);
        assert_null(wrong);
    }
    dstack_refresher_stop(r); /* a round under way is waited for */
    assert_int_equal(c.calls, 1);
    assert_int_equal(c.failures, 0);
    assert_int_equal(check_at(&c, MADE_NOW + 11 * DAY), 0);
    scene_close(&c);
}

static void a_refresher_tells_of_failures_and_tries_again(void **state) {
    scene c;
    dstack_refresher *r = NULL;
    int64_t until = 0;
    /* the next regular look would be after the test's end */
    const dstack_refresher_options options = {.refetch = refetch,
                                              .failed = failed,
                                              .looked = looked,
                                              .now = near_end,
                                              .user = &c,
                                              .interval_seconds = 1000000,
                                              .retry_seconds = 1};
    scene_open(&c);
    c.answer = DSTACK_E_TIMEOUT;
    assert_int_equal(dstack_verifier_collateral_count(c.v, &until), 1);
    assert_int_equal(until, MADE_NOW + 10 * DAY - 1);
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), 0);
    wait_for(&c.rounds, 2);
    dstack_refresher_stop(r);
    assert_true(c.calls >= 2 && c.failures >= 2);
    assert_int_equal(c.last_failure, DSTACK_E_TIMEOUT);
    assert_int_equal(c.renewed, 0);
    c.answer = 0;
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), 0);
    wait_for(&c.rounds, 3);
    dstack_refresher_stop(r);
    assert_int_equal(c.renewed, 1);
    assert_int_equal(dstack_verifier_collateral_count(c.v, &until), 1);
    assert_int_equal(until, MADE_NOW + 40 * DAY - 1);
    assert_int_equal(check_at(&c, near_end(NULL)), 0);
    scene_close(&c);
}

static void a_refresher_without_a_way_to_fetch_is_refused(void **state) {
    scene c;
    dstack_refresher *r = NULL;
    scene_open(&c);
    dstack_refresher_options options = {0};
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), DSTACK_E_ARGUMENT);
    options.refetch = refetch;
    options.interval_seconds = -1;
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), DSTACK_E_ARGUMENT);
    options.interval_seconds = 0;
    options.retry_seconds = -1;
    assert_int_equal(dstack_refresher_start(&r, c.v, &options, NULL), DSTACK_E_ARGUMENT);
    dstack_refresher_stop(NULL);
    scene_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collateral_is_renewed_when_its_end_is_near_and_not_before),
        cmocka_unit_test(the_old_serves_on_while_nothing_new_can_be_had),
        cmocka_unit_test(sec_23_what_is_forged_foreign_or_no_newer_does_not_replace),
        cmocka_unit_test(a_renewed_list_revokes_a_known_platform),
        cmocka_unit_test(a_refresher_swaps_under_the_eyes_of_others),
        cmocka_unit_test(a_refresher_tells_of_failures_and_tries_again),
        cmocka_unit_test(a_refresher_without_a_way_to_fetch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
