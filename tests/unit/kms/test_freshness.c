/* How old evidence is: what tells, what counts, and what it is known by. */
#include "check.h"

#include <dstack/quote.h>

#include "freshness.h"

#define NOW 1800000000
#define NO_DATE 157766400 /* where certificates without a date begin */

static const uint8_t one[32] = {1}, two[32] = {2};

static void check(evidence_age age, int64_t seconds, freshness_source source) {
    assert_int_equal(age.seconds, seconds);
    assert_string_equal(freshness_source_name(age.source), freshness_source_name(source));
}

static void the_greatest_age_that_is_known_counts(void **state) {
    DSTACK_AUTO(freshness) freshness *f = freshness_new(64);
    check(freshness_age(f, one, 0, 0, NOW), 0, FRESHNESS_UNKNOWN);
    check(freshness_age(f, one, NO_DATE, 0, NOW), 0, FRESHNESS_UNKNOWN);
    check(freshness_age(f, one, NOW - 5, 0, NOW), 5, FRESHNESS_CERTIFICATE);
    check(freshness_age(f, one, NOW - 5, NOW - 9, NOW), 9, FRESHNESS_SIGNED);
    check(freshness_age(f, one, NOW - 50, NOW - 9, NOW), 50, FRESHNESS_CERTIFICATE);
    freshness_used(f, one, NOW);
    freshness_used(f, one, NOW + 90);
    check(freshness_age(f, one, NOW - 5, 0, NOW + 100), 105, FRESHNESS_CERTIFICATE);
    /* a certificate made anew does not make the evidence young */
    check(freshness_age(f, one, NOW + 99, 0, NOW + 100), 100, FRESHNESS_FIRST_USE);
    check(freshness_age(f, two, 0, 0, NOW + 100), 0, FRESHNESS_UNKNOWN);
    /* a clock that was set back gives no negative age */
    check(freshness_age(f, one, 0, 0, NOW - 100), 0, FRESHNESS_FIRST_USE);
}

static void the_oldest_make_room(void **state) {
    DSTACK_AUTO(freshness) freshness *f = freshness_new(1);
    uint8_t name[32] = {0};
    for (uint8_t i = 1; i <= 9; i++) {
        name[31] = i;
        freshness_used(f, name, NOW + i);
    }
    name[31] = 1;
    check(freshness_age(f, name, 0, 0, NOW + 100), 0, FRESHNESS_UNKNOWN);
    for (uint8_t i = 2; i <= 9; i++) {
        name[31] = i;
        check(freshness_age(f, name, 0, 0, NOW + 100), 100 - i, FRESHNESS_FIRST_USE);
    }
}

/* A version 4 TDX quote with as little in it as its form allows. */
static void make_quote(dstack_buf *out, uint8_t report_data, uint8_t r, uint8_t s, uint8_t rest) {
    static const uint8_t header[] = {4,    0,    2,    0,    0x81, 0,    0,    0,    0,    0,
                                     0,    0,    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                     0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    buf_put(out, header, sizeof header);
    buf_put_zeros(out, 48 - sizeof header + 584);
    out->data[48 + 520] = report_data;
    buf_put_u32le(out, 64 + 64 + 6 + 384 + 64 + 2 + 32 + 6 + 4);
    buf_put_zeros(out, 128);
    out->data[636] = r;
    out->data[636 + 32] = s;
    buf_put_u16le(out, 6);
    buf_put_u32le(out, 384 + 64 + 2 + 32 + 6 + 4);
    buf_put_zeros(out, 384 + 64);
    buf_put_u16le(out, 32);
    buf_put_zeros(out, 32);
    buf_put_u16le(out, 5);
    buf_put_u32le(out, 4);
    buf_put_u8(out, rest);
    buf_put_zeros(out, 3);
}

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

static void name_of(uint8_t report_data, uint8_t r, uint8_t s, uint8_t rest, const char *vm_config,
                    uint8_t name[32]) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    dstack_quote parsed;
    make_quote(&quote, report_data, r, s, rest);
    assert_ok(dstack_quote_parse(&parsed, bytes_of_buf(&quote), &err), err);
    assert_ok(
        dstack_attestation_new_tdx(bytes_of_buf(&quote), NULL, NULL, vm_config, &evidence, &err),
        err);
    freshness_name(evidence, name);
}

static void evidence_is_known_by_what_nobody_else_can_write_anew(void **state) {
    uint8_t name[32], other[32];
    name_of(1, 2, 3, 4, "{}", name);
    name_of(1, 2, 9, 4, "{}", other); /* the signature's other form */
    assert_memory_equal(name, other, 32);
    name_of(1, 2, 3, 9, "{\"a\":1}", other); /* what stands beside it */
    assert_memory_equal(name, other, 32);
    name_of(9, 2, 3, 4, "{}", other);
    assert_memory_not_equal(name, other, 32);
    name_of(1, 9, 3, 4, "{}", other); /* the same machine, asked again */
    assert_memory_not_equal(name, other, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greatest_age_that_is_known_counts),
        cmocka_unit_test(the_oldest_make_room),
        cmocka_unit_test(evidence_is_known_by_what_nobody_else_can_write_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
