/* GCP evidence: a TDX quote and a vTPM's quote over it. Everything here is made in the test. */
#include <dstack/attestation_policy.h>
#include <dstack/measure.h>
#include <sys/stat.h>

#include "attest/verified.h"
#include "crypto/hash.h"
#include "made_gcp.h"

DSTACK_AUTO_DEFINE(verifier, dstack_verifier, dstack_verifier_free)
DSTACK_AUTO_DEFINE(policy, dstack_attestation_policy, dstack_attestation_policy_free)
DSTACK_AUTO_DEFINE(decision, dstack_attestation_decision, dstack_attestation_decision_free)

/* How the relying party stands to the evidence. */
typedef struct how {
    bool unpinned_tpm; /* Google's own root is asked for */
    bool no_source, no_chain, no_crl;
    bool check_image;
    const char *image_dir;
    unsigned asked; /* counted: times that collateral was asked for */
    const made_gcp *made;
} how;

static int give_collateral(void *user, dstack_bytes ak_cert, dstack_tpm_collateral *out,
                           dstack_error *err) {
    how *h = user;
    h->asked++;
    assert_true(bytes_equal(ak_cert, bytes_of_buf(&h->made->attestation->tpm->ak_cert)));
    if (!h->no_chain) {
        buf_put_bytes(&out->chain[out->chain_count++], bytes_of_buf(&h->made->tpm_ca));
    }
    if (!h->no_crl) {
        buf_put_bytes(&out->crls[out->crl_count++], bytes_of_buf(&h->made->tpm_ca_crl));
    }
    return 0;
}

static int verify(const made_gcp *m, how *h, dstack_verified **out, dstack_error *err) {
    DSTACK_AUTO(verifier)
    dstack_verifier *verifier = made_verifier(&m->quote, (dstack_verifier_options){0});
    const dstack_platform_roots roots = {.gcp_tpm = bytes_of_buf(&m->tpm_root)};
    h->made = m;
    assert_ok(dstack_verifier_add_collateral(verifier, m->quote.collateral, err), *err);
    const dstack_attestation_options options = {
        .now = MADE_NOW,
        .roots = h->unpinned_tpm ? NULL : &roots,
        .report_data = gcp_report_data,
        .tpm_collateral = h->no_source ? NULL : give_collateral,
        .tpm_collateral_user = h,
        .image = h->check_image ? dstack_measure_image_check : NULL,
        .image_user = (void *)h->image_dir,
    };
    return dstack_attestation_verify(verifier, m->attestation, &options, out, err);
}

static void expect_with(const made_gcp *m, how h, const char *why) {
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    dstack_error err = {0};
    int rc = verify(m, &h, &v, &err);
    if (why == NULL) {
        assert_ok(rc, err);
    } else if (rc == 0 || strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" where \"%s\" is due", err.message, why);
    }
}

/* NULL for acceptance, else a part of the refusal. */
static void expect(const gcp_spec *spec, const char *why) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    gcp_build(spec, &m);
    expect_with(&m, (how){0}, why);
}

static const dstack_attestation_claim *claim_of(const dstack_verified *v, const char *name) {
    static dstack_attestation_claim claim;
    for (size_t i = 0; dstack_verified_claim(v, i, &claim); i++) {
        if (strcmp(claim.name, name) == 0) {
            return &claim;
        }
    }
    fail_msg("no claim %s", name);
    return NULL;
}

static void evidence_verifies_in_both_wire_forms_and_stripped(void **state) {
    gcp_spec spec;
    for (uint32_t version = 1; version <= 2; version++) {
        gcp_spec_init(&spec);
        spec.event_version = version;
        gcp_spec_settle(&spec);
        for (int form = 0; form < 3; form++) {
            DSTACK_AUTO(made_gcp) made_gcp m = {0};
            DSTACK_AUTO(buf) dstack_buf encoded = {0};
            dstack_attestation *again = NULL;
            dstack_error err = {0};
            gcp_build(&spec, &m);
            if (form == 0 && version == 2) {
                continue; /* version 0 holds no such events */
            }
            assert_ok(dstack_attestation_encode(
                          m.attestation, form == 0 ? DSTACK_ATTESTATION_V0 : DSTACK_ATTESTATION_V1,
                          &encoded, &err),
                      err);
            assert_ok(dstack_attestation_decode(bytes_of_buf(&encoded), &again, &err), err);
            dstack_attestation_free(m.attestation);
            m.attestation = again;
            if (form == 2) {
                assert_ok(dstack_attestation_strip(m.attestation, &again, &err), err);
                dstack_attestation_free(m.attestation);
                m.attestation = again;
            }
            expect_with(&m, (how){0}, NULL);
        }
    }
}

