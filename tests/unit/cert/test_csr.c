#include "attest/fixtures.h"
#include "attest/scale.h"
#include "cert/cert.h"

static dstack_secret *key;
static dstack_attestation *attestation;

static int set_up(void **state) {
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&key, &err), err);
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    dstack_td_report td = {0};
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), td.report_data, &err), err);
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_form_quote(&quote, &td);
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(2);
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&quote), log, log, "{}", &attestation, &err),
              err);
    return 0;
}

static int tear_down(void **state) {
    dstack_secret_free(key);
    dstack_attestation_free(attestation);
    return 0;
}

static const char *const names[] = {"a.example.com", "b.example.com"};

static void build(dstack_buf *raw, dstack_buf *signature) {
    dstack_csr_spec spec = {.org = "Org",
                            .subject = "subject",
                            .alt_names = names,
                            .alt_name_count = 2,
                            .client_auth = true,
                            .with_quote = true,
                            .has_not_after = true,
                            .not_after = 4102444800};
    dstack_error err = {0};
    assert_ok(
        dstack_csr_build(&spec, key, attestation, DSTACK_ATTESTATION_V1, raw, signature, &err),
        err);
}

static void a_request_goes_in_and_out(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    DSTACK_AUTO(csr) dstack_csr *csr = NULL;
    build(&raw, &signature);
    dstack_error err = {0};
    assert_ok(dstack_csr_parse(2, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, &err), err);
    const dstack_csr_spec *spec = dstack_csr_get(csr);
    assert_string_equal(spec->org, "Org");
    assert_string_equal(spec->subject, "subject");
    assert_int_equal(spec->alt_name_count, 2);
    assert_string_equal(spec->alt_names[1], "b.example.com");
    assert_false(spec->server_auth);
    assert_true(spec->client_auth);
    assert_true(spec->with_quote);
    assert_false(spec->with_app_info);
    assert_false(spec->has_not_before);
    assert_true(spec->has_not_after);
    assert_int_equal(spec->not_after, 4102444800);
    assert_int_equal(dstack_csr_spki(csr).len, 91);
    assert_memory_equal(dstack_attestation_report_data(dstack_csr_attestation(csr)).data,
                        dstack_attestation_report_data(attestation).data, 64);
}

static void a_changed_request_is_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    build(&raw, &signature);
    for (size_t i = 0; i < raw.len; i += 7) {
        DSTACK_AUTO(csr) dstack_csr *csr = NULL;
        raw.data[i] ^= 1;
        assert_true(dstack_csr_parse(2, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, NULL) <
                    0);
        assert_null(csr);
        raw.data[i] ^= 1;
    }
    for (size_t len = 0; len < raw.len; len += 11) {
        DSTACK_AUTO(csr) dstack_csr *csr = NULL;
        assert_true(
            dstack_csr_parse(2, bytes_of(raw.data, len), bytes_of_buf(&signature), &csr, NULL) < 0);
    }
    DSTACK_AUTO(csr) dstack_csr *csr = NULL;
    assert_int_equal(dstack_csr_parse(3, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, NULL),
                     DSTACK_E_UNSUPPORTED);
}

static void evidence_that_is_bound_to_another_key_is_refused_when_building(void **state) {
    dstack_secret *other = NULL;
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&other, &err), err);
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    dstack_csr_spec spec = {.subject = "x"};
    assert_int_equal(
        dstack_csr_build(&spec, other, attestation, DSTACK_ATTESTATION_V1, &raw, &signature, NULL),
        DSTACK_E_ARGUMENT);
    assert_int_equal(raw.len, 0);
    dstack_secret_free(other);
}

static void the_reference_request_reads_as_recorded(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    load_file(SHARED_DATA "attestation/ratls/csr-v2.bin", &raw);
    load_file(SHARED_DATA "attestation/ratls/csr-v2.sig", &signature);
    DSTACK_AUTO(csr) dstack_csr *csr = NULL;
    dstack_error err = {0};
    assert_ok(dstack_csr_parse(2, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, &err), err);
    const dstack_csr_spec *spec = dstack_csr_get(csr);
    assert_string_equal(spec->org, "Test Org");
    assert_string_equal(spec->subject, "csr.example.com");
    assert_int_equal(spec->alt_name_count, 1);
    assert_true(spec->server_auth && spec->client_auth && spec->with_quote && spec->with_app_info);
    uint8_t bound[64];
    assert_ok(dstack_cert_report_data(dstack_csr_spki(csr), bound, &err), err);
    assert_memory_equal(dstack_attestation_report_data(dstack_csr_attestation(csr)).data, bound,
                        64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_in_and_out),
        cmocka_unit_test(a_changed_request_is_refused),
        cmocka_unit_test(evidence_that_is_bound_to_another_key_is_refused_when_building),
        cmocka_unit_test(the_reference_request_reads_as_recorded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
