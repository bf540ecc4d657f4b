/* Conditions of the form of quotes, chains and lists, each with its own status. */
#include "made.h"

#include "verify/dcap/date.h"

#define V4_INNER_TYPE 1252 /* authentication data being 32 bytes */

typedef struct subject {
    made m;
    dstack_collateral_parts parts;
    dstack_buf text; /* what a spoiled part points to */
} subject;

static void subject_make(subject *s, uint16_t version) {
    made_spec spec;
    *s = (subject){0};
    made_spec_init(&spec);
    spec.version = version;
    made_build(&spec, &s->m);
    dstack_collateral_get(s->m.collateral, &s->parts);
}

/* Verifies with the parts as they are now. */
static void expect(subject *s, int status) {
    dstack_collateral *c = NULL;
    dstack_error err = {0};
    dstack_verifier *v = made_verifier(&s->m, (dstack_verifier_options){0});
    assert_ok(dstack_collateral_new(&c, &s->parts, &err), err);
    for (int round = 0; round < 2; round++) {
        int rc =
            dstack_verifier_check_with(v, bytes_of_buf(&s->m.quote), c, NULL, MADE_NOW, NULL, &err);
        assert_string_equal(dstack_status_name((dstack_status)rc),
                            dstack_status_name((dstack_status)status));
    }
    dstack_collateral_free(c);
    dstack_verifier_free(v);
}

static void subject_clear(subject *s) {
    made_clear(&s->m);
    dstack_buf_clear(&s->text);
}

/* One byte of the quote. */
static void with_byte(uint16_t version, size_t at, uint8_t value, int status) {
    subject s;
    subject_make(&s, version);
    expect(&s, 0);
    s.m.quote.data[at] = value;
    expect(&s, status);
    subject_clear(&s);
}

static void sec_32_another_quoting_enclave_vendor_is_refused(void **state) {
    with_byte(4, 12, 0, DSTACK_E_DCAP_QE_VENDOR);
}

static void sec_32_another_kind_of_attestation_key_is_refused(void **state) {
    with_byte(4, 2, 3, DSTACK_E_DCAP_ATT_KEY_TYPE);
}

static void sec_32_an_unknown_tee_is_refused(void **state) {
    with_byte(5, 4, 0x82, DSTACK_E_DCAP_TEE_TYPE);
    with_byte(5, 7, 0x01, DSTACK_E_DCAP_TEE_TYPE); /* all 32 bits count */
}

static void sec_32_an_sgx_quote_of_version_5_is_refused(void **state) {
    with_byte(5, 4, 0, DSTACK_E_DCAP_TEE_VERSION);
}

/* Only a chain says which key signed; every other type needs one from the collateral. */
static void sec_32_certification_data_without_a_chain_need_one_from_the_collateral(void **state) {
    for (uint8_t type = 1; type <= 7; type++) {
        subject s;
        subject_make(&s, 4);
        dstack_quote q;
        dstack_error err = {0};
        assert_ok(dstack_quote_parse(&q, bytes_of_buf(&s.m.quote), &err), err);
        DSTACK_AUTO(buf) dstack_buf chain = {0};
        buf_put_bytes(&chain, q.cert_data);
        s.m.quote.data[V4_INNER_TYPE] = type;
        s.parts.has_pck_certificate_chain = false;
        expect(&s, type == DSTACK_QUOTE_CERT_PCK_CHAIN ? 0 : DSTACK_E_DCAP_CERT_DATA_TYPE);
        s.parts.has_pck_certificate_chain = true;
        s.parts.pck_certificate_chain = bytes_of_buf(&chain);
        expect(&s, 0);
        subject_clear(&s);
    }
}

static dstack_bytes first_certificate(dstack_bytes pem) {
    static const char end[] = "-----END CERTIFICATE-----\n";
    const uint8_t *at = memmem(pem.data, pem.len, end, strlen(end));
    assert_non_null(at);
    return bytes_of(pem.data, (size_t)(at - pem.data) + strlen(end));
}