static void identity_is_of_pcrs_and_image_hash(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    gcp_spec spec;
    how h = {0};
    dstack_error err = {0};
    dstack_identity told;
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    assert_ok(verify(&m, &h, &v, &err), err);
    const dstack_identity *id = dstack_verified_identity(v);
    uint8_t hash[32];
    const dstack_bytes parts[] = {bytes_of(spec.values[0], 32), bytes_of(spec.values[1], 32),
                                  bytes_of(spec.values[2], 32)};
    hash_parts(HASH_SHA256, parts, 3, hash);
    assert_memory_equal(id->mr_aggregated.data, hash, 32);
    static const uint8_t no_provider[32];
    hash_sha256(bytes_of(no_provider, 32), hash); /* no image is named */
    assert_memory_equal(id->mr_system.data, hash, 32);
    assert_ok(dstack_attestation_identity(m.attestation, false, NULL, &told, &err), err);
    assert_memory_equal(told.mr_aggregated.data, id->mr_aggregated.data, 32);
    assert_int_equal(id->app_id.len, 20);
    assert_non_null(dstack_verified_quote(v));
    assert_int_equal(dstack_verified_tpm(v)->reset_count, 7);
}

static void sec_13_the_vtpms_root_must_be_googles_or_pinned(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    gcp_spec spec;
    how h = {0};
    dstack_error err = {0};
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    expect_with(&m, (how){.unpinned_tpm = true}, "certificate chain verification error");
    assert_ok(verify(&m, &h, &v, &err), err);
    assert_true(dstack_verified_external_root(v));
    assert_int_equal(claim_of(v, "tpm_root")->anchor, DSTACK_ANCHOR_POLICY);
    v->quote.anchor.builtin = true; /* one pinned root is enough to be told */
    assert_true(dstack_verified_external_root(v));
}

/* A policy that pins the processor's root says nothing about the vTPM's. */
static void sec_13_a_policy_must_name_both_roots(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    gcp_spec spec;
    how h = {0};
    dstack_error err = {0};
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    assert_ok(verify(&m, &h, &v, &err), err);
    for (unsigned named = 0; named < 4; named++) {
        DSTACK_AUTO(policy) dstack_attestation_policy *policy = NULL;
        DSTACK_AUTO(decision) dstack_attestation_decision *decision = NULL;
        DSTACK_AUTO(buf) dstack_buf text = {0};
        buf_put_str(&text, "version: 1\nhardware_roots: [vendor");
        for (unsigned i = 0; i < 2; i++) {
            if ((named >> i & 1) != 0) {
                const dstack_anchor_info *root = i == 0 ? &v->quote.anchor : &v->tpm.anchor;
                buf_put_str(&text, ", '");
                buf_put_hex(&text, bytes_of(root->cert_sha256, 32));
                buf_put_str(&text, "'");
            }
        }
        buf_put_str(&text, "]\n");
        assert_ok(dstack_attestation_policy_parse(&policy, bytes_of_buf(&text), &err), err);
        int rc = dstack_attestation_policy_decide(policy, v, &decision, &err);
        assert_int_equal(rc == 0, named == 3);
    }
}

/* ---- what the TPM says ---- */

