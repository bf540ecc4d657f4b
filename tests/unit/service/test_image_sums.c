/* sha256sum.txt of an image: what is read, what is refused. */
#include "check.h"
#include "service/image_sums.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static image_sums sums;

static void lines_of_digest_and_name_are_read(void **state) {
    dstack_error err = {0};
    const char *text = ZEROS "  a\n\n" ZEROS "\tb.bin\r\n  \nABCDEF"
                             "0000000000000000000000000000000000000000000000000000000000 c";
    assert_ok(image_sums_parse(bytes_of_str(text), &sums, &err), err);
    assert_int_equal(sums.count, 3);
    assert_string_equal(sums.items[1].name, "b.bin");
    assert_int_equal(sums.items[2].digest[0], 0xab);
    assert_true(image_sums_has(&sums, "c"));
    assert_false(image_sums_has(&sums, "d"));
}

static void sec_08_names_that_are_no_plain_file_names_are_refused(void **state) {
    static const char *const bad[] = {ZEROS "  ../a",
                                      ZEROS "  /a",
                                      ZEROS "  a/b",
                                      ZEROS "  .hidden",
                                      ZEROS "  *a",
                                      ZEROS "  -a",
                                      ZEROS "  a b",
                                      ZEROS "  sha256sum.txt",
                                      ZEROS,
                                      "00  a",
                                      ZEROS "00  a",
                                      "zz  a",
                                      ZEROS "  a\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dstack_error err = {0};
        if (image_sums_parse(bytes_of_str(bad[i]), &sums, &err) != DSTACK_E_FORMAT) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void too_many_entries_are_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    for (int i = 0; i < IMAGE_SUMS_MAX; i++) {
        buf_put_fmt(&text, ZEROS "  f%d\n", i);
    }
    assert_ok(image_sums_parse(bytes_of_buf(&text), &sums, &err), err);
    buf_put_str(&text, ZEROS "  more\n");
    assert_int_equal(image_sums_parse(bytes_of_buf(&text), &sums, &err), DSTACK_E_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_digest_and_name_are_read),
        cmocka_unit_test(sec_08_names_that_are_no_plain_file_names_are_refused),
        cmocka_unit_test(too_many_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
