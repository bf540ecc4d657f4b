/* SEV-SNP reports made here: what passes, and that every bent part is refused. */
#include "check.h"

#include "made_snp.h"
#include "verify/snp/snp.h"

typedef void (*bend)(made_snp *m);

/* Bends before signing, so that the signature holds and only the rule itself can refuse. */
static int verify_bent(bend how, const dstack_snp_options *options, dstack_error *err) {
    made_snp m;
    dstack_snp_verdict verdict;
    made_snp_init(&m);
    if (how != NULL) {
        how(&m);
    }
    made_snp_build(&m);
    const int rc = made_snp_verify(&m, options, &verdict, err);
    made_snp_clear(&m);
    return rc;
}

static void refused(bend how, int status, const char *word) {
    dstack_error err = {0};
    const int rc = verify_bent(how, NULL, &err);
    if (rc != status || strstr(err.message, word) == NULL) {
        fail_msg("%s expected with \"%s\", not %s: %s", dstack_status_name((dstack_status)status),
                 word, dstack_status_name((dstack_status)rc), err.message);
    }
}

static void a_good_report_verifies_and_names_its_root(void **state) {
    (void)state;
    made_snp m;
    dstack_snp_verdict verdict;
    dstack_error err = {0};
    made_snp_init(&m);
    made_snp_build(&m);
    assert_ok(made_snp_verify(&m, NULL, &verdict, &err), err);
    assert_int_equal(verdict.product, DSTACK_SNP_MILAN);
    assert_int_equal(verdict.status, DSTACK_TCB_UP_TO_DATE);
    assert_string_equal(verdict.anchor.name, "pinned-ark-milan");
    assert_false(verdict.anchor.builtin);
    assert_int_equal(verdict.report.reported_tcb.microcode, 213);
    assert_int_equal(verdict.report.measurement[0], 0x33);
    made_snp_clear(&m);
}

static void every_flipped_byte_of_the_signed_part_is_refused(void **state) {
    (void)state;
    made_snp m;
    dstack_snp_verdict verdict;
    dstack_error err = {0};
    made_snp_init(&m);
    made_snp_build(&m);
    for (size_t i = 0; i < sizeof m.report; i += i < 0x330 ? 7 : 1) {
        m.report[i] ^= 0x10;
        assert_int_not_equal(made_snp_verify(&m, NULL, &verdict, &err), 0);
        m.report[i] ^= 0x10;
    }
    made_snp_clear(&m);
}

static void bend_debug(made_snp *m) {
    m->report[0x0a] |= 0x08;
}
static void bend_migration(made_snp *m) {
    m->report[0x0a] |= 0x04;
}
static void bend_vmpl(made_snp *m) {
    m->report[0x30] = 1;
}
static void bend_mask(made_snp *m) {
    m->report[0x48] = 2;
}
static void bend_vlek(made_snp *m) {
    m->report[0x48] = 4;
}
static void bend_smt(made_snp *m) {
    m->report[0x0a] = 0x02;
}
static void bend_rapl(made_snp *m) {
    m->report[0x0a] |= 0x80;
}
static void bend_hiding(made_snp *m) {
    m->report[0x0b] |= 0x01;
}

static void sec_a_debug_guest_is_refused_unless_asked_for(void **state) {
    (void)state;
    dstack_error err = {0};
    refused(bend_debug, DSTACK_E_REFUSED, "debug");
    const dstack_snp_options allow = {.allow_debug = true};
    assert_ok(verify_bent(bend_debug, &allow, &err), err);
}

static void sec_policy_and_platform_bits_are_judged(void **state) {
    (void)state;
    refused(bend_migration, DSTACK_E_REFUSED, "migration agent");
    refused(bend_vmpl, DSTACK_E_REFUSED, "vmpl0");
    refused(bend_mask, DSTACK_E_REFUSED, "masks");
    refused(bend_vlek, DSTACK_E_REFUSED, "vlek");
    refused(bend_smt, DSTACK_E_REFUSED, "SMT");
    refused(bend_rapl, DSTACK_E_REFUSED, "RAPL");
    refused(bend_hiding, DSTACK_E_REFUSED, "ciphertext hiding");
}

