#include "attest/scale.h"
#include "fixtures.h"

static void decode_file(const char *name, dstack_buf *raw, dstack_attestation **out) {
    char path[256];
    snprintf(path, sizeof path, SHARED_DATA "attestation/attest/%s", name);
    load_file(path, raw);
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(raw), out, &err), err);
}

static void assert_encodes_to(const dstack_attestation *a, dstack_attestation_form form,
                              const dstack_buf *expected) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(dstack_attestation_encode(a, form, &out, &err), err);
    assert_int_equal(out.len, expected->len);
    assert_memory_equal(out.data, expected->data, out.len);
}

static void real_evidence_converts_between_both_forms(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf v0 = {0};
    DSTACK_AUTO(buf) dstack_buf v1 = {0};
    DSTACK_AUTO(attestation) dstack_attestation *a0 = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *a1 = NULL;
    decode_file("guest-agent.v0.bin", &v0, &a0);
    decode_file("guest-agent.v1.bin", &v1, &a1);
    assert_encodes_to(a0, DSTACK_ATTESTATION_V0, &v0);
    assert_encodes_to(a0, DSTACK_ATTESTATION_V1, &v1);
    assert_encodes_to(a1, DSTACK_ATTESTATION_V1, &v1);
    assert_encodes_to(a1, DSTACK_ATTESTATION_V0, &v0);
    assert_encodes_to(a1, DSTACK_ATTESTATION_AS_DECODED, &v1);
    assert_int_equal(dstack_event_log_count(a0->event_log), 33);
    assert_int_equal(dstack_event_log_count(a0->runtime), 9);
}

static void stripping_real_evidence_gives_the_recorded_bytes(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf full = {0};
    DSTACK_AUTO(buf) dstack_buf expected = {0};
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *recorded = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *stripped = NULL;
    decode_file("guest-agent.v1.bin", &full, &a);
    decode_file("guest-agent.stripped.v1.bin", &expected, &recorded);
    dstack_error err = {0};
    assert_ok(dstack_attestation_strip(a, &stripped, &err), err);
    assert_encodes_to(stripped, DSTACK_ATTESTATION_V1, &expected);
}

static void evidence_of_other_platforms_survives_a_round_trip(void **state) {
    need_shared_data();
    static const char *const names[] = {"sev-snp.v0.bin", "nitro.v0.bin", "nitro-2.v0.bin",
                                        "nitro-debug.v0.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        DSTACK_AUTO(buf) dstack_buf v1 = {0};
        DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
        DSTACK_AUTO(attestation) dstack_attestation *b = NULL;
        decode_file(names[i], &raw, &a);
        assert_encodes_to(a, DSTACK_ATTESTATION_V0, &raw);
        dstack_error err = {0};
        assert_ok(dstack_attestation_encode(a, DSTACK_ATTESTATION_V1, &v1, &err), err);
        assert_ok(dstack_attestation_decode(bytes_of_buf(&v1), &b, &err), err);
        assert_encodes_to(b, DSTACK_ATTESTATION_V0, &raw);
    }
}

static void msgpack_vectors_survive_a_round_trip(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(SHARED_DATA "attestation/vectors.json");
    const json_t *group = json_object_get(vectors, "msgpack");
    static const char *const names[] = {"v1_tdx", "v1_snp_pod", "v1_gcp"};
    dstack_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
        put_hex(&raw, json_string_value(json_object_get(group, names[i])));
        assert_ok(dstack_attestation_decode(bytes_of_buf(&raw), &a, &err), err);
        assert_encodes_to(a, DSTACK_ATTESTATION_V1, &raw);
    }
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    put_hex(&raw, json_string_value(json_object_get(group, "v1_as_positional_array_refused")));
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&raw), &a, NULL), DSTACK_E_FORMAT);
}

static void compact_lengths_equal_the_vectors(void **state) {
    static const struct {
        size_t value;
        const char *hex;
    } cases[] = {{0, "00"},      {1, "04"},           {63, "fc"},
                 {64, "0101"},   {255, "fd03"},       {16383, "fdff"},
                 {5010, "494e"}, {16384, "02000100"}, {1048576, "02004000"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        scale_put_compact(&out, cases[i].value);
        assert_hex(bytes_of_buf(&out), cases[i].hex);
        cursor c = cursor_init(bytes_of_buf(&out));
        assert_int_equal(scale_compact(&c), cases[i].value);
        assert_true(cursor_done(&c));
    }
}

static void lengths_in_a_longer_form_than_needed_are_refused(void **state) {
    static const char *const bad[] = {"0100", "fd00", "02000000", "feff0000", "0300000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        put_hex(&raw, bad[i]);
        cursor c = cursor_init(bytes_of_buf(&raw));
        scale_compact(&c);
        assert_false(cursor_ok(&c));
    }
}

/* Version 0: kind, empty quote, empty log, no events, report data, empty config. */
static void put_empty_v0(dstack_buf *out) {
    buf_put_zeros(out, 2 + 1 + 1 + 1 + 64 + 1);
}

static void truncated_and_overlong_envelopes_are_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    put_empty_v0(&raw);
    for (size_t len = 0; len < raw.len; len++) {
        DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
        assert_int_equal(dstack_attestation_decode(bytes_of(raw.data, len), &a, NULL),
                         DSTACK_E_FORMAT);
    }
    DSTACK_AUTO(attestation) dstack_attestation *whole = NULL;
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&raw), &whole, NULL), 0);
    buf_put_u8(&raw, 0);
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&raw), &a, NULL), DSTACK_E_FORMAT);
}

