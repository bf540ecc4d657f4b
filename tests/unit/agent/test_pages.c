/* Container logs, metrics and the dashboard's escaping. */
#include "../check.h"

#include "serve/html.h"
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
    assert_int_equal(format("0100000000020001", (log_options){0}, &out), DSTACK_E_LIMIT);
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
    live_container containers[] = {{.state = "running"}, {.state = "x\"y"}};
    live_state reading = {.containers = containers, .container_count = 2};
    system_info *info = &reading.system;
    *info = (system_info){.memory_total = 10, .memory_available = 4, .disk_count = 1};
    strcpy(info->os_name, "a\"b\\c\nd");
    strcpy(info->disks[0].name, "/dev/vda");
    strcpy(info->disks[0].mount_point, "/");
    info->disks[0].total = 8;
    info->disks[0].free = 2;
    info->cpu_ticks[SYSTEM_CPU_IDLE] = 250;
    info->ticks_per_s = 100;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    metrics_text(&reading, &out);
    const char *text = buf_text(&out);
    assert_non_null(strstr(text, "system_os_name{os_name=\"a\\\"b\\\\c\\nd\"} 1\n"));
    assert_non_null(strstr(text, "system_memory_used 6\n"));
    assert_non_null(strstr(text, "disk_used_size{name=\"/dev/vda\", mount_point=\"/\"} 6\n"));
    assert_non_null(
        strstr(text, "disk_usage_percentage{name=\"/dev/vda\", mount_point=\"/\"} 75.0\n"));
    assert_non_null(strstr(text, "dstack_guest_disk_used_ratio{device=\"/dev/vda\", "
                                 "mount_point=\"/\"} 0.75\n"));
    assert_non_null(strstr(text, "dstack_guest_cpu_seconds_total{mode=\"idle\"} 2.5\n"));
    assert_non_null(strstr(text, "dstack_guest_containers{state=\"running\"} 1\n"));
    assert_non_null(strstr(text, "dstack_guest_containers{state=\"other\"} 1\n"));
}

static void console(const char *first, const char *second, const char *want) {
    DSTACK_AUTO(buf) dstack_buf stream = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    const log_options options = {.text = true, .bare = true};
    buf_put_str(&stream, first);
    assert_ok(log_console_format(&stream, false, &options, &out, &err), err);
    buf_put_str(&stream, second);
    assert_ok(log_console_format(&stream, false, &options, &out, &err), err);
    assert_ok(log_console_format(&stream, true, &options, &out, &err), err);
    assert_string_equal(buf_text(&out), want);
    assert_int_equal(stream.len, 0);
}

static void a_terminals_characters_and_colours_are_not_cut_in_two(void **state) {
    console("caf\xc3", "\xa9", "caf\xc3\xa9");
    console("\xf0\x9f\x98", "\x80!", "\xf0\x9f\x98\x80!");
    console("a\x1b", "[31mb", "ab");
    console("a\x1b[3", "1mb", "ab");
    console("a\x1b[", "", "a\x1b[");
    console("plain", " text", "plain text");
    console("\xff", "\xc3", "\xef\xbf\xbd\xef\xbf\xbd");
}

