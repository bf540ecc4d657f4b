/* The parts beneath a verification: JSON reading, dates, merging statuses, the SGX extension,
 * policy. */
#include "made.h"

#include "verify/dcap/date.h"
#include "verify/dcap/json_in.h"
#include "verify/dcap/pck.h"
#include "verify/dcap/policy.h"
#include "verify/dcap/tcb.h"
#include "x509/der.h"

/* ---- JSON ---- */

/* Reads {"a": uint, "b": string} with both required; 0 when it is as it must be. */
static const char *read_pair(const char *text, uint64_t *a, dstack_buf *b) {
    static const char *const names[] = {"a", "b"};
    json_members members = {.names = names, .count = 2, .required = 3};
    DSTACK_AUTO(buf) dstack_buf texts = {0};
    json_in in = json_in_init(bytes_of_str(text), &texts);
    json_in_object(&in);
    for (int i; (i = json_in_member(&in, &members)) >= 0;) {
        if (i == 0) {
            *a = json_in_uint(&in, UINT64_MAX);
        } else {
            buf_reset(b);
            buf_put_bytes(b, json_in_string(&in));
        }
    }
    (void)json_in_end(&in);
    return in.fault;
}

static void known_members_are_read_and_unknown_ones_skipped_at_any_place(void **state) {
    static const char *const texts[] = {
        "{\"a\":7,\"b\":\"x\"}",
        " { \"b\" : \"x\" , \"a\" : 7 } \r\n\t",
        "{\"z\":[[],{},{\"a\":1,\"a\":2},-0.5e+3,true,false,null],\"a\":7,\"z\":1,\"b\":\"x\"}",
        "{\"\\u0061\":7,\"b\":\"\\u0078\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        DSTACK_AUTO(buf) dstack_buf b = {0};
        uint64_t a = 0;
        const char *fault = read_pair(texts[i], &a, &b);
        if (fault != NULL) {
            fail_msg("%s: %s", texts[i], fault);
        }
        assert_int_equal(a, 7);
        assert_string_equal(buf_text(&b), "x");
    }
}

static void malformed_json_is_refused(void **state) {
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{\"a\":7}",
        "{\"a\":7,\"b\":\"x\",\"a\":7}",
        "{\"a\":7,\"b\":\"x\"}x",
        "{\"a\":7,\"b\":\"x\",}",
        "{\"a\":7 \"b\":\"x\"}",
        "{\"a\":7.0,\"b\":\"x\"}",
        "{\"a\":7e0,\"b\":\"x\"}",
        "{\"a\":07,\"b\":\"x\"}",
        "{\"a\":-7,\"b\":\"x\"}",
        "{\"a\":\"7\",\"b\":\"x\"}",
        "{\"a\":18446744073709551616,\"b\":\"x\"}",
        "{\"a\":7,\"b\":x}",
        "{\"a\":7,\"b\":\"x",
        "{\"a\":7,\"b\":\"\\x\"}",
        "{\"a\":7,\"b\":\"\\ud800\"}",
        "{\"a\":7,\"b\":\"\\u00g0\"}",
        "{\"a\":7,\"b\":\"\n\"}",
        "{\"a\":7,\"b\":\"x\",\"z\":[1 2]}",
        "{\"a\":7,\"b\":\"x\",\"z\":[1,]}",
        "{\"a\":7,\"b\":\"x\",\"z\":{1:2}}",
        "{\"a\":7,\"b\":\"x\",\"z\":[}]}",
        "{\"a\":7,\"b\":\"x\",\"z\":tru}",
        "{\"a\":7,\"b\":\"x\",\"z\":1.}",
        "{a:7,\"b\":\"x\"}",
        "\xef\xbb\xbf{\"a\":7,\"b\":\"x\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        DSTACK_AUTO(buf) dstack_buf b = {0};
        uint64_t a = 0;
        if (read_pair(texts[i], &a, &b) == NULL) {
            fail_msg("taken: %s", texts[i]);
        }
    }
}

static void nesting_beyond_32_is_refused_without_recursion(void **state) {
    for (int depth = 31; depth <= 32; depth++) { /* the object itself is one level */
        DSTACK_AUTO(buf) dstack_buf text = {0}, b = {0};
        uint64_t a = 0;
        buf_put_str(&text, "{\"a\":7,\"b\":\"x\",\"z\":");
        for (int i = 0; i < depth; i++) {
            buf_put_str(&text, "[");
        }
        for (int i = 0; i < depth; i++) {
            buf_put_str(&text, "]");
        }
        buf_put_str(&text, "}");
        assert_int_equal(read_pair(buf_text(&text), &a, &b) == NULL, depth == 31);
    }
}