static void sec_15_decoding_has_size_and_count_limits(void **state) {
    DSTACK_AUTO(buf) dstack_buf big = {0};
    buf_put_zeros(&big, DSTACK_ATTESTATION_MAX_SIZE + 1);
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&big), &a, NULL), DSTACK_E_LIMIT);
    /* 65537 events of eleven zero bytes each */
    DSTACK_AUTO(buf) dstack_buf many = {0};
    buf_put_zeros(&many, 3);
    scale_put_compact(&many, DSTACK_EVENTS_MAX + 1);
    buf_put_zeros(&many, (size_t)(DSTACK_EVENTS_MAX + 1) * 11 + 1 + 64 + 1);
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&many), &a, NULL), DSTACK_E_LIMIT);
    /* a map in a map in a map ... */
    DSTACK_AUTO(buf) dstack_buf deep = {0};
    for (int i = 0; i < 1000; i++) {
        buf_put_str(&deep, "\x81\xa1x");
    }
    buf_put_u8(&deep, 0xc0);
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&deep), &a, NULL), DSTACK_E_FORMAT);
}

static void a_version_2_event_needs_version_1_of_the_envelope(void **state) {
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new(DSTACK_TEE_TDX, NULL);
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_int_equal(dstack_attestation_encode(a, DSTACK_ATTESTATION_LEGACY_CHOICE, &out, NULL), 0);
    assert_int_equal(out.data[0], 0);
    dstack_event_log_add_runtime(a->runtime, "x", (dstack_bytes){0}, 2, NULL);
    buf_reset(&out);
    assert_int_equal(dstack_attestation_encode(a, DSTACK_ATTESTATION_LEGACY_CHOICE, &out, NULL), 0);
    assert_int_equal(out.data[0], 0x83);
    assert_int_equal(dstack_attestation_encode(a, DSTACK_ATTESTATION_V0, &out, NULL),
                     DSTACK_E_UNSUPPORTED);
}

static void stripping_keeps_digest_and_preimage_of_version_2_events(void **state) {
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new(DSTACK_TEE_TDX, NULL);
    DSTACK_AUTO(attestation) dstack_attestation *stripped = NULL;
    dstack_event_log_add_runtime(a->event_log, "x", (dstack_bytes){0}, 2, NULL);
    dstack_event_log_add_runtime(a->event_log, "x", (dstack_bytes){0}, 1, NULL);
    dstack_error err = {0};
    assert_ok(dstack_attestation_strip(a, &stripped, &err), err);
    dstack_event event;
    assert_true(dstack_event_log_get(stripped->event_log, 0, &event));
    assert_int_equal(event.digest.len, 48);
    assert_non_null(event.preimage);
    assert_true(dstack_event_log_get(stripped->event_log, 1, &event));
    assert_int_equal(event.digest.len, 0);
    assert_null(event.preimage);
}

static void a_repeated_map_key_is_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    put_hex(&raw, "82a776657273696f6e01a776657273696f6e01");
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    dstack_error err = {0};
    assert_int_equal(dstack_attestation_decode(bytes_of_buf(&raw), &a, &err), DSTACK_E_FORMAT);
    assert_non_null(strstr(err.message, "twice"));
}

static void built_evidence_takes_report_data_from_the_quote(void **state) {
    dstack_td_report td = {0};
    memset(td.report_data, 0x5a, sizeof td.report_data);
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_form_quote(&quote, &td);
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&quote), log, log, "{}", &a, &err), err);
    assert_memory_equal(dstack_attestation_report_data(a).data, td.report_data, 64);
    DSTACK_AUTO(attestation) dstack_attestation *none = NULL;
    assert_true(dstack_attestation_new_tdx(bytes_of_str("no quote"), log, log, "", &none, NULL) <
                0);
    assert_null(none);
}

static void sec_26_a_runtime_event_outside_register_3_is_refused_in_the_pair(void **state) {
    dstack_td_report td = {0};
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_form_quote(&quote, &td);
    const char *log = "[{\"imr\":1,\"event_type\":134217729,\"event\":\"app-id\",\"event_payload\":"
                      "\"00\"}]";
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    assert_int_equal(
        dstack_attestation_from_quote(bytes_of_buf(&quote), bytes_of_str(log), &a, NULL),
        DSTACK_E_FORMAT);
    assert_null(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_evidence_converts_between_both_forms),
        cmocka_unit_test(stripping_real_evidence_gives_the_recorded_bytes),
        cmocka_unit_test(evidence_of_other_platforms_survives_a_round_trip),
        cmocka_unit_test(msgpack_vectors_survive_a_round_trip),
        cmocka_unit_test(compact_lengths_equal_the_vectors),
        cmocka_unit_test(lengths_in_a_longer_form_than_needed_are_refused),
        cmocka_unit_test(truncated_and_overlong_envelopes_are_refused),
        cmocka_unit_test(sec_15_decoding_has_size_and_count_limits),
        cmocka_unit_test(a_version_2_event_needs_version_1_of_the_envelope),
        cmocka_unit_test(stripping_keeps_digest_and_preimage_of_version_2_events),
        cmocka_unit_test(a_repeated_map_key_is_refused),
        cmocka_unit_test(built_evidence_takes_report_data_from_the_quote),
        cmocka_unit_test(sec_26_a_runtime_event_outside_register_3_is_refused_in_the_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
