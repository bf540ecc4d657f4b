/* Client and server of the simulated TEE's channel. */
#include "sim_fixture.h"

#include <dstack/quote.h>

#include "base/cbor.h"
#include "crypto/hash.h"
#include "tee/sim_protocol.h"

static void extended(const uint8_t before[48], const uint8_t digest[48], uint8_t out[48]) {
    const dstack_bytes parts[] = {bytes_of(before, 48), bytes_of(digest, 48)};
    hash_parts(HASH_SHA384, parts, 2, out);
}

static void a_guest_reads_extends_and_quotes(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_tee *tee = fixture_open(&f);
    dstack_error err = {0};
    dstack_tee_info info;
    assert_string_equal(dstack_tee_provider(tee), "sim");
    assert_true(dstack_tee_is_simulated(tee));
    assert_ok(dstack_tee_info_get(tee, &info, &err), err);
    assert_string_equal(info.platform, "dstack-tdx");
    assert_memory_equal(info.mrtd, f.measured.mrtd, 48);
    assert_memory_equal(info.rtmr[0], f.measured.rtmr[0], 48);
    assert_true(bytes_are_zero(bytes_of(info.rtmr[3], 48)));
    uint8_t digest[48], expected[48], report_data[64];
    memset(digest, 7, sizeof digest);
    memset(report_data, 9, sizeof report_data);
    assert_ok(dstack_tee_extend(tee, 3, digest, "app-id", &err), err);
    extended(info.rtmr[3], digest, expected);
    dstack_tee_report report;
    assert_ok(dstack_tee_evidence(tee, report_data, &report, &err), err);
    assert_memory_equal(report.info.rtmr[3], expected, 48);
    assert_memory_equal(report.info.rtmr[2], f.measured.rtmr[2], 48);
    dstack_quote quote;
    assert_ok(dstack_quote_parse(&quote, bytes_of_buf(&report.quote), &err), err);
    assert_int_equal(quote.version, 4);
    assert_memory_equal(quote.td->report_data, report_data, 64);
    assert_true(report.boot_log.len > 100);
    dstack_tee_report_clear(&report);
    dstack_tee_close(tee);
    fixture_teardown(&f);
}

static void registers_a_guest_may_not_extend_are_refused_on_both_sides(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_tee *tee = fixture_open(&f);
    dstack_error err = {0};
    const uint8_t digest[48] = {0};
    assert_int_equal(dstack_tee_extend(tee, 0, digest, NULL, &err), DSTACK_E_ARGUMENT);
    assert_int_equal(dstack_tee_extend(tee, 4, digest, NULL, &err), DSTACK_E_ARGUMENT);
    for (uint64_t index = 0; index < 6; index++) {
        sim_request request = {.id = 5, .call = SIM_EXTEND, .index = index};
        DSTACK_AUTO(buf) dstack_buf message = {0}, out = {0};
        sim_request_write(&request, &message);
        assert_ok(sim_vm_handle(f.vm, bytes_of_buf(&message), &out, &err), err);
        sim_answer answer;
        assert_ok(sim_answer_read(bytes_of_buf(&out), SIM_EXTEND, &answer, &err), err);
        assert_true(answer.ok == (index == 2 || index == 3));
        assert_int_equal(answer.id, 5);
    }
    dstack_tee_close(tee);
    fixture_teardown(&f);
}

