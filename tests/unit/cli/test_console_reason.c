/* What a guest wrote before it ended. */
#include "check.h"
#include "console_reason.h"

static void the_last_word_of_the_first_program_is_told(void **state) {
    static const struct {
        const char *console, *want;
    } rows[] = {
        {"init: root found\r\n[    1.2] random\r\ninit: boot stopped: the root's hash differs\r\n",
         "boot stopped: the root's hash differs"},
        {"[    1.234567] init: boot stopped: no disk\nreboot: Power down\n",
         "boot stopped: no disk"},
        {"init: a\x1b[31mb\xff", "a?[31mb?"},
        {"no such line", ""},
        {"", ""},
        {"systemd-init: no\nsays init: no\n[x]init: no\n", ""},
        {"init: ", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[64];
        assert_int_equal(console_reason(rows[i].console, out, sizeof out), rows[i].want[0] != '\0');
        assert_string_equal(out, rows[i].want);
    }
}

static void a_long_word_is_cut(void **state) {
    char out[8];
    assert_true(console_reason("init: 0123456789", out, sizeof out));
    assert_string_equal(out, "0123456");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_word_of_the_first_program_is_told),
        cmocka_unit_test(a_long_word_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
