#include "check.h"

#include <string.h>
#include <unistd.h>

#include "base/cursor.h"
#include "service/log.h"

/* What went to standard error meanwhile. */
typedef struct capture {
    FILE *file;
    int before;
} capture;

static void capture_start(capture *c) {
    c->file = tmpfile();
    assert_non_null(c->file);
    c->before = dup(STDERR_FILENO);
    assert_true(dup2(fileno(c->file), STDERR_FILENO) >= 0);
}

static void capture_end(capture *c, char *text, size_t room) {
    assert_true(dup2(c->before, STDERR_FILENO) >= 0);
    close(c->before);
    rewind(c->file);
    text[fread(text, 1, room - 1, c->file)] = 0;
    fclose(c->file);
}

static void every_field_is_written_however_many(void **state) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    char text[4096], want[16];
    capture c;
    capture_start(&c);
    LOG_INFO("many", "a", "1", "b", "1", "c", "1", "d", "1", "e", "1", "f", "1", "g", "1", "h", "1",
             "i", "1", "j", "1", "k", "1", "l", "1");
    capture_end(&c, text, sizeof text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(want, sizeof want, " %s=\"1\"", names[i]);
        if (strstr(text, want) == NULL) {
            fail_msg("no%s in %s", want, text);
        }
    }
}

static void what_is_not_known_is_left_out(void **state) {
    char text[1024];
    capture c;
    capture_start(&c);
    LOG_WARN("some", "known", "yes", "unknown", NULL, "empty", "", "last", "z");
    capture_end(&c, text, sizeof text);
    assert_non_null(strstr(text, " warn  "));
    assert_non_null(strstr(text, ": some known=\"yes\" empty=\"\" last=\"z\"\n"));
}

static void a_value_cannot_forge_a_line(void **state) {
    char text[1024];
    capture c;
    capture_start(&c);
    LOG_INFO("said", "what", "a\" other=\"b\n2026-01-01 info x: forged\x1b[2J");
    capture_end(&c, text, sizeof text);
    assert_non_null(
        strstr(text, "what=\"a\\\" other=\\\"b\\x0a2026-01-01 info x: forged\\x1b[2J\"\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void less_than_the_level_asked_for_is_not_written(void **state) {
    char text[1024];
    capture c;
    dstack_error err = {0};
    assert_int_equal(log_init("test", "loud", &err), DSTACK_E_ARGUMENT);
    assert_ok(log_init("test", "warn", &err), err);
    capture_start(&c);
    LOG_INFO("quiet");
    LOG_ERROR("heard");
    capture_end(&c, text, sizeof text);
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, " error test: heard\n"));
    assert_ok(log_init("test", "info", &err), err);
}

int main(void) {
    unsetenv("JOURNAL_STREAM");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_written_however_many),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(a_value_cannot_forge_a_line),
        cmocka_unit_test(less_than_the_level_asked_for_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
