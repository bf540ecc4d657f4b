/* Quotes of the simulated platform under the real verifier. */
#include "sim_fixture.h"

#include <dstack/collateral.h>
#include <dstack/quote.h>
#include <dstack/verifier.h>

#define TEN_YEARS ((int64_t)3652 * 86400)

typedef struct evidence {
    sim_fixture f;
    dstack_buf quote;
    dstack_collateral *collateral;
} evidence;

static void evidence_make(evidence *e) {
    memset(e, 0, sizeof *e);
    fixture_setup(&e->f);
    dstack_tee *tee = fixture_open(&e->f);
    dstack_error err = {0};
    uint8_t report_data[64];
    memset(report_data, 0x42, sizeof report_data);
    assert_ok(dstack_tee_quote(tee, report_data, &e->quote, &err), err);
    assert_ok(dstack_collateral_parse(&e->collateral, sim_keys_collateral(e->f.keys), &err), err);
    dstack_tee_close(tee);
}

static void evidence_clear(evidence *e) {
    dstack_collateral_free(e->collateral);
    dstack_buf_clear(&e->quote);
    fixture_teardown(&e->f);
}

static dstack_verifier *verifier_for(dstack_bytes root, bool pinned) {
    const dstack_trust_root roots[] = {{.name = "simulation", .cert = root}};
    const dstack_verifier_options options = {.roots = roots, .root_count = pinned ? 1 : 0};
    dstack_verifier *verifier = NULL;
    dstack_error err = {0};
    assert_ok(dstack_verifier_new(&verifier, &options, &err), err);
    return verifier;
}

static void a_quote_verifies_where_its_root_is_pinned_and_the_report_names_it(void **state) {
    evidence e;
    evidence_make(&e);
    dstack_error err = {0};
    dstack_verifier *verifier = verifier_for(sim_keys_root(e.f.keys), true);
    dstack_quote_report report;
    assert_ok(dstack_verifier_check_with(verifier, bytes_of_buf(&e.quote), e.collateral, NULL,
                                         FIXTURE_NOW, &report, &err),
              err);
    assert_int_equal(report.status, DSTACK_TCB_UP_TO_DATE);
    assert_false(report.anchor.builtin);
    assert_string_equal(report.anchor.name, "simulation");
    assert_ok(dstack_quote_report_check_workload(&report, &err), err);
    const dstack_td_report *td = dstack_quote_report_td(&report);
    assert_memory_equal(td->mr_td, e.f.measured.mrtd, 48);
    assert_int_equal(td->report_data[0], 0x42);
    /* Collateral and certificates last ten years, and no longer. */
    assert_ok(dstack_verifier_check_with(verifier, bytes_of_buf(&e.quote), e.collateral, NULL,
                                         FIXTURE_NOW + TEN_YEARS - 86400, NULL, &err),
              err);
    assert_int_not_equal(dstack_verifier_check_with(verifier, bytes_of_buf(&e.quote), e.collateral,
                                                    NULL, FIXTURE_NOW + TEN_YEARS + 10 * 86400,
                                                    NULL, &err),
                         0);
    dstack_verifier_free(verifier);
    evidence_clear(&e);
}

static void sec_13_a_simulated_quote_is_refused_where_its_root_is_not_pinned(void **state) {
    evidence e, other;
    evidence_make(&e);
    evidence_make(&other);
    dstack_error err = {0};
    dstack_verifier *production = verifier_for((dstack_bytes){0}, false);
    assert_int_not_equal(dstack_verifier_check_with(production, bytes_of_buf(&e.quote),
                                                    e.collateral, NULL, FIXTURE_NOW, NULL, &err),
                         0);
    dstack_verifier_free(production);
    /* Another installation's root is as foreign as none, whichever collateral comes along. */
    dstack_verifier *foreign = verifier_for(sim_keys_root(other.f.keys), true);
    assert_int_not_equal(dstack_verifier_check_with(foreign, bytes_of_buf(&e.quote), e.collateral,
                                                    NULL, FIXTURE_NOW, NULL, &err),
                         0);
    assert_int_not_equal(dstack_verifier_check_with(foreign, bytes_of_buf(&e.quote),
                                                    other.collateral, NULL, FIXTURE_NOW, NULL,
                                                    &err),
                         0);
    dstack_verifier_free(foreign);
    evidence_clear(&e);
    evidence_clear(&other);
}

static void any_flipped_bit_of_the_signed_part_is_refused(void **state) {
    evidence e;
    evidence_make(&e);
    dstack_error err = {0};
    dstack_verifier *verifier = verifier_for(sim_keys_root(e.f.keys), true);
    for (size_t at = 0; at < 632; at += 13) {
        e.quote.data[at] ^= 0x10;
        assert_int_not_equal(dstack_verifier_check_with(verifier, bytes_of_buf(&e.quote),
                                                        e.collateral, NULL, FIXTURE_NOW, NULL,
                                                        &err),
                             0);
        e.quote.data[at] ^= 0x10;
    }
    assert_ok(dstack_verifier_check_with(verifier, bytes_of_buf(&e.quote), e.collateral, NULL,
                                         FIXTURE_NOW, NULL, &err),
              err);
    dstack_verifier_free(verifier);
    evidence_clear(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quote_verifies_where_its_root_is_pinned_and_the_report_names_it),
        cmocka_unit_test(sec_13_a_simulated_quote_is_refused_where_its_root_is_not_pinned),
        cmocka_unit_test(any_flipped_bit_of_the_signed_part_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
