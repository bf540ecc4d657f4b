#include "check.h"

static json_t *parse(const char *text, dstack_error *err) {
    return json_parse(bytes_of_str(text), 1000, "document", err);
}

static void malformed_documents_say_where(void **state) {
    (void)state;
    dstack_error err = {0};
    const char *bad[] = {"", "{", "{\"a\":1,\"a\":2}", "{} x", "nope"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(parse(bad[i], &err));
        assert_int_equal(err.status, DSTACK_E_FORMAT);
        assert_non_null(strstr(err.message, "document is not valid JSON"));
    }
}

static void typed_lookups_name_the_member(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *doc = parse("{\"s\":\"x\",\"n\":7,\"h\":\"0aff\",\"z\":null}", &err);
    assert_non_null(doc);
    const char *text = NULL;
    int64_t number = 0;
    uint8_t raw[2];
    bool flag = false;
    assert_ok(json_need_str(doc, "s", &text, &err), err);
    assert_string_equal(text, "x");
    assert_ok(json_need_int(doc, "n", &number, &err), err);
    assert_int_equal(number, 7);
    assert_ok(json_need_hex(doc, "h", raw, 2, &err), err);
    assert_ok(json_bool_or(doc, "z", true, &flag, &err), err);
    assert_true(flag);
    assert_int_equal(json_need_str(doc, "n", &text, &err), DSTACK_E_FORMAT);
    assert_string_equal(err.message, "member \"n\" must be a string");
    assert_int_equal(json_need_int(doc, "q", &number, &err), DSTACK_E_FORMAT);
    assert_string_equal(err.message, "member \"q\" is missing");
}

static void a_document_above_the_limit_is_refused(void **state) {
    (void)state;
    dstack_error err = {0};
    assert_null(json_parse(bytes_of_str("[1,2,3]"), 6, "list", &err));
    assert_int_equal(err.status, DSTACK_E_LIMIT);
}

static void prefixes_stack_outermost_first(void **state) {
    (void)state;
    dstack_error err = {0};
    int rc = error_set(&err, DSTACK_E_IO, "disk %s", "full");
    rc = error_prefix(&err, rc, "writing key");
    assert_int_equal(rc, DSTACK_E_IO);
    assert_string_equal(err.message, "writing key: disk full");
}

static void long_messages_are_cut_between_characters(void **state) {
    (void)state;
    char text[DSTACK_ERROR_MESSAGE_SIZE + 10];
    memset(text, 'x', sizeof text);
    memcpy(text + DSTACK_ERROR_MESSAGE_SIZE - 2, "\xc3\xa9", 2);
    text[sizeof text - 1] = '\0';
    dstack_error err = {0};
    error_set(&err, DSTACK_E_IO, "%s", text);
    assert_int_equal(strlen(err.message), DSTACK_ERROR_MESSAGE_SIZE - 2);
}

static void every_status_has_a_name_of_its_own(void **state) {
    (void)state;
    static const char *names[] = {
#define STATUS_NAME(status, name) name,
#include "base/status_names.h"
#undef STATUS_NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(names[i], names[j]);
        }
    }
    assert_string_equal(dstack_status_name((dstack_status)-9999), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_documents_say_where),
        cmocka_unit_test(typed_lookups_name_the_member),
        cmocka_unit_test(a_document_above_the_limit_is_refused),
        cmocka_unit_test(prefixes_stack_outermost_first),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