static void registers_outlive_the_server_and_start_anew_with_the_vm(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_tee *tee = fixture_open(&f);
    dstack_error err = {0};
    uint8_t digest[48];
    memset(digest, 3, sizeof digest);
    assert_ok(dstack_tee_extend(tee, 3, digest, "x", &err), err);
    dstack_tee_info before, after;
    assert_ok(dstack_tee_info_get(tee, &before, &err), err);
    fixture_stop_server(&f);
    sim_vm_free(f.vm);
    f.vm = NULL;
    struct stat st;
    assert_int_equal(stat(f.state, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(sim_vm_resume(f.keys, f.state, &f.vm, &err), err);
    fixture_start_server(&f);
    assert_ok(dstack_tee_info_get(tee, &after, &err), err);
    assert_memory_equal(&before.rtmr, &after.rtmr, sizeof before.rtmr);
    DSTACK_AUTO(buf) dstack_buf log = {0}, expected = {0};
    assert_ok(dstack_tee_boot_log(tee, &log, &err), err);
    assert_ok(dstack_measure_boot_log(&f.measured, &expected, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&log), bytes_of_buf(&expected)));
    fixture_stop_server(&f);
    sim_vm_free(f.vm);
    assert_ok(sim_vm_start(f.keys, &f.measured, NULL, f.state, &f.vm, &err), err);
    fixture_start_server(&f);
    assert_ok(dstack_tee_info_get(tee, &after, &err), err);
    assert_true(bytes_are_zero(bytes_of(after.rtmr[3], 48)));
    dstack_tee_close(tee);
    fixture_teardown(&f);
}

static void a_failed_write_leaves_the_register_as_it_was(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    fixture_stop_server(&f);
    dstack_error err = {0};
    DSTACK_AUTO(sim_vm) sim_vm *vm = NULL;
    char missing[128];
    snprintf(missing, sizeof missing, "%s/gone/vm.json", f.dir);
    assert_int_not_equal(sim_vm_start(f.keys, &f.measured, NULL, missing, &vm, &err), 0);
    char folder[128], path[160];
    snprintf(folder, sizeof folder, "%s/later", f.dir);
    snprintf(path, sizeof path, "%s/vm.json", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_ok(sim_vm_start(f.keys, &f.measured, NULL, path, &vm, &err), err);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    sim_request request = {.id = 1, .call = SIM_EXTEND, .index = 3, .digest = {1}};
    DSTACK_AUTO(buf) dstack_buf message = {0}, out = {0};
    sim_request_write(&request, &message);
    assert_ok(sim_vm_handle(vm, bytes_of_buf(&message), &out, &err), err);
    sim_answer answer;
    assert_ok(sim_answer_read(bytes_of_buf(&out), SIM_EXTEND, &answer, &err), err);
    assert_false(answer.ok);
    request.call = SIM_INFO;
    buf_reset(&message);
    buf_reset(&out);
    sim_request_write(&request, &message);
    assert_ok(sim_vm_handle(vm, bytes_of_buf(&message), &out, &err), err);
    assert_ok(sim_answer_read(bytes_of_buf(&out), SIM_INFO, &answer, &err), err);
    assert_true(bytes_are_zero(bytes_of(answer.info.rtmr[3], 48)));
    fixture_teardown(&f);
}

static void frames_are_answered_however_they_are_split(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    fixture_stop_server(&f);
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf input = {0}, whole = {0}, split = {0};
    for (uint64_t id = 1; id <= 3; id++) {
        DSTACK_AUTO(buf) dstack_buf message = {0};
        const sim_request request = {.id = id, .call = id == 2 ? SIM_CCEL : SIM_INFO};
        sim_request_write(&request, &message);
        sim_frame_write(bytes_of_buf(&message), &input);
    }
    sim_session a = {0}, b = {0};
    assert_ok(sim_session_feed(&a, f.vm, bytes_of_buf(&input), &whole, &err), err);
    for (size_t i = 0; i < input.len; i++) {
        assert_ok(sim_session_feed(&b, f.vm, bytes_of(input.data + i, 1), &split, &err), err);
    }
    assert_true(whole.len > 600);
    assert_true(bytes_equal(bytes_of_buf(&whole), bytes_of_buf(&split)));
    assert_int_equal(a.pending.len, 0);
    assert_int_equal(sim_session_feed(&a, f.vm, bytes_of("\xff\xff\xff\xff", 4), &whole, &err),
                     DSTACK_E_LIMIT);
    sim_session_clear(&a);
    sim_session_clear(&b);
    fixture_teardown(&f);
}

static void malformed_requests_get_an_answer_that_says_so(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    fixture_stop_server(&f);
    dstack_error err = {0};
    static const char *const requests[] = {
        "",
        "a0",
        "a2626964076463616c6c", /* cut short */
        "a26269640764"
        "63616c6c"
        "646e6f7065", /* unknown call */
        "a26269640764"
        "63616c6c"
        "6571756f7465", /* quote without report data */
        "a26269640764"
        "63616c6c"
        "64696e666f"
        "00", /* a byte behind */
        "a36269640764"
        "63616c6c"
        "64696e666f", /* a member too few */
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        DSTACK_AUTO(buf) dstack_buf request = {0}, out = {0};
        put_hex(&request, requests[i]);
        assert_ok(sim_vm_handle(f.vm, bytes_of_buf(&request), &out, &err), err);
        sim_answer answer;
        assert_ok(sim_answer_read(bytes_of_buf(&out), SIM_INFO, &answer, &err), err);
        assert_false(answer.ok);
        assert_true(answer.error.len > 0);
        assert_int_equal(answer.id, i >= 2 ? 7 : 0);
    }
    fixture_teardown(&f);
}

static void sec_13_no_simulated_tee_opens_without_a_pinned_root(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_error err = {0};
    dstack_tee *tee = NULL;
    const dstack_tee_options none = {.timeout_ms = 1000};
    assert_int_equal(dstack_tee_open(f.url, NULL, &tee, &err), DSTACK_E_REFUSED);
    assert_int_equal(dstack_tee_open(f.url, &none, &tee, &err), DSTACK_E_REFUSED);
    assert_int_equal(dstack_tee_open("sim:port:" DSTACK_TEE_SIM_PORT, &none, &tee, &err),
                     DSTACK_E_REFUSED);
    assert_null(tee);
    fixture_teardown(&f);
}

static void sec_13_quotes_under_another_root_than_the_pinned_one_are_refused(void **state) {
    sim_fixture f, other;
    fixture_setup(&f);
    fixture_setup(&other);
    dstack_error err = {0};
    dstack_tee *tee = NULL;
    const dstack_tee_options options = {.sim_root = sim_keys_root(other.keys), .timeout_ms = 5000};
    assert_ok(dstack_tee_open(f.url, &options, &tee, &err), err);
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    const uint8_t report_data[64] = {0};
    assert_int_equal(dstack_tee_quote(tee, report_data, &quote, &err), DSTACK_E_REFUSED);
    assert_int_equal(quote.len, 0);
    dstack_tee_close(tee);
    fixture_teardown(&f);
    fixture_teardown(&other);
}

/* A production guest's command line pins nothing: then nothing that the host hands over makes a
 * simulated provider (rows 12, 13 and 22: no path, file or variable of the host decides). */
static void sec_22_a_guest_without_the_measured_option_has_no_simulated_tee(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    assert_int_equal(
        dstack_tee_sim_accept_root("console=ttyS0 init=/init", sim_keys_root(f.keys), &der, &err),
        DSTACK_E_NOT_FOUND);
    assert_int_equal(der.len, 0);
    fixture_teardown(&f);
}

static void sec_13_the_pinned_hash_decides_about_the_hosts_certificate(void **state) {
    sim_fixture f, other;
    fixture_setup(&f);
    fixture_setup(&other);
    dstack_error err = {0};
    uint8_t hash[32];
    char hex[65], cmdline[512];
    sim_keys_root_hash(f.keys, hash);
    hex_encode(bytes_of(hash, sizeof hash), hex);
    DSTACK_AUTO(buf) dstack_buf der = {0}, pem = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/root.pem", f.dir);
    load_file(path, &pem);
    snprintf(cmdline, sizeof cmdline, "console=ttyS0 dstack.sim_root=%s quiet\n", hex);
    assert_ok(dstack_tee_sim_accept_root(cmdline, sim_keys_root(f.keys), &der, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&der), sim_keys_root(f.keys)));
    buf_reset(&der);
    assert_ok(dstack_tee_sim_accept_root(cmdline, bytes_of_buf(&pem), &der, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&der), sim_keys_root(f.keys)));
    buf_reset(&der);
    assert_int_equal(dstack_tee_sim_accept_root(cmdline, sim_keys_root(other.keys), &der, &err),
                     DSTACK_E_REFUSED);
    assert_int_not_equal(dstack_tee_sim_accept_root(cmdline, bytes_of("junk", 4), &der, &err), 0);
    snprintf(cmdline, sizeof cmdline, "dstack.sim_root=%s dstack.sim_root=%s", hex, hex);
    assert_int_equal(dstack_tee_sim_accept_root(cmdline, sim_keys_root(f.keys), &der, &err),
                     DSTACK_E_REFUSED);
    snprintf(cmdline, sizeof cmdline, "dstack.sim_root=%.63s", hex);
    assert_int_equal(dstack_tee_sim_accept_root(cmdline, sim_keys_root(f.keys), &der, &err),
                     DSTACK_E_FORMAT);
    snprintf(cmdline, sizeof cmdline, "x=\"dstack.sim_root=1 dstack.sim_root=%s\"", hex);
    assert_int_not_equal(dstack_tee_sim_accept_root(cmdline, sim_keys_root(f.keys), &der, &err), 0);
    assert_int_equal(der.len, 0);
    fixture_teardown(&f);
    fixture_teardown(&other);
}