static void the_largest_number_and_every_escape_are_read(void **state) {
    DSTACK_AUTO(buf) dstack_buf b = {0};
    uint64_t a = 0;
    assert_null(read_pair("{\"a\":18446744073709551615,\"b\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4"
                          "\\u20ac\\ud83d\\ude00\"}",
                          &a, &b));
    assert_true(a == UINT64_MAX);
    assert_string_equal(buf_text(&b), "\"\\/\b\f\n\r\t\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

/* ---- dates ---- */

static void dates_are_rfc_3339_with_a_zone_from_1970_on(void **state) {
    static const struct {
        const char *text;
        int64_t seconds; /* -1: refused */
    } dates[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-01T00:00:00Z", 1767225600},
        {"2026-01-01t00:00:00z", 1767225600},
        {"2026-01-01 00:00:00+00:00", 1767225600},
        {"2026-01-01T00:00:00.999Z", 1767225600},
        {"2026-01-01T01:00:00+01:00", 1767225600},
        {"2025-12-31T18:30:00-05:30", 1767225600},
        {"2024-02-29T12:00:00Z", 1709208000},
        {"1969-12-31T23:59:59Z", -1},
        {"2026-01-01T00:00:00", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2025-02-29T00:00:00Z", -1},
        {"2026-01-32T00:00:00Z", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:60:00Z", -1},
        {"2026-01-01T00:00:00.Z", -1},
        {"2026-01-01T00:00:00Zx", -1},
        {"26-01-01T00:00:00Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        int64_t seconds = -1;
        bool taken = dcap_date_parse(bytes_of_str(dates[i].text), &seconds);
        if (taken != (dates[i].seconds >= 0) || seconds != dates[i].seconds) {
            fail_msg("%s gives %lld", dates[i].text, (long long)seconds);
        }
    }
}

/* ---- statuses ---- */

static void statuses_merge_to_the_union_of_what_they_say(void **state) {
    /* rows and columns in the order of dstack_tcb_status; the published convergence table */
    static const uint8_t want[7][7] = {
        {0, 1, 2, 3, 4, 5, 6}, {1, 1, 3, 3, 4, 5, 6}, {2, 3, 2, 3, 5, 5, 6}, {3, 3, 3, 3, 5, 5, 6},
        {4, 4, 5, 5, 4, 5, 6}, {5, 5, 5, 5, 5, 5, 6}, {6, 6, 6, 6, 6, 6, 6},
    };
    for (int a = 0; a < 7; a++) {
        for (int b = 0; b < 7; b++) {
            assert_int_equal(dcap_status_merge((dstack_tcb_status)a, (dstack_tcb_status)b),
                             want[a][b]);
        }
    }
}

/* ---- SGX extension ---- */

/* The extension of the made PCK certificate, from the fuzzing seeds. */
static void load_extension(dstack_buf *out) {
    load_file("tests/fuzz/corpus/dcap_pck/extension", out);
}

static void the_sgx_extension_gives_every_value(void **state) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    dstack_pck_info pck;
    dstack_error err = {0};
    load_extension(&der);
    assert_ok(dcap_pck_parse_extension(&pck, bytes_of_buf(&der), &err), err);
    assert_hex(bytes_of(pck.ppid, 16), "77777777777777777777777777777777");
    assert_hex(bytes_of(pck.fmspc, 6), "00906ea10000");
    assert_hex(bytes_of(pck.components, 16), "03030202040100050000000000000000");
    assert_hex(bytes_of(pck.cpu_svn, 16), "03030202040100050000000000000000");
    assert_int_equal(pck.pce_svn, 11);
    assert_int_equal(pck.sgx_type, 1);
    assert_false(pck.has_platform_instance_id);
    assert_int_equal(pck.dynamic_platform, DSTACK_PCK_FLAG_UNDEFINED);
}

static void an_sgx_extension_cut_or_lengthened_is_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    dstack_pck_info pck;
    load_extension(&der);
    for (size_t len = 0; len < der.len; len++) {
        assert_int_equal(dcap_pck_parse_extension(&pck, bytes_of(der.data, len), NULL),
                         DSTACK_E_DCAP_PCK_EXTENSION);
    }
    buf_put_u8(&der, 0);
    assert_int_equal(dcap_pck_parse_extension(&pck, bytes_of_buf(&der), NULL),
                     DSTACK_E_DCAP_PCK_EXTENSION);
}

/* ---- policy ---- */

static dstack_status decide(const char *text, const dstack_quote_report *report, int64_t now) {
    DSTACK_AUTO(policy) dstack_policy *policy = NULL;
    dstack_error err = {0};
    int rc = dstack_policy_parse(&policy, bytes_of_str(text), &err);
    return (dstack_status)(rc != 0 ? rc : dstack_policy_decide(policy, report, now, &err));
}

static void each_rule_of_a_policy_refuses_with_its_own_status(void **state) {
    dstack_quote_report r = {
        .status = DSTACK_TCB_OUT_OF_DATE,
        .platform_status = DSTACK_TCB_OUT_OF_DATE,
        .qe_status = DSTACK_TCB_OUT_OF_DATE,
        .advisories = {1, {"INTEL-SA-00001"}},
        .pck = {.sgx_type = 1,
                .dynamic_platform = DSTACK_PCK_FLAG_TRUE,
                .cached_keys = DSTACK_PCK_FLAG_TRUE,
                .smt_enabled = DSTACK_PCK_FLAG_TRUE},
        .tcb_eval_data_number = 17,
        .has_platform_tcb_date = true,
        .has_qe_tcb_date = true,
        .platform_tcb_date = 1000,
        .qe_tcb_date = 1000,
        .earliest_expiration_date = 2000,
        .body_type = DSTACK_QUOTE_BODY_TD10,
    };
    dstack_td_report *td = (dstack_td_report *)(void *)r.body;
    td->td_attributes[3] = 0x10;
    td->xfam[0] = 0x03;
#define A "{\"allowed_statuses\":[\"OutOfDate\"]"
#define B A ",\"platform_grace_period_secs\":500"
#define C B ",\"qe_grace_period_secs\":18446744073709551615"
#define D C ",\"allow_dynamic_platform\":true"
#define E D ",\"allow_cached_keys\":true"
#define F E ",\"allow_smt\":true"
    static const struct {
        const char *text;
        dstack_status status;
    } rules[] = {
        {"{}", DSTACK_E_DCAP_POLICY_STATUS},
        {"{\"allowed_statuses\":[]}", DSTACK_E_DCAP_POLICY_STATUS},
        {"{\"platform_grace_period_secs\":500}", DSTACK_E_DCAP_POLICY_STATUS},
        {A "}", DSTACK_E_DCAP_POLICY_PLATFORM_AGE},
        {A ",\"platform_grace_period_secs\":499}", DSTACK_E_DCAP_POLICY_PLATFORM_AGE},
        {B "}", DSTACK_E_DCAP_POLICY_QE_AGE},
        {C ",\"rejected_advisory_ids\":[\"intel-sa-00001\"]}", DSTACK_E_DCAP_POLICY_ADVISORY},
        {C ",\"min_tcb_eval_data_number\":18}", DSTACK_E_DCAP_POLICY_EVAL_NUMBER},
        {C "}", DSTACK_E_DCAP_POLICY_DYNAMIC_PLATFORM},
        {D "}", DSTACK_E_DCAP_POLICY_CACHED_KEYS},
        {E "}", DSTACK_E_DCAP_POLICY_SMT},
        {F ",\"accepted_sgx_types\":[0,2]}", DSTACK_E_DCAP_POLICY_SGX_TYPE},
        {F ",\"accepted_sgx_types\":[1]}", DSTACK_OK},
        {F ",\"accepted_sgx_types\":null,\"min_tcb_eval_data_number\":17}", DSTACK_OK},
        {F ",\"required_td_attributes\":\"0000001000000000\"}", DSTACK_OK},
        {F ",\"required_td_attributes\":\"0000001000000080\"}", DSTACK_E_DCAP_POLICY_ATTRIBUTES},
        {F ",\"forbidden_td_attributes\":\"0000000000000080\"}", DSTACK_OK},
        {F ",\"forbidden_td_attributes\":\"0000001000000000\"}", DSTACK_E_DCAP_POLICY_ATTRIBUTES},
        {F ",\"required_xfam\":\"0300000000000000\",\"forbidden_xfam\":\"0000060000000000\"}",
         DSTACK_OK},
        {F ",\"required_xfam\":\"0300060000000000\"}", DSTACK_E_DCAP_POLICY_ATTRIBUTES},
        {F ",\"forbidden_xfam\":\"0200000000000000\"}", DSTACK_E_DCAP_POLICY_ATTRIBUTES},
        {"{\"required_xfam\":\"03\"}", DSTACK_E_DCAP_POLICY_FORMAT},
        {"{\"collateral_grace_period_secs\":1}", DSTACK_E_DCAP_POLICY_FORMAT},
        {"{\"allowed_statuses\":[\"Fine\"]}", DSTACK_E_DCAP_POLICY_FORMAT},
        {"{\"allow_smt\":1}", DSTACK_E_DCAP_POLICY_FORMAT},
        {"{\"accepted_sgx_types\":[256]}", DSTACK_E_DCAP_POLICY_FORMAT},
        {"[]", DSTACK_E_DCAP_POLICY_FORMAT},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        dstack_status have = decide(rules[i].text, &r, 1500);
        if (have != rules[i].status) {
            fail_msg("%s gives %s", rules[i].text, dstack_status_name(have));
        }
    }
    assert_int_equal(decide(F "}", &r, 2001), DSTACK_E_DCAP_POLICY_COLLATERAL);
    r.status = DSTACK_TCB_REVOKED;
    assert_int_equal(decide("{\"allowed_statuses\":[\"Revoked\"]}", &r, 0),
                     DSTACK_E_DCAP_POLICY_STATUS);
}

/* ---- collateral ---- */

static void a_bundle_lacking_any_member_is_refused_and_a_null_chain_is_none(void **state) {
    DSTACK_AUTO(json) json_t *bundle = load_json("tests/fuzz/corpus/dcap_collateral/tdx");
    DSTACK_AUTO(json) json_t *whole = json_copy(bundle);
    const char *key;
    json_t *value;
    json_object_foreach(whole, key, value) {
        json_t *replacements[] = {NULL, json_null(), json_integer(1)};
        for (size_t i = 0; i < 3; i++) {
            DSTACK_AUTO(buf) dstack_buf text = {0};
            DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
            dstack_error err = {0};
            json_object_update(bundle, whole);
            if (replacements[i] == NULL) {
                json_object_del(bundle, key);
            } else {
                json_object_set_new(bundle, key, replacements[i]);
            }
            assert_ok(json_write(bundle, false, &text, &err), err);
            int rc = dstack_collateral_parse(&c, bytes_of_buf(&text), &err);
            bool optional = strcmp(key, "pck_certificate_chain") == 0 && i < 2;
            assert_int_equal(rc, optional ? 0 : DSTACK_E_DCAP_COLLATERAL_FORMAT);
        }
    }
}

static void a_bundle_expires_with_its_first_part(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    int64_t expires;
    dstack_error err = {0};
    assert_ok(dstack_collateral_expires(m.collateral, &expires, &err), err);
    assert_int_equal(expires, s.pck_crl.until);
    made_clear(&m);
    s.texts_until = MADE_NOW + 5;
    made_build(&s, &m);
    assert_ok(dstack_collateral_expires(m.collateral, &expires, &err), err);
    assert_int_equal(expires, MADE_NOW + 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_members_are_read_and_unknown_ones_skipped_at_any_place),
        cmocka_unit_test(malformed_json_is_refused),
        cmocka_unit_test(nesting_beyond_32_is_refused_without_recursion),
        cmocka_unit_test(the_largest_number_and_every_escape_are_read),
        cmocka_unit_test(dates_are_rfc_3339_with_a_zone_from_1970_on),
        cmocka_unit_test(statuses_merge_to_the_union_of_what_they_say),
        cmocka_unit_test(the_sgx_extension_gives_every_value),
        cmocka_unit_test(an_sgx_extension_cut_or_lengthened_is_refused),
        cmocka_unit_test(each_rule_of_a_policy_refuses_with_its_own_status),
        cmocka_unit_test(a_bundle_lacking_any_member_is_refused_and_a_null_chain_is_none),
        cmocka_unit_test(a_bundle_expires_with_its_first_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