static void bend_spl(made_snp *m) {
    m->spl[3]--;
}
static void bend_chip(made_snp *m) {
    m->hardware_id[63] ^= 1;
}
static void bend_chip_zero(made_snp *m) {
    memset(m->report + 0x1a0, 0, 64);
    memset(m->hardware_id, 0, 64);
}

static void sec_the_vcek_must_be_this_chips_and_this_firmwares(void **state) {
    (void)state;
    refused(bend_spl, DSTACK_E_REFUSED, "another TCB");
    refused(bend_chip, DSTACK_E_REFUSED, "another chip");
    refused(bend_chip_zero, DSTACK_E_REFUSED, "masked");
}

static void bend_ask_not_ca(made_snp *m) {
    m->ask_not_ca = true;
}
static void bend_foreign_ask(made_snp *m) {
    m->foreign_ask = true;
}
static void bend_expired(made_snp *m) {
    m->vcek_until = MADE_SNP_NOW - 1;
}
static void bend_early(made_snp *m) {
    m->vcek_from = MADE_SNP_NOW + 1;
}
static void bend_revoked(made_snp *m) {
    m->revoke_ask = true;
    m->crl_until = MADE_SNP_NOW + 86400;
}
static void bend_old_crl(made_snp *m) {
    m->crl_until = MADE_SNP_NOW;
}
static void bend_good_crl(made_snp *m) {
    m->crl_until = MADE_SNP_NOW + 86400;
}

static void sec_chain_dates_and_revocation_are_checked(void **state) {
    (void)state;
    dstack_error err = {0};
    refused(bend_ask_not_ca, DSTACK_E_X509_PATH, "not a CA");
    refused(bend_foreign_ask, DSTACK_E_CRYPTO, "SEV-Made");
    refused(bend_expired, DSTACK_E_X509_EXPIRED, "valid from");
    refused(bend_early, DSTACK_E_X509_EXPIRED, "valid from");
    refused(bend_revoked, DSTACK_E_X509_REVOKED, "revoked");
    refused(bend_old_crl, DSTACK_E_X509_EXPIRED, "CRL");
    assert_ok(verify_bent(bend_good_crl, NULL, &err), err);
}

static void sec_another_root_than_the_pinned_one_is_refused(void **state) {
    (void)state;
    made_snp m;
    dstack_snp_verdict verdict;
    dstack_error err = {0};
    made_snp_init(&m);
    made_snp_build(&m);
    const dstack_snp_options amd = {.now = MADE_SNP_NOW};
    assert_int_not_equal(
        dstack_snp_verify(bytes_of(m.report, sizeof m.report), &m.certs, &amd, &verdict, &err), 0);
    made_snp_clear(&m);
}

static void bend_v2_cpuid(made_snp *m) {
    m->report[0] = 2;
}
static void bend_v4(made_snp *m) {
    m->report[0] = 4;
}
static void bend_reserved(made_snp *m) {
    m->report[0x18b] = 1;
}
static void bend_mitigation(made_snp *m) {
    m->report[0x1f8] = 1;
}
static void bend_model(made_snp *m) {
    m->report[0x189] = 0x20;
}
static void bend_family(made_snp *m) {
    m->report[0x188] = 0x17;
}
static void bend_algorithm(made_snp *m) {
    m->report[0x34] = 2;
}
static void bend_v5(made_snp *m) {
    m->report[0] = 5;
    m->report[0x1f8] = 0x0b;
}
static void bend_v2(made_snp *m) {
    m->report[0] = 2;
    memset(m->report + 0x188, 0, 3);
}

static void versions_and_reserved_bytes_are_held_to_the_layout(void **state) {
    (void)state;
    dstack_error err = {0};
    refused(bend_v2_cpuid, DSTACK_E_FORMAT, "reserved");
    refused(bend_v4, DSTACK_E_UNSUPPORTED, "version: 4");
    refused(bend_reserved, DSTACK_E_FORMAT, "reserved");
    refused(bend_mitigation, DSTACK_E_FORMAT, "reserved");
    refused(bend_model, DSTACK_E_UNSUPPORTED, "model");
    refused(bend_family, DSTACK_E_UNSUPPORTED, "family");
    refused(bend_algorithm, DSTACK_E_UNSUPPORTED, "algorithm");
    assert_ok(verify_bent(bend_v5, NULL, &err), err);
    assert_ok(verify_bent(bend_v2, NULL, &err), err);
}

