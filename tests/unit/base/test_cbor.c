#include "check.h"

#include "base/cbor.h"

static void written_values_have_the_shortest_form(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    cbor_put_map(&out, 2);
    cbor_put_text(&out, "version");
    cbor_put_uint(&out, 3);
    cbor_put_text(&out, "b");
    cbor_put_bytes(&out, bytes_of("\x01\x02", 2));
    cbor_put_uint(&out, 24);
    cbor_put_uint(&out, 0x12345678);
    cbor_put_bool(&out, true);
    cbor_put_array(&out, 1);
    assert_hex(bytes_of_buf(&out), "a26776657273696f6e03616242010218181a12345678f581");
}

static void written_values_read_back(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    cbor_put_map(&out, 1);
    cbor_put_text(&out, "key");
    cbor_put_bytes(&out, bytes_of("abc", 3));
    cbor_put_uint(&out, UINT64_MAX);
    cursor c = cursor_init(bytes_of_buf(&out));
    assert_int_equal(cbor_read_map(&c), 1);
    assert_true(bytes_equal_str(cbor_read_text(&c), "key"));
    uint8_t fixed[3];
    cbor_read_fixed(&c, fixed, sizeof fixed);
    assert_memory_equal(fixed, "abc", 3);
    assert_true(cbor_read_uint(&c) == UINT64_MAX);
    assert_true(cursor_done(&c));
}

static void what_is_outside_the_subset_fails_the_cursor(void **state) {
    static const char *const refused[] = {
        "",                     /* nothing */
        "5f41614161ff",         /* byte string of unknown length */
        "9f01ff",               /* array of unknown length */
        "c101",                 /* tag */
        "f93c00",               /* half float */
        "20",                   /* negative integer */
        "f6",                   /* null */
        "4461",                 /* byte string cut short */
        "5bffffffffffffffff61", /* longer than memory */
        "1c",                   /* reserved head */
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        DSTACK_AUTO(buf) dstack_buf input = {0};
        put_hex(&input, refused[i]);
        cursor c = cursor_init(bytes_of_buf(&input));
        cbor_read(&c);
        assert_false(cursor_ok(&c));
    }
}

static void skipping_stops_at_its_nesting_limit(void **state) {
    DSTACK_AUTO(buf) dstack_buf good = {0}, deep = {0}, wide = {0};
    put_hex(&good, "a1616182014101");
    cursor c = cursor_init(bytes_of_buf(&good));
    cbor_skip(&c);
    assert_true(cursor_done(&c));
    for (int i = 0; i < 64; i++) {
        cbor_put_array(&deep, 1);
    }
    cbor_put_uint(&deep, 1);
    c = cursor_init(bytes_of_buf(&deep));
    cbor_skip(&c);
    assert_false(cursor_ok(&c));
    put_hex(&wide, "9bffffffffffffffff01");
    c = cursor_init(bytes_of_buf(&wide));
    cbor_skip(&c);
    assert_false(cursor_ok(&c));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_values_have_the_shortest_form),
        cmocka_unit_test(written_values_read_back),
        cmocka_unit_test(what_is_outside_the_subset_fails_the_cursor),
        cmocka_unit_test(skipping_stops_at_its_nesting_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