static void the_engines_head_is_read(void **state) {
    static const struct {
        const char *text;
        int rc, status;
        bool multiplexed;
    } rows[] = {
        {"HTTP/1.0 200 OK\r\ncontent-TYPE: application/vnd.docker.multiplexed-stream\r\n\r\nx", 0,
         200, true},
        {"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n", 0, 404, false},
        {"HTTP/1.0 200 OK\r\n", 0, 0, false},
        {"", 0, 0, false},
        {"SSH-2.0-x\r\n\r\n", DSTACK_E_FORMAT, 0, false},
        {"\r\n\r\n", DSTACK_E_FORMAT, 0, false},
        {"HTTP/1.1 20\r\n\r\n", DSTACK_E_FORMAT, 0, false},
        {"HTTP/1.\r\n\r\n", DSTACK_E_FORMAT, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        log_head head;
        dstack_error err = {0};
        assert_int_equal(log_head_parse(bytes_of_str(rows[i].text), &head, &err), rows[i].rc);
        assert_int_equal(head.status, rows[i].status);
        assert_int_equal(head.multiplexed, rows[i].multiplexed);
    }
}

/* Events of firmware hold what the host gave. */
static void sec_hostile_events_stay_text(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dashboard_measurements(
        "{\"mrtd\":\"<b>\",\"rtmr0\":null,\"app_compose\":\"</textarea><script>\",\"event_log\":["
        "{\"imr\":0,\"event_type\":10,\"digest\":\"<i>\",\"event\":\"\",\"event_payload\":"
        "\"3c7363726970743e\"},{\"imr\":3,\"event_type\":134217729,\"event\":\"<u>\","
        "\"event_payload\":\"zz\"},{\"imr\":1,\"event_payload\":\"00ff\"},7]}",
        &out);
    const char *html = buf_text(&out);
    assert_null(strstr(html, "<b>"));
    assert_null(strstr(html, "<i>"));
    assert_null(strstr(html, "<u>"));
    assert_null(strstr(html, "<script>"));
    assert_null(strstr(html, "</textarea><script"));
    assert_non_null(strstr(html, "&#60;script&#62;"));
    assert_non_null(strstr(html, "Platform configuration"));
    assert_non_null(strstr(html, "00ff"));
    buf_reset(&out);
    dashboard_measurements("not JSON", &out);
    assert_non_null(strstr(buf_text(&out), "Event log"));
}

static void containers_come_from_whatever_the_engine_says(void **state) {
    DSTACK_AUTO(json)
    json_t *list = json_loads("[{\"Names\":[\"/a\"],\"State\":\"running\",\"Status\":\"Up\"},"
                              "{\"Names\":[]},{\"Names\":7,\"State\":[]},4,null]",
                              0, NULL);
    live_state reading = {0};
    live_containers_read(list, &reading);
    assert_int_equal(reading.container_count, 5);
    assert_string_equal(reading.containers[0].name, "a");
    assert_string_equal(reading.containers[2].state, "");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dashboard_live(&reading, true, true, &out);
    assert_non_null(strstr(buf_text(&out), "1 of 5 containers running"));
    free(reading.containers);
}

static void a_disk_that_is_read_only_is_not_shown_as_full(void **state) {
    live_state reading = {
        .system = {.disk_count = 2,
                   .disks = {{.total = 2048, .read_only = true}, {.total = 2048, .free = 512}}}};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dashboard_live(&reading, false, true, &out);
    assert_non_null(strstr(buf_text(&out), "<dd>2.00 KB, read-only"));
    assert_non_null(strstr(buf_text(&out), "1.50 KB of 2.00 KB"));
}

static void cpu_time_between_readings_is_a_share(void **state) {
    system_info before = {0}, after = {0};
    assert_true(live_cpu_busy(&before, &after) == 0);
    after.cpu_ticks[SYSTEM_CPU_USER] = 25;
    after.cpu_ticks[SYSTEM_CPU_IDLE] = 75;
    assert_true(live_cpu_busy(&before, &after) == 0.25);
    /* One counter that goes back does not spoil the rest. */
    before.cpu_ticks[SYSTEM_CPU_IOWAIT] = 5;
    assert_true(live_cpu_busy(&before, &after) == 0.25);
}

static void html_has_no_markup_from_values(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    html_text(&out, "<a href=\"x\">&'");
    assert_string_equal(buf_text(&out), "&#60;a href=&#34;x&#34;&#62;&#38;&#39;");
    buf_reset(&out);
    html_text(&out, "a\x01\x1b\tb\n");
    assert_string_equal(buf_text(&out), "a\xef\xbf\xbd\xef\xbf\xbd\tb\n");
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
        cmocka_unit_test(a_terminals_characters_and_colours_are_not_cut_in_two),
        cmocka_unit_test(the_engines_head_is_read),
        cmocka_unit_test(sec_hostile_events_stay_text),
        cmocka_unit_test(containers_come_from_whatever_the_engine_says),
        cmocka_unit_test(a_disk_that_is_read_only_is_not_shown_as_full),
        cmocka_unit_test(cpu_time_between_readings_is_a_share),
        cmocka_unit_test(html_has_no_markup_from_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
