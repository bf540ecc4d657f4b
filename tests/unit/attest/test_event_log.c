#include "fixtures.h"

static void event_digests_equal_the_vectors(void **state) {
    static const struct {
        const char *name;
        const char *payload;
        uint32_t version;
        const char *digest;
    } cases[] = {
        {"system-preparing", "", 1,
         "f9974020ef507068183313d0ca808e0d1ca9b2d1ad0c61f5784e7157c362c06536f5ddacdad4451693f48fcc7"
         "2"
         "fff624"},
        {"app-id", "deadbeef", 1,
         "67b4be4efed0893cfa2bb1d35dca209ad8348b4c97f980807bcde8b9a0f26398dd0923d6eccb5aa2096d98046"
         "d"
         "a8740f"},
        {"app-id", "deadbeef", 2,
         "baf3bcd15a9ffbd5d96a054080db0d029d44a88cdb7ea9f9ca5953bf7a1d8d91f9a16c6de05de1034f41295e8"
         "c"
         "ec53dc"},
        {"event\"with\\special\nchars", "ff", 2,
         "c3c6aaab21738411752bfe0d7164921c00a3b0975904f3ea4f092cbab63898af9ffa0b6713f15f1192a68b923"
         "1"
         "55a9d9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf payload = {0};
        put_hex(&payload, cases[i].payload);
        uint8_t digest[48];
        dstack_error err = {0};
        assert_ok(dstack_runtime_event_digest(cases[i].name, bytes_of_buf(&payload),
                                              cases[i].version, digest, &err),
                  err);
        assert_hex(bytes_of(digest, sizeof digest), cases[i].digest);
    }
}

static void an_unknown_event_version_is_refused(void **state) {
    uint8_t digest[48];
    assert_int_equal(dstack_runtime_event_digest("x", (dstack_bytes){0}, 3, digest, NULL),
                     DSTACK_E_FORMAT);
}

static void replay_of_boot_events_equals_the_vector(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    uint8_t mr[48];
    dstack_error err = {0};
    assert_ok(dstack_event_log_replay_runtime(log, NULL, mr, &err), err);
    assert_hex(
        bytes_of(mr, sizeof mr),
        "51e6737cc37085e270f04c1719caf0bb97a2d7e4396f570793ce9d61da7672cfeb07f01e154cb61529578500"
        "2e931c47");
}

static void replay_stops_after_the_named_event(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    uint8_t whole[48], stopped[48];
    assert_int_equal(dstack_event_log_replay_runtime(log, NULL, whole, NULL), 0);
    dstack_event_log_add_runtime(log, "later", (dstack_bytes){0}, 1, NULL);
    assert_int_equal(dstack_event_log_replay_runtime(log, "boot-mr-done", stopped, NULL), 0);
    assert_memory_equal(whole, stopped, sizeof whole);
}

static void a_stored_digest_of_a_runtime_event_is_not_believed(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    uint8_t wrong[48] = {1};
    dstack_event event = {.imr = 3,
                          .type = DSTACK_RUNTIME_EVENT_TYPE,
                          .version = 1,
                          .name = "app-id",
                          .digest = bytes_of(wrong, sizeof wrong)};
    assert_int_equal(dstack_event_log_add(log, &event, NULL), 0);
    dstack_registers registers;
    uint8_t runtime[48];
    assert_int_equal(dstack_event_log_replay(log, &registers, NULL), 0);
    assert_int_equal(dstack_event_log_replay_runtime(log, NULL, runtime, NULL), 0);
    assert_memory_equal(registers.rtmr[3], runtime, sizeof runtime);
}

static void json_goes_in_and_out_unchanged(void **state) {
    const char *text =
        "[{\"imr\":0,\"event_type\":10,\"digest\":\"cc\",\"event\":\"acpi-rsdp\",\"event_payload\":"
        "\"\"},{\"imr\":3,\"event_type\":134217729,\"digest\":\"\",\"event\":\"a\\nb\",\"event_"
        "payload\":\"01\",\"version\":2,\"preimage\":\"00\"}]";
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(dstack_event_log_parse_json(bytes_of_str(text), &log, &err), err);
    assert_ok(dstack_event_log_to_json(log, &out, &err), err);
    assert_string_equal(buf_text(&out), text);
}

static void malformed_json_logs_are_refused(void **state) {
    static const char *const bad[] = {
        "",
        "{}",
        "[1]",
        "[{}]",
        "[{\"imr\":-1,\"event_type\":1,\"event\":\"\",\"event_payload\":\"\"}]",
        "[{\"imr\":0,\"event_type\":1,\"event\":\"\",\"event_payload\":\"0\"}]",
        "[{\"imr\":0,\"event_type\":1,\"event\":\"\",\"event_payload\":\"0x00\"}]",
        "[{\"imr\":0,\"event_type\":1,\"event\":\"\\u0000\",\"event_payload\":\"\"}]",
        "[{\"imr\":0,\"event_type\":1,\"event\":\"\",\"event_payload\":\"\",\"version\":3}]",
        "[{\"imr\":0,\"imr\":0,\"event_type\":1,\"event\":\"\",\"event_payload\":\"\"}]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
        assert_int_equal(dstack_event_log_parse_json(bytes_of_str(bad[i]), &log, NULL),
                         DSTACK_E_FORMAT);
        assert_null(log);
    }
}

static void runtime_lines_go_in_and_out(void **state) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t payload[] = {0xde, 0xad, 0xbe, 0xef};
    dstack_error err = {0};
    assert_ok(dstack_runtime_event_line("app-id", bytes_of(payload, 4), 1, &text, &err), err);
    assert_string_equal(buf_text(&text), "{\"event\":\"app-id\",\"payload\":\"3q2+7w==\"}\n");
    buf_put_str(&text, "\n");
    assert_ok(dstack_runtime_event_line("x", (dstack_bytes){0}, 2, &text, &err), err);
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    assert_ok(dstack_event_log_parse_runtime(bytes_of_buf(&text), &log, &err), err);
    assert_int_equal(dstack_event_log_count(log), 2);
    dstack_event event;
    assert_true(dstack_event_log_get(log, 0, &event));
    assert_memory_equal(event.payload.data, payload, 4);
    assert_true(dstack_event_log_get(log, 1, &event));
    assert_int_equal(event.version, 2);
    assert_false(dstack_event_log_get(log, 2, &event));
}