static void each_part_of_the_tpms_quote_is_judged(void **state) {
    gcp_spec s;
#define CASE(change, why)                                                                          \
    gcp_spec_init(&s);                                                                             \
    change;                                                                                        \
    expect(&s, why)
    CASE(s.extra_flip = 1, "tpm qualified_data mismatch");
    CASE(s.values[2][0] ^= 1, "PCR14 mismatch");
    CASE(s.values[1][31] ^= 1, "PCR 2 replay mismatch");
    CASE(s.forged = true, "signature verification failed");
    CASE(s.magic ^= 1, "invalid magic number");
    CASE(s.type ^= 1, "invalid attest type");
    CASE(s.bank = 0x000c, "unsupported PCR bank");
    CASE(s.pcr_count = 2, "lacks PCR0, PCR2 or PCR14");
    CASE(s.ak_until = MADE_NOW - 1, "certificate chain verification error");
    CASE(s.purpose = 1, NULL);
    CASE(s.purpose = 3, NULL);
    CASE(s.purpose = 2, "certificate chain verification error");
    CASE((void)0, NULL);
#undef CASE
    gcp_spec_init(&s);
    s.indices[3] = 9; /* a fourth register is no harm, where it stands in the selection's order */
    s.indices[2] = 9;
    s.indices[3] = 14;
    s.pcr_count = 4;
    gcp_spec_settle(&s);
    expect(&s, NULL);
}

typedef void tamper(attest_tpm_quote *tpm);

static void swap_values(attest_tpm_quote *tpm) {
    const attest_pcr_value first = tpm->pcrs[0];
    tpm->pcrs[0] = tpm->pcrs[1];
    tpm->pcrs[1] = first;
}

static void change_value(attest_tpm_quote *tpm) {
    tpm->pcrs[0].value.data[7] ^= 1;
}

/* The concatenation stays: only lengths tell. */
static void move_byte(attest_tpm_quote *tpm) {
    const uint8_t moved = tpm->pcrs[1].value.data[0];
    buf_put_u8(&tpm->pcrs[0].value, moved);
    memmove(tpm->pcrs[1].value.data, tpm->pcrs[1].value.data + 1, 31);
    tpm->pcrs[1].value.len = 31;
}

static void other_algorithm(attest_tpm_quote *tpm) {
    free(tpm->pcrs[0].algorithm);
    tpm->pcrs[0].algorithm = strdup("sha384");
}

static void other_platform(attest_tpm_quote *tpm) {
    tpm->platform = 3;
}

static void short_event(attest_tpm_quote *tpm) {
    tpm->events[0].digest.len = 31;
}

static void longer_log(attest_tpm_quote *tpm) {
    tpm->events[0].pcr = 14; /* then PCR14 has a log, which must replay to it */
}

static void drop_signature(attest_tpm_quote *tpm) {
    tpm->signature.len = 0;
}

static void drop_message(attest_tpm_quote *tpm) {
    tpm->message.len = 0;
}

static void drop_certificate(attest_tpm_quote *tpm) {
    tpm->ak_cert.len = 0;
}

static void what_lies_beside_the_signature_cannot_be_changed(void **state) {
    static const struct {
        tamper *change;
        const char *why;
    } cases[] = {
        {swap_values, "PCR selection mismatch"},
        {change_value, "PCR digest mismatch"},
        {move_byte, "must have 32 bytes"},
        {other_algorithm, "is of bank sha384"},
        {other_platform, "platform aws-ec2"},
        {short_event, "must have 32 bytes"},
        {longer_log, "PCR 14 replay mismatch"},
        {drop_signature, "TPMT_SIGNATURE"},
        {drop_message, "signature verification failed"},
        {drop_certificate, "AK"},
    };
    gcp_spec spec;
    gcp_spec_init(&spec);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(made_gcp) made_gcp m = {0};
        gcp_build(&spec, &m);
        cases[i].change(m.attestation->tpm);
        expect_with(&m, (how){0}, cases[i].why);
    }
}

static void no_bit_of_the_tpms_quote_can_be_flipped(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    gcp_spec spec;
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    dstack_buf *const parts[] = {&m.attestation->tpm->message, &m.attestation->tpm->signature};
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < parts[p]->len; i++) {
            DSTACK_AUTO(verified) dstack_verified *v = NULL;
            how h = {0};
            dstack_error err = {0};
            parts[p]->data[i] ^= 0x10;
            assert_true(verify(&m, &h, &v, &err) < 0);
            assert_null(v);
            parts[p]->data[i] ^= 0x10;
        }
    }
    expect_with(&m, (how){0}, NULL);
}

