#include "check.h"

static void reads_integers_of_both_byte_orders(void **state) {
    (void)state;
    static const uint8_t raw[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    cursor c = cursor_init(bytes_of(raw, sizeof raw));
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16le(&c), 0x0302);
    assert_int_equal(cursor_u32be(&c), 0x04050607);
    assert_true(cursor_u64le(&c) == 0x0f0e0d0c0b0a0908u);
    assert_true(cursor_done(&c));
}

static void a_read_past_the_end_fails_and_sticks(void **state) {
    (void)state;
    static const uint8_t raw[] = {1, 2, 3};
    cursor c = cursor_init(bytes_of(raw, sizeof raw));
    assert_int_equal(cursor_u32le(&c), 0);
    assert_false(cursor_ok(&c));
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_left(&c), 0);
    assert_false(cursor_done(&c));
}

static void a_huge_length_cannot_wrap_around(void **state) {
    (void)state;
    static const uint8_t raw[] = {1, 2, 3};
    cursor c = cursor_init(bytes_of(raw, sizeof raw));
    cursor_u8(&c);
    dstack_bytes view = cursor_take(&c, SIZE_MAX);
    assert_null(view.data);
    assert_int_equal(view.len, 0);
    assert_false(cursor_ok(&c));
}

static void a_failed_copy_fills_with_zeros(void **state) {
    (void)state;
    static const uint8_t raw[] = {1, 2};
    uint8_t out[4] = {9, 9, 9, 9};
    cursor c = cursor_init(bytes_of(raw, sizeof raw));
    cursor_copy(&c, out, sizeof out);
    assert_true(bytes_are_zero(bytes_of(out, sizeof out)));
}

static void an_empty_input_is_done_at_once(void **state) {
    (void)state;
    cursor c = cursor_init((dstack_bytes){NULL, 0});
    assert_true(cursor_done(&c));
    assert_int_equal(cursor_peek_u8(&c), 0);
    assert_false(cursor_ok(&c));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_integers_of_both_byte_orders),
        cmocka_unit_test(a_read_past_the_end_fails_and_sticks),
        cmocka_unit_test(a_huge_length_cannot_wrap_around),
        cmocka_unit_test(a_failed_copy_fills_with_zeros),
        cmocka_unit_test(an_empty_input_is_done_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