static void expectations_are_compared(void **state) {
    (void)state;
    dstack_error err = {0};
    uint8_t data[64], host[32];
    memset(data, 0x42, sizeof data);
    memset(host, 0x22, sizeof host);
    const dstack_snp_tcb floor = {.boot_loader = 4, .snp = 23, .microcode = 213};
    dstack_snp_options options = {.report_data = data, .host_data = host, .min_tcb = &floor};
    assert_ok(verify_bent(NULL, &options, &err), err);
    const dstack_snp_tcb higher = {.snp = 24};
    options.min_tcb = &higher;
    assert_int_equal(verify_bent(NULL, &options, &err), DSTACK_E_REFUSED);
    options.min_tcb = NULL;
    host[31] ^= 1;
    assert_int_equal(verify_bent(NULL, &options, &err), DSTACK_E_REFUSED);
    options.host_data = NULL;
    data[0] ^= 1;
    assert_int_equal(verify_bent(NULL, &options, &err), DSTACK_E_REFUSED);
}

/* One table entry, its GUID given as the ASK's or the VCEK's. */
static void put_entry(dstack_buf *out, bool ask, uint32_t offset, uint32_t length) {
    put_hex(out, ask ? "4ab7b379bbac4fe4a02f05aef327c782" : "63da758de6644564adc5f4b93be8accd");
    buf_put_u32le(out, offset);
    buf_put_u32le(out, length);
}

static void put_table(const made_snp *m, uint32_t skew, dstack_buf *out) {
    const uint32_t ask = (uint32_t)m->certs.ask.len, vcek = (uint32_t)m->certs.vcek.len;
    put_entry(out, true, 72, ask);
    put_entry(out, false, 72 + ask, vcek + skew);
    buf_put_zeros(out, 24);
    buf_put_bytes(out, bytes_of_buf(&m->certs.ask));
    buf_put_bytes(out, bytes_of_buf(&m->certs.vcek));
}

static void certificate_tables_are_read_within_their_bounds(void **state) {
    (void)state;
    made_snp m;
    made_snp_init(&m);
    made_snp_build(&m);
    DSTACK_AUTO(buf) dstack_buf table = {0};
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    dstack_error err = {0};
    put_table(&m, 0, &table);
    dstack_bytes blob = bytes_of_buf(&table);
    assert_ok(dstack_snp_certs_from_blobs(&blob, 1, &certs, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&certs.vcek), bytes_of_buf(&m.certs.vcek)));
    for (size_t cut = 0; cut < blob.len; cut++) {
        dstack_snp_certs none;
        const dstack_bytes part = {blob.data, cut};
        assert_int_not_equal(dstack_snp_certs_from_blobs(&part, 1, &none, &err), 0);
    }
    static const uint32_t skews[] = {1, 0x7fffffff, 0xfff00000};
    for (size_t i = 0; i < 3; i++) {
        DSTACK_AUTO(buf) dstack_buf bad = {0};
        dstack_snp_certs none;
        put_table(&m, skews[i], &bad);
        blob = bytes_of_buf(&bad);
        assert_int_not_equal(dstack_snp_certs_from_blobs(&blob, 1, &none, &err), 0);
    }
    made_snp_clear(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_report_verifies_and_names_its_root),
        cmocka_unit_test(every_flipped_byte_of_the_signed_part_is_refused),
        cmocka_unit_test(sec_a_debug_guest_is_refused_unless_asked_for),
        cmocka_unit_test(sec_policy_and_platform_bits_are_judged),
        cmocka_unit_test(sec_the_vcek_must_be_this_chips_and_this_firmwares),
        cmocka_unit_test(sec_chain_dates_and_revocation_are_checked),
        cmocka_unit_test(sec_another_root_than_the_pinned_one_is_refused),
        cmocka_unit_test(versions_and_reserved_bytes_are_held_to_the_layout),
        cmocka_unit_test(expectations_are_compared),
        cmocka_unit_test(certificate_tables_are_read_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