/* A quote of another machine, signed over another TDX quote. */
static void evidence_of_two_machines_does_not_mix(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp a = {0}, b = {0};
    gcp_spec spec;
    gcp_spec_init(&spec);
    gcp_build(&spec, &a);
    gcp_build(&spec, &b);
    /* the made signature data are not random: another quote is one with other collateral bytes */
    buf_put_u8(&b.attestation->evidence, 0);
    expect_with(&b, (how){0}, "tpm qualified_data mismatch");
    expect_with(&a, (how){0}, NULL);
}

static void runtime_events_must_replay_to_both_registers(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    gcp_spec spec;
    dstack_error err = {0};
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    assert_ok(
        dstack_event_log_add_runtime(m.attestation->runtime, "more", (dstack_bytes){0}, 1, &err),
        err);
    assert_ok(
        dstack_event_log_add_runtime(m.attestation->event_log, "more", (dstack_bytes){0}, 1, &err),
        err);
    expect_with(&m, (how){0}, "RTMR3 mismatch");
}

/* ---- path ---- */

static void sec_23_the_path_is_judged_by_fetched_lists_and_never_without(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    gcp_spec spec;
    gcp_spec_init(&spec);
    gcp_build(&spec, &m);
    expect_with(&m, (how){.no_source = true}, "certificate chain verification error");
    expect_with(&m, (how){.no_chain = true}, "certificate chain verification error");
    expect_with(&m, (how){.no_crl = true}, "no revocation list");
    spec.revoked = true;
    expect(&spec, "is revoked");
    spec.revoked = false;
    spec.crl_until = MADE_NOW - 1;
    expect(&spec, "CRL");
    spec.no_points = true;
    made_gcp_clear(&m);
    gcp_build(&spec, &m);
    expect_with(&m, (how){.no_crl = true}, NULL);
}

/* Addresses stand in the certificate: whoever has not signed with its key makes nobody connect. */
static void sec_23_nothing_is_fetched_for_a_quote_that_its_key_did_not_sign(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    gcp_spec spec;
    how h = {0};
    dstack_error err = {0};
    gcp_spec_init(&spec);
    spec.forged = true;
    gcp_build(&spec, &m);
    assert_true(verify(&m, &h, &v, &err) < 0);
    assert_int_equal(h.asked, 0);
}

/* ---- image ---- */

/* vm_config with the material of an image whose kernel image has that digest. */
static void put_material(dstack_buf *config, uint8_t fill, const char *dir) {
    DSTACK_AUTO(buf) dstack_buf document = {0}, sums = {0};
    uint8_t uki[32], hash[32];
    dstack_error err = {0};
    memset(uki, fill, sizeof uki);
    assert_ok(dstack_measure_gcp_encode(uki, &document, &err), err);
    hash_sha256(bytes_of_buf(&document), hash);
    buf_put_hex(&sums, bytes_of(hash, 32));
    buf_put_str(&sums, "  measurement.gcp.cbor\n");
    hash_sha256(bytes_of_buf(&sums), hash);
    buf_put_str(config, "{\"os_image_hash\":\"");
    buf_put_hex(config, bytes_of(hash, 32));
    buf_put_str(config, "\",\"gcp_measurement\":{\"checksum_file\":\"");
    base64_encode(bytes_of_buf(&sums), BASE64_STANDARD, config);
    buf_put_str(config, "\",\"measurement\":\"");
    base64_encode(bytes_of_buf(&document), BASE64_STANDARD, config);
    buf_put_str(config, "\"}}");
    if (dir != NULL) {
        char path[128];
        snprintf(path, sizeof path, "%s/sha256sum.txt", dir);
        assert_ok(file_write_atomic(path, bytes_of_buf(&sums), 0600, &err), err);
        snprintf(path, sizeof path, "%s/measurement.gcp.cbor", dir);
        assert_ok(file_write_atomic(path, bytes_of_buf(&document), 0600, &err), err);
    }
}