static void the_log_beside_a_quote_leaves_out_what_a_reader_recomputes(void **state) {
    DSTACK_AUTO(event_log) dstack_event_log *log = dstack_event_log_new();
    uint8_t digest[48] = {7};
    dstack_event firmware = {.imr = 1,
                             .type = 5,
                             .version = 1,
                             .name = "",
                             .digest = bytes_of(digest, 48),
                             .payload = bytes_of_str("loader")};
    dstack_event acpi = {.imr = 0,
                         .type = 10,
                         .version = 1,
                         .name = "acpi-rsdp",
                         .digest = bytes_of(digest, 48),
                         .payload = bytes_of_str("ACPI DATA")};
    dstack_event_log_add(log, &firmware, NULL);
    dstack_event_log_add(log, &acpi, NULL);
    dstack_event_log_add_runtime(log, "app-id", bytes_of_str("x"), 1, NULL);
    dstack_event_log_add_runtime(log, "app-id", bytes_of_str("x"), 2, NULL);
    assert_int_equal(dstack_event_log_fill_digests(log, NULL), 0);
    DSTACK_AUTO(buf) dstack_buf out = {0};
    DSTACK_AUTO(event_log) dstack_event_log *back = NULL;
    assert_int_equal(dstack_event_log_to_quote_json(log, &out, NULL), 0);
    assert_int_equal(dstack_event_log_parse_json(bytes_of_buf(&out), &back, NULL), 0);
    static const struct { size_t digest, payload; } kept[] = {{48, 0}, {48, 9}, {0, 1}, {48, 1}};
    for (size_t i = 0; i < 4; i++) {
        dstack_event event;
        assert_true(dstack_event_log_get(back, i, &event));
        assert_int_equal(event.digest.len, kept[i].digest);
        assert_int_equal(event.payload.len, kept[i].payload);
        assert_int_equal(event.preimage != NULL, i == 3);
    }
}

