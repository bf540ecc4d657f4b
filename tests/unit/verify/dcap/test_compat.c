/* Rules that the reference verifier lacks: each refuses, can be waived alone, and the report says
 * so. */
#include "made.h"

#include "x509/cert.h"

typedef struct breach {
    uint32_t rule;
    dstack_status status;
    void (*spoil)(made_spec *s);
} breach;

#define SPOIL(name, statement)                                                                     \
    static void name(made_spec *s) {                                                               \
        statement;                                                                                 \
    }
#define EDIT(member, from, to) (s->member[0] = (from), s->member[1] = (to))

SPOIL(nothing, (void)s)
SPOIL(old_root, s->certs[MADE_ROOT].until = MADE_NOW - 1)
SPOIL(bit_39, s->td.td_attributes[4] = 0x80)
SPOIL(early_root_crl, s->root_crl.from = MADE_NOW + 1)
SPOIL(early_pck_crl, s->pck_crl.from = MADE_NOW + 1)
SPOIL(swapped_lists, s->swap_lists = 1)
SPOIL(short_level, EDIT(tcb_edits, "\"pcesvn\":11", "\"pcesvn\":12");
      s->tcb_edits[2] = "\"tdxtcbcomponents\":[{\"svn\":5},";
      s->tcb_edits[3] = "\"tdxtcbcomponents\":[")
SPOIL(no_identities,
      EDIT(tcb_edits, "\"tdxModuleIdentities\":[", "\"tdxModuleIdentities\":[],\"x\":["))
SPOIL(signer_name, s->certs[MADE_SIGNER].name = "Made Something")
SPOIL(leaf_name, s->certs[MADE_LEAF].name = "Made Leaf")
SPOIL(ca_may_not_sign, s->certs[MADE_CA].key_usage = X509_KU_CRL_SIGN)
SPOIL(unmasked, EDIT(qe_edits, "\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\"",
                     "\"miscselect\":\"01000000\",\"miscselectMask\":\"FEFFFFFF\""))
SPOIL(other_pce, EDIT(tcb_edits, "\"pceId\":\"0000\"", "\"pceId\":\"0001\""))
SPOIL(other_type, EDIT(tcb_edits, "\"tcbType\":0", "\"tcbType\":1"))
SPOIL(version_4, EDIT(tcb_edits, "\"version\":3", "\"version\":4"))

static const breach breaches[] = {
    {0, 0, nothing},
    {DSTACK_COMPAT_ANCHOR_DATES, DSTACK_E_DCAP_CERT_EXPIRED, old_root},
    {DSTACK_COMPAT_TD_ATTRIBUTES, DSTACK_E_DCAP_TD_ATTRIBUTES, bit_39},
    {DSTACK_COMPAT_CRL_NOT_YET_VALID, DSTACK_E_DCAP_CRL_NOT_YET_VALID, early_root_crl},
    {DSTACK_COMPAT_CRL_NOT_YET_VALID, DSTACK_E_DCAP_CRL_NOT_YET_VALID, early_pck_crl},
    {DSTACK_COMPAT_CRL_SWAPPED, DSTACK_E_DCAP_CRL_NOT_FOUND, swapped_lists},
    {DSTACK_COMPAT_COMPONENT_COUNT, DSTACK_E_DCAP_TCB_COMPONENT_COUNT, short_level},
    {DSTACK_COMPAT_NO_IDENTITIES, DSTACK_E_DCAP_TDX_MODULE, no_identities},
    {DSTACK_COMPAT_CERTIFICATE_NAMES, DSTACK_E_DCAP_CERT_NAME, signer_name},
    {DSTACK_COMPAT_CERTIFICATE_NAMES, DSTACK_E_DCAP_CERT_NAME, leaf_name},
    {DSTACK_COMPAT_KEY_USAGE, DSTACK_E_DCAP_CERT_USAGE, ca_may_not_sign},
    {DSTACK_COMPAT_MASKED_IDENTITY, DSTACK_E_DCAP_QE_MISCSELECT, unmasked},
    {DSTACK_COMPAT_TCB_INFO_KIND, DSTACK_E_DCAP_PCEID_MISMATCH, other_pce},
    {DSTACK_COMPAT_TCB_INFO_KIND, DSTACK_E_DCAP_TCB_INFO_FORMAT, other_type},
    {DSTACK_COMPAT_TCB_INFO_KIND, DSTACK_E_DCAP_TCB_INFO_FORMAT, version_4},
};