static void sec_26_an_image_that_the_prover_names_is_self_asserted(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    DSTACK_AUTO(buf) dstack_buf config = {0};
    gcp_spec spec;
    how h = {.check_image = true};
    dstack_error err = {0};
    gcp_spec_init(&spec);
    put_material(&config, 0xa3, NULL);
    spec.config = buf_text(&config);
    gcp_build(&spec, &m);
    assert_ok(verify(&m, &h, &v, &err), err);
    assert_int_equal(claim_of(v, "os_image_hash")->anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_int_equal(claim_of(v, "mr_system")->anchor, DSTACK_ANCHOR_SELF_ASSERTED);
    assert_int_equal(claim_of(v, "mr_aggregated")->anchor, DSTACK_ANCHOR_MEASURED);
    assert_int_equal(claim_of(v, "uki_authenticode")->anchor, DSTACK_ANCHOR_MEASURED);
    assert_string_equal(claim_of(v, "pcr0")->value, GCP_PCR0);
    assert_int_equal(claim_of(v, "app_id")->anchor, DSTACK_ANCHOR_MEASURED);
}

static void an_image_at_hand_is_the_reference(void **state) {
    DSTACK_AUTO(made_gcp) made_gcp m = {0};
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    DSTACK_AUTO(buf) dstack_buf config = {0};
    char dir[] = "/tmp/gcp-image-XXXXXX", command[64];
    gcp_spec spec;
    dstack_error err = {0};
    assert_non_null(mkdtemp(dir));
    how h = {.check_image = true, .image_dir = dir};
    gcp_spec_init(&spec);
    put_material(&config, 0xa3, dir);
    spec.config = buf_text(&config);
    gcp_build(&spec, &m);
    int rc = verify(&m, &h, &v, &err);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    assert_ok(rc, err);
    assert_int_equal(dstack_verified_image_anchor(v), DSTACK_ANCHOR_REFERENCE_IMAGE);
    assert_int_equal(claim_of(v, "mr_system")->anchor, DSTACK_ANCHOR_REFERENCE_IMAGE);
}

static void registers_of_another_image_are_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf good = {0}, other = {0};
    gcp_spec spec;
    put_material(&good, 0xa3, NULL);
    put_material(&other, 0xa4, NULL);
    const struct {
        const char *config, *why;
        size_t log_count;
        uint8_t pcr0;
    } cases[] = {
        {buf_text(&good), NULL, 5, 0},
        {buf_text(&other), "UKI hash mismatch", 5, 0},
        {buf_text(&good), "no third event of PCR2", 3, 0},
        {buf_text(&good), "no third event of PCR2", 0, 0},
        {buf_text(&good), "PCR 0 mismatch", 5, 1},
        {"{}", "vm_config.gcp_measurement is required", 5, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(made_gcp) made_gcp m = {0};
        gcp_spec_init(&spec);
        spec.log_count = cases[i].log_count;
        gcp_spec_settle(&spec);
        spec.values[0][0] ^= cases[i].pcr0;
        spec.config = cases[i].config;
        gcp_build(&spec, &m);
        expect_with(&m, (how){.check_image = true}, cases[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evidence_verifies_in_both_wire_forms_and_stripped),
        cmocka_unit_test(identity_is_of_pcrs_and_image_hash),
        cmocka_unit_test(sec_13_the_vtpms_root_must_be_googles_or_pinned),
        cmocka_unit_test(sec_13_a_policy_must_name_both_roots),
        cmocka_unit_test(each_part_of_the_tpms_quote_is_judged),
        cmocka_unit_test(what_lies_beside_the_signature_cannot_be_changed),
        cmocka_unit_test(no_bit_of_the_tpms_quote_can_be_flipped),
        cmocka_unit_test(evidence_of_two_machines_does_not_mix),
        cmocka_unit_test(runtime_events_must_replay_to_both_registers),
        cmocka_unit_test(sec_23_the_path_is_judged_by_fetched_lists_and_never_without),
        cmocka_unit_test(sec_23_nothing_is_fetched_for_a_quote_that_its_key_did_not_sign),
        cmocka_unit_test(sec_26_an_image_that_the_prover_names_is_self_asserted),
        cmocka_unit_test(an_image_at_hand_is_the_reference),
        cmocka_unit_test(registers_of_another_image_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