static void sec_12_the_environment_chooses_no_tee_and_no_path(void **state) {
    static const char *const names[] = {"DSTACK_AGENT_ADDRESS", "DSTACK_SIMULATOR_ENDPOINT",
                                        "DCAP_TDX_QUOTE_CONFIGFS_PATH", "DCAP_TDX_RTMR_SYSFS_PATH",
                                        "DSTACK_CCEL_FILE"};
    sim_fixture f;
    fixture_setup(&f);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        setenv(names[i], f.socket, 1);
    }
    dstack_error err = {0};
    dstack_tee *tee = NULL;
    if (access("/dev/tdx_guest", F_OK) != 0) {
        assert_int_equal(dstack_tee_open("auto", NULL, &tee, &err), DSTACK_E_NOT_FOUND);
        assert_int_equal(dstack_tee_open("tdx", NULL, &tee, &err), DSTACK_E_NOT_FOUND);
    }
    assert_null(tee);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unsetenv(names[i]);
    }
    fixture_teardown(&f);
}

static void sec_15_a_silent_tee_costs_the_deadline_and_no_more(void **state) {
    sim_fixture f;
    fixture_setup(&f);
    dstack_tee *tee = fixture_open(&f);
    fixture_stop_server(&f);
    dstack_tee_close(tee);
    /* A listener that takes connections into its backlog and never speaks. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f.socket);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    dstack_error err = {0};
    const dstack_tee_options options = {.sim_root = sim_keys_root(f.keys), .timeout_ms = 300};
    assert_int_equal(dstack_tee_open(f.url, &options, &tee, &err), DSTACK_E_TIMEOUT);
    close(fd);
    fixture_teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_reads_extends_and_quotes),
        cmocka_unit_test(registers_a_guest_may_not_extend_are_refused_on_both_sides),
        cmocka_unit_test(registers_outlive_the_server_and_start_anew_with_the_vm),
        cmocka_unit_test(a_failed_write_leaves_the_register_as_it_was),
        cmocka_unit_test(frames_are_answered_however_they_are_split),
        cmocka_unit_test(malformed_requests_get_an_answer_that_says_so),
        cmocka_unit_test(sec_13_no_simulated_tee_opens_without_a_pinned_root),
        cmocka_unit_test(sec_13_quotes_under_another_root_than_the_pinned_one_are_refused),
        cmocka_unit_test(sec_22_a_guest_without_the_measured_option_has_no_simulated_tee),
        cmocka_unit_test(sec_13_the_pinned_hash_decides_about_the_hosts_certificate),
        cmocka_unit_test(sec_12_the_environment_chooses_no_tee_and_no_path),
        cmocka_unit_test(sec_15_a_silent_tee_costs_the_deadline_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