/* Cold and warm. */
static void verify_twice(const made *m, uint32_t compat, dstack_status want, uint32_t used) {
    const dstack_verifier_options options = {.compat = compat, .names = DSTACK_NAMES_ENFORCE};
    dstack_verifier *v = made_verifier(m, options);
    for (int round = 0; round < 2; round++) {
        dstack_quote_report report = {0};
        dstack_error err = {0};
        int rc = dstack_verifier_check_with(v, bytes_of_buf(&m->quote), m->collateral, NULL,
                                            MADE_NOW, &report, &err);
        if (rc != (int)want) {
            print_error("waiving %x: %s\n", compat, err.message);
        }
        assert_int_equal(rc, want);
        if (rc == 0) {
            assert_int_equal(report.compat_used, used);
        }
    }
    dstack_verifier_free(v);
}

static void every_rule_refuses_unless_waived_and_the_report_names_it(void **state) {
    for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++) {
        DSTACK_AUTO(made) made m;
        made_spec spec;
        const breach *b = &breaches[i];
        made_spec_init(&spec);
        b->spoil(&spec);
        made_build(&spec, &m);
        verify_twice(&m, 0, b->status, 0);
        verify_twice(&m, DSTACK_COMPAT_ALL & ~b->rule, b->status, 0);
        verify_twice(&m, b->rule, 0, b->rule);
        verify_twice(&m, DSTACK_COMPAT_ALL, 0, b->rule);
    }
}

static void what_stands_behind_the_quote_can_be_waived(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    buf_put_u8(&m.quote, 0);
    verify_twice(&m, 0, 0, 0);
    buf_put_u8(&m.quote, 1);
    verify_twice(&m, DSTACK_COMPAT_ALL & ~DSTACK_COMPAT_QUOTE_SLACK, DSTACK_E_DCAP_QUOTE_FORMAT, 0);
    verify_twice(&m, DSTACK_COMPAT_ALL, 0, DSTACK_COMPAT_QUOTE_SLACK);
}

static void a_longer_signature_can_be_waived(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    dstack_collateral_parts parts;
    dstack_error err = {0};
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    dstack_collateral_get(m.collateral, &parts);
    buf_put(&signature, parts.tcb_info_signature.data, 32);
    buf_put_u8(&signature, 0);
    buf_put(&signature, parts.tcb_info_signature.data + 32, 32);
    parts.tcb_info_signature = bytes_of_buf(&signature);
    dstack_collateral *longer = NULL;
    assert_ok(dstack_collateral_new(&longer, &parts, &err), err);
    dstack_collateral_free(m.collateral);
    m.collateral = longer;
    verify_twice(&m, DSTACK_COMPAT_ALL & ~DSTACK_COMPAT_SIGNATURE_SIZE,
                 DSTACK_E_DCAP_TCB_INFO_SIGNATURE, 0);
    verify_twice(&m, DSTACK_COMPAT_ALL, 0, DSTACK_COMPAT_SIGNATURE_SIZE);
}

static void rules_have_names(void **state) {
    for (unsigned i = 0; i < 12; i++) {
        assert_non_null(dstack_compat_rule_name(i));
    }
    assert_null(dstack_compat_rule_name(12));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_refuses_unless_waived_and_the_report_names_it),
        cmocka_unit_test(what_stands_behind_the_quote_can_be_waived),
        cmocka_unit_test(a_longer_signature_can_be_waived),
        cmocka_unit_test(rules_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