static void ccel_of_real_firmware_gives_the_recorded_log(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf table = {0};
    DSTACK_AUTO(buf) dstack_buf expected = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(SHARED_DATA "attestation/eventlog/ccel.bin", &table);
    load_file(SHARED_DATA "attestation/eventlog/ccel.expected.json", &expected);
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    dstack_error err = {0};
    assert_ok(dstack_event_log_parse_ccel(bytes_of_buf(&table), &log, &err), err);
    assert_ok(dstack_event_log_to_json(log, &text, &err), err);
    assert_string_equal(buf_text(&text), buf_text(&expected));
    dstack_registers registers;
    assert_ok(dstack_event_log_replay(log, &registers, &err), err);
    assert_hex(
        bytes_of(registers.rtmr[0], 48),
        "274c2344116db7c663470693b5ba62b8621eac28cb41d2f816ddf188f9f423f900a1c44d32386fd3c993dc81"
        "4e62af9d");
    assert_hex(
        bytes_of(registers.rtmr[1], 48),
        "bdcf4ee0f7fdfe7c73fbb19ded73193aee23a6726b86d3b282ea097cf4c9ed7a0db21b5c1ccd513e410d90e3"
        "10836b26");
    assert_true(bytes_are_zero(bytes_of(registers.rtmr[2], 48)));
}

static void sec_15_a_ccel_without_end_or_with_huge_counts_is_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf table = {0};
    buf_put_zeros(&table, 4 + 4 + 20);
    buf_put_u32le(&table, 16 + 8 + 4 + 1);
    buf_put_zeros(&table, 16 + 8 + 4 + 1);
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    assert_int_equal(dstack_event_log_parse_ccel(bytes_of_buf(&table), &log, NULL),
                     DSTACK_E_FORMAT);
    buf_put_u32le(&table, 1);
    buf_put_u32le(&table, 1);
    buf_put_u32le(&table, UINT32_MAX);
    assert_int_equal(dstack_event_log_parse_ccel(bytes_of_buf(&table), &log, NULL),
                     DSTACK_E_FORMAT);
    assert_null(log);
}

static void the_agents_log_text_of_real_evidence_is_reproduced(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    DSTACK_AUTO(buf) dstack_buf expected = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(SHARED_DATA "attestation/attest/guest-agent.v0.bin", &encoded);
    load_file(SHARED_DATA "agent/getquote-event-log.real-agent.json", &expected);
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&encoded), &a, &err), err);
    assert_ok(dstack_event_log_to_quote_json(a->event_log, &text, &err), err);
    assert_int_equal(text.len, expected.len);
    assert_memory_equal(text.data, expected.data, text.len);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_digests_equal_the_vectors),
        cmocka_unit_test(an_unknown_event_version_is_refused),
        cmocka_unit_test(replay_of_boot_events_equals_the_vector),
        cmocka_unit_test(replay_stops_after_the_named_event),
        cmocka_unit_test(a_stored_digest_of_a_runtime_event_is_not_believed),
        cmocka_unit_test(json_goes_in_and_out_unchanged),
        cmocka_unit_test(malformed_json_logs_are_refused),
        cmocka_unit_test(runtime_lines_go_in_and_out),
        cmocka_unit_test(the_log_beside_a_quote_leaves_out_what_a_reader_recomputes),
        cmocka_unit_test(ccel_of_real_firmware_gives_the_recorded_log),
        cmocka_unit_test(sec_15_a_ccel_without_end_or_with_huge_counts_is_refused),
        cmocka_unit_test(the_agents_log_text_of_real_evidence_is_reproduced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