static void sec_32_a_chain_without_its_ca_or_with_a_broken_one_is_refused(void **state) {
    subject s;
    subject_make(&s, 4);
    dstack_quote q;
    dstack_error err = {0};
    assert_ok(dstack_quote_parse(&q, bytes_of_buf(&s.m.quote), &err), err);
    s.parts.has_pck_certificate_chain = true;
    s.parts.pck_certificate_chain = first_certificate(q.cert_data);
    expect(&s, DSTACK_E_DCAP_CERT_UNKNOWN_ISSUER);
    buf_put_bytes(&s.text, first_certificate(q.cert_data));
    buf_put_str(&s.text, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    s.parts.pck_certificate_chain = bytes_of_buf(&s.text);
    expect(&s, DSTACK_E_DCAP_CERT_FORMAT);
    s.parts.pck_certificate_chain = bytes_of_str("");
    expect(&s, DSTACK_E_DCAP_PCK_CHAIN_FORMAT);
    subject_clear(&s);
}

static void sec_32_lists_and_signers_that_cannot_be_read_are_refused(void **state) {
    subject s;
    subject_make(&s, 4);
    const dstack_collateral_parts sound = s.parts;
    s.parts.pck_crl = bytes_of_str("0");
    expect(&s, DSTACK_E_DCAP_CRL_FORMAT);
    s.parts = sound;
    s.parts.root_ca_crl = bytes_of(sound.root_ca_crl.data, sound.root_ca_crl.len - 1);
    expect(&s, DSTACK_E_DCAP_CRL_FORMAT);
    s.parts = sound;
    s.parts.tcb_info_issuer_chain = bytes_of_str("");
    expect(&s, DSTACK_E_DCAP_TCB_INFO_CHAIN);
    s.parts = sound;
    s.parts.qe_identity_issuer_chain = bytes_of_str("no certificate");
    expect(&s, DSTACK_E_DCAP_QE_IDENTITY_CHAIN);
    subject_clear(&s);
}

/* The QE identity has dates of its own. */
static void sec_32_a_qe_identity_outside_its_dates_is_refused(void **state) {
    for (int early = 0; early < 2; early++) {
        DSTACK_AUTO(made) made m;
        char from[32], to[32];
        made_spec spec;
        made_spec_init(&spec);
        dcap_date_text(early ? spec.texts_from : spec.texts_until, from);
        dcap_date_text(early ? MADE_NOW + 1 : MADE_NOW - 1, to);
        spec.qe_edits[0] = from;
        spec.qe_edits[1] = to;
        made_build(&spec, &m);
        dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
        assert_int_equal(dstack_verifier_check_with(v, bytes_of_buf(&m.quote), m.collateral, NULL,
                                                    MADE_NOW, NULL, NULL),
                         early ? DSTACK_E_DCAP_QE_IDENTITY_NOT_YET_VALID
                               : DSTACK_E_DCAP_QE_IDENTITY_EXPIRED);
        dstack_verifier_free(v);
    }
}

static void sec_32_name_constraints_of_a_ca_hold_in_every_mode(void **state) {
    static const struct {
        enum made_constraints constraints;
        int rc;
    } cases[] = {{MADE_DNS_ONLY, 0},
                 {MADE_OTHER_DIRECTORY, DSTACK_E_DCAP_CERT_CONSTRAINTS},
                 {MADE_UNKNOWN_FORM, DSTACK_E_DCAP_CERT_CONSTRAINTS}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(made) made m;
        made_spec spec;
        dstack_error err = {0};
        made_spec_init(&spec);
        spec.name_constraints = cases[i].constraints;
        made_build(&spec, &m);
        dstack_verifier *v =
            made_verifier(&m, (dstack_verifier_options){.compat = DSTACK_COMPAT_ALL});
        int rc = dstack_verifier_check_with(v, bytes_of_buf(&m.quote), m.collateral, NULL, MADE_NOW,
                                            NULL, &err);
        if (rc != cases[i].rc || (rc != 0 && strstr(err.message, "name") == NULL)) {
            fail_msg("%zu: %d %s", i, rc, err.message);
        }
        dstack_verifier_free(v);
    }
}

static void a_root_that_is_no_self_issued_certificate_is_refused(void **state) {
    subject s;
    subject_make(&s, 4);
    dstack_verifier *v = NULL;
    dstack_buf *root = &s.m.root;
    buf_put_u8(root, 0); /* bytes after it */
    for (int i = 0; i < 2; i++) {
        const dstack_trust_root anchor = {"root", bytes_of_buf(root)};
        const dstack_verifier_options options = {
            .roots = &anchor, .root_count = 1, .no_builtin_root = true};
        assert_int_equal(dstack_verifier_new(&v, &options, NULL), DSTACK_E_DCAP_ROOT_CA_FORMAT);
        root->len = 10;
    }
    subject_clear(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_32_another_quoting_enclave_vendor_is_refused),
        cmocka_unit_test(sec_32_another_kind_of_attestation_key_is_refused),
        cmocka_unit_test(sec_32_an_unknown_tee_is_refused),
        cmocka_unit_test(sec_32_an_sgx_quote_of_version_5_is_refused),
        cmocka_unit_test(sec_32_certification_data_without_a_chain_need_one_from_the_collateral),
        cmocka_unit_test(sec_32_a_chain_without_its_ca_or_with_a_broken_one_is_refused),
        cmocka_unit_test(sec_32_lists_and_signers_that_cannot_be_read_are_refused),
        cmocka_unit_test(sec_32_a_qe_identity_outside_its_dates_is_refused),
        cmocka_unit_test(sec_32_name_constraints_of_a_ca_hold_in_every_mode),
        cmocka_unit_test(a_root_that_is_no_self_issued_certificate_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
