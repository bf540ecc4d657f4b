/* Container logs, metrics and the dashboard's escaping. */
#include "../check.h"

#include "serve/log_format.h"
#include "serve/pages.h"

static int format(const char *hex, log_options options, dstack_buf *out) {
    DSTACK_AUTO(buf) dstack_buf stream = {0};
    put_hex(&stream, hex);
    dstack_error err = {0};
    return log_frames_format(&stream, &options, out, &err);
}

/* stdout "hi\n", stderr "\xff" */
#define STREAM "010000000000000368690a0200000000000001ff"

static void frames_become_lines_with_their_channel(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_int_equal(format(STREAM, (log_options){.text = true}, &out), 0);
    assert_string_equal(buf_text(&out), "{\"channel\":\"stdout\",\"message\":\"hi\\n\"}\n"
                                        "{\"channel\":\"stderr\",\"message\":\"\xef\xbf\xbd\"}\n");
    buf_reset(&out);
    assert_int_equal(format(STREAM, (log_options){0}, &out), 0);
    assert_string_equal(buf_text(&out), "{\"channel\":\"stdout\",\"message\":\"aGkK\"}\n"
                                        "{\"channel\":\"stderr\",\"message\":\"/w==\"}\n");
}

static void bare_text_loses_escape_sequences_unless_asked(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    const char *red = "01000000000000061b5b33316d78"; /* ESC [31m x */
    assert_int_equal(format(red, (log_options){.text = true, .bare = true}, &out), 0);
    assert_string_equal(buf_text(&out), "x");
    buf_reset(&out);
    assert_int_equal(format(red, (log_options){.text = true, .bare = true, .ansi = true}, &out), 0);
    assert_string_equal(buf_text(&out), "\x1b[31mx");
}

static void a_frame_that_is_not_whole_waits(void **state) {
    DSTACK_AUTO(buf) dstack_buf stream = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    put_hex(&stream, "0100000000000003686901");
    stream.len--; /* "hi" of three bytes */
    dstack_error err = {0};
    const log_options options = {.text = true, .bare = true};
    assert_ok(log_frames_format(&stream, &options, &out, &err), err);
    assert_int_equal(out.len, 0);
    assert_int_equal(stream.len, 10);
    buf_put_str(&stream, "!");
    assert_ok(log_frames_format(&stream, &options, &out, &err), err);
    assert_string_equal(buf_text(&out), "hi!");
}

static void sec_15_a_frame_over_its_limit_ends_the_stream(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_int_equal(format("0100000000100001", (log_options){0}, &out), DSTACK_E_LIMIT);
    assert_int_equal(format("0300000000000000", (log_options){0}, &out), DSTACK_E_FORMAT);
}

static void the_recorded_stream_comes_out_the_same(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/logs-vectors.json");
    const char *hex = json_string_value(json_object_get(data, "engine_stream_hex"));
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "cases"), i, row) {
        const char *query = json_string_value(json_object_get(row, "query"));
        const log_options options = {.text = strstr(query, "text") != NULL,
                                     .bare = strstr(query, "bare") != NULL,
                                     .ansi = strstr(query, "ansi") != NULL};
        DSTACK_AUTO(buf) dstack_buf out = {0};
        assert_int_equal(format(hex, options, &out), 0);
        const char *want = json_string_value(json_object_get(row, "output"));
        if (options.bare) {
            assert_string_equal(buf_text(&out), want);
            continue;
        }
        /* The same documents line by line; how JSON escapes a character is free. */
        const char *have = buf_text(&out);
        for (; *want != '\0'; want += strcspn(want, "\n") + 1, have += strcspn(have, "\n") + 1) {
            dstack_error err = {0};
            DSTACK_AUTO(json)
            json_t *a = json_parse(bytes_of(want, strcspn(want, "\n")), 65536, "want", &err);
            DSTACK_AUTO(json)
            json_t *b = json_parse(bytes_of(have, strcspn(have, "\n")), 65536, "have", &err);
            assert_true(a != NULL && json_equal(a, b));
        }
        assert_int_equal(*have, '\0');
    }
}

static void sec_08_a_container_name_reaches_no_other_resource(void **state) {
    static const char *const bad[] = {"",   "app/json?", "..",  "../x",  ".x",
                                      "-x", "a b",       "a?b", "a%2fb", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(log_name_valid(bad[i]));
    }
    assert_true(log_name_valid("dstack-hello-1"));
    assert_true(log_name_valid("a_b.c"));
}

static void times_are_absolute_or_ago(void **state) {
    int64_t out = 0;
    assert_true(log_time_parse("", 1000, &out) && out == 0);
    assert_true(log_time_parse("5", 1000, &out) && out == 5);
    assert_true(log_time_parse("2m", 1000, &out) && out == 880);
    assert_false(log_time_parse("m", 1000, &out));
    assert_false(log_time_parse("1w", 1000, &out));
    assert_false(log_time_parse("-1", 1000, &out));
    assert_false(log_time_parse("9999999999999", 1000, &out));
}

static void the_engine_is_asked_as_the_reference_does(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    const log_options options = {
        .follow = true, .timestamps = true, .since = 7, .until = 5, .tail = "20"};
    log_engine_path("app", &options, &out);
    assert_string_equal(buf_text(&out), "/containers/app/logs?follow=true&stdout=true&stderr=true"
                                        "&since=7&until=5&timestamps=true&tail=20");
}

static void metrics_escape_their_labels(void **state) {
    system_info info = {.memory_total = 10, .memory_available = 4, .disk_count = 1};
    strcpy(info.os_name, "a\"b\\c\nd");
    strcpy(info.disks[0].name, "/dev/vda");
    strcpy(info.disks[0].mount_point, "/");
    info.disks[0].total = 8;
    info.disks[0].free = 2;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    metrics_text(&info, &out);
    const char *text = buf_text(&out);
    assert_non_null(strstr(text, "system_os_name{os_name=\"a\\\"b\\\\c\\nd\"} 1\n"));
    assert_non_null(strstr(text, "system_memory_used 6\n"));
    assert_non_null(strstr(text, "disk_used_size{name=\"/dev/vda\", mount_point=\"/\"} 6\n"));
    assert_non_null(
        strstr(text, "disk_usage_percentage{name=\"/dev/vda\", mount_point=\"/\"} 75.00"));
}

static void html_has_no_markup_from_values(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    html_text(&out, "<a href=\"x\">&'");
    assert_string_equal(buf_text(&out), "&#60;a href=&#34;x&#34;&#62;&#38;&#39;");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_become_lines_with_their_channel),
        cmocka_unit_test(bare_text_loses_escape_sequences_unless_asked),
        cmocka_unit_test(a_frame_that_is_not_whole_waits),
        cmocka_unit_test(sec_15_a_frame_over_its_limit_ends_the_stream),
        cmocka_unit_test(the_recorded_stream_comes_out_the_same),
        cmocka_unit_test(sec_08_a_container_name_reaches_no_other_resource),
        cmocka_unit_test(times_are_absolute_or_ago),
        cmocka_unit_test(the_engine_is_asked_as_the_reference_does),
        cmocka_unit_test(metrics_escape_their_labels),
        cmocka_unit_test(html_has_no_markup_from_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
