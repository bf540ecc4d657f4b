/* Verifiers as a whole: what they keep, when they let go of it, whom they trust; and that no bit of
 * what is signed can change. */
#include "made.h"

#include <pthread.h>

static int check_with(dstack_verifier *v, const made *m, int64_t now, dstack_quote_report *report) {
    dstack_error err = {0};
    return dstack_verifier_check_with(v, bytes_of_buf(&m->quote), m->collateral, NULL, now, report,
                                      &err);
}

static int check(dstack_verifier *v, const made *m, int64_t now, dstack_quote_report *report) {
    dstack_error err = {0};
    return dstack_verifier_check(v, bytes_of_buf(&m->quote), NULL, now, report, &err);
}

static int add(dstack_verifier *v, const made *m) {
    dstack_error err = {0};
    return dstack_verifier_add_collateral(v, m->collateral, &err);
}

static void the_report_names_status_levels_platform_and_anchor(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    s.components[0] = 2; /* below the best level */
    s.qe.isv_svn[0] = 7;
    s.td.tee_tcb_svn[0] = 3;
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    dstack_quote_report r;
    assert_int_equal(check_with(v, &m, MADE_NOW, &r), 0);
    assert_int_equal(r.status, DSTACK_TCB_OUT_OF_DATE);
    assert_int_equal(r.platform_status, DSTACK_TCB_OUT_OF_DATE);
    assert_int_equal(r.qe_status, DSTACK_TCB_OUT_OF_DATE);
    assert_int_equal(r.advisories.count, 3);
    assert_string_equal(r.advisories.ids[0], "INTEL-SA-00001");
    assert_string_equal(r.advisories.ids[1], "INTEL-SA-00002");
    assert_string_equal(r.advisories.ids[2], "INTEL-SA-00003");
    assert_string_equal(r.shortfall, "SGX component 0 is 2, 3 needed");
    assert_string_equal(r.anchor.name, "made root");
    assert_false(r.anchor.builtin);
    assert_hex(bytes_of(r.pck.fmspc, 6), "00906ea10000");
    assert_int_equal(r.tcb_eval_data_number, 17);
    assert_int_equal(r.root_ca_crl_number, 7);
    assert_true(r.has_platform_tcb_date);
    assert_int_equal(r.platform_tcb_date, 1772323200);
    assert_int_equal(r.earliest_expiration_date, MADE_NOW + 20 * 86400);
    assert_int_equal(r.latest_issue_date, MADE_NOW - 5 * 86400);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    assert_ok(dstack_quote_report_to_json(&r, false, &text, &err), err);
    DSTACK_AUTO(json) json_t *object = json_parse(bytes_of_buf(&text), 1 << 20, "report", &err);
    assert_string_equal(json_string_value(json_object_get(object, "status")), "OutOfDate");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(object, "anchor"), "name")), "made root");
    assert_non_null(json_object_get(json_object_get(object, "report"), "TD10"));
    dstack_verifier_free(v);
}

static void sec_32_nothing_kept_outlives_its_dates(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    int64_t end = s.pck_crl.until, start = s.texts_from;
    assert_int_equal(add(v, &m), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(check(v, &m, MADE_NOW, NULL), 0);
        assert_int_equal(check_with(v, &m, MADE_NOW, NULL), 0);
        assert_int_equal(check(v, &m, end - 1, NULL), 0);
        assert_int_equal(check(v, &m, end, NULL), DSTACK_E_DCAP_CRL_EXPIRED);
        assert_int_equal(check_with(v, &m, end, NULL), DSTACK_E_DCAP_CRL_EXPIRED);
        assert_int_equal(check(v, &m, start, NULL), 0);
        assert_int_equal(check(v, &m, start - 1, NULL), DSTACK_E_DCAP_TCB_INFO_NOT_YET_VALID);
        assert_int_equal(check_with(v, &m, start - 1, NULL), DSTACK_E_DCAP_TCB_INFO_NOT_YET_VALID);
    }
    dstack_verifier_free(v);
}

/* Whatever part ends first ends what is kept, to the second. */
static void sec_32_each_part_alone_ends_what_is_kept(void **state) {
    enum { ROOT_CRL = 4, PCK_CRL, TEXTS, PARTS };
    static const dstack_status ended[PARTS] = {
        DSTACK_E_DCAP_CERT_EXPIRED,     DSTACK_E_DCAP_CERT_EXPIRED, DSTACK_E_DCAP_CERT_EXPIRED,
        DSTACK_E_DCAP_CERT_EXPIRED,     DSTACK_E_DCAP_CRL_EXPIRED,  DSTACK_E_DCAP_CRL_EXPIRED,
        DSTACK_E_DCAP_TCB_INFO_EXPIRED,
    };
    for (int part = 0; part < PARTS; part++) {
        DSTACK_AUTO(made) made m;
        made_spec s;
        made_spec_init(&s);
        int64_t *until = part < 4           ? &s.certs[part].until
                         : part == ROOT_CRL ? &s.root_crl.until
                         : part == PCK_CRL  ? &s.pck_crl.until
                                            : &s.texts_until;
        /* lists end exclusively, all else inclusively */
        *until = part == ROOT_CRL || part == PCK_CRL ? MADE_NOW + 11 : MADE_NOW + 10;
        made_build(&s, &m);
        dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
        assert_int_equal(add(v, &m), 0);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(check(v, &m, MADE_NOW + 10, NULL), 0);
            assert_int_equal(check(v, &m, MADE_NOW + 11, NULL), ended[part]);
            assert_int_equal(check_with(v, &m, MADE_NOW + 10, NULL), 0);
            assert_int_equal(check_with(v, &m, MADE_NOW + 11, NULL), ended[part]);
        }
        dstack_verifier_free(v);
    }
}

static void newer_collateral_for_the_same_platform_replaces_the_older(void **state) {
    DSTACK_AUTO(made) made old, revoking;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &old);
    s.revoked = MADE_BIT(MADE_LEAF);
    made_build(&s, &revoking);
    dstack_verifier *v = made_verifier(&old, (dstack_verifier_options){0});
    assert_int_equal(check(v, &old, MADE_NOW, NULL), DSTACK_E_DCAP_COLLATERAL_NOT_FOUND);
    assert_int_equal(add(v, &old), 0);
    assert_true(dstack_verifier_has_collateral(v, bytes_of_buf(&old.quote), MADE_NOW));
    assert_false(dstack_verifier_has_collateral(v, bytes_of_buf(&old.quote), s.pck_crl.until));
    assert_int_equal(check(v, &old, MADE_NOW, NULL), 0);
    assert_int_equal(check(v, &old, MADE_NOW, NULL), 0);
    assert_int_equal(add(v, &revoking), 0);
    assert_int_equal(check(v, &old, MADE_NOW, NULL), DSTACK_E_DCAP_CERT_REVOKED);
    dstack_verifier_free(v);
}

/* The CA and its list are verified once per bundle; all else of a further platform is not. */
static void sec_32_a_further_platform_under_a_known_ca_is_judged_by_itself(void **state) {
    static const struct {
        unsigned forged;
        int64_t leaf_until;
        const char *ca_name;
        dstack_status status;
    } others[] = {
        {0, MADE_NOW + 1000, NULL, DSTACK_OK},
        {MADE_BIT(MADE_SIGNED_LEAF), MADE_NOW + 1001, NULL, DSTACK_E_DCAP_CERT_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_CA), MADE_NOW + 1002, NULL, DSTACK_E_DCAP_CERT_SIGNATURE},
        {MADE_BIT(MADE_SIGNED_QE_REPORT), MADE_NOW + 1003, NULL, DSTACK_E_DCAP_QE_REPORT_SIGNATURE},
        {0, MADE_NOW - 1, NULL, DSTACK_E_DCAP_CERT_EXPIRED},
        {0, MADE_NOW + 1004, "another CA", DSTACK_E_DCAP_CRL_NOT_FOUND},
    };
    DSTACK_AUTO(made) made first;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &first);
    dstack_verifier *v = made_verifier(&first, (dstack_verifier_options){0});
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        DSTACK_AUTO(made) made other;
        made_spec_init(&s);
        s.forged = others[i].forged;
        s.certs[MADE_LEAF].until = others[i].leaf_until;
        if (others[i].ca_name != NULL) {
            s.certs[MADE_CA].name = others[i].ca_name;
        }
        made_build(&s, &other);
        dstack_collateral_free(other.collateral);
        other.collateral = dstack_collateral_ref(first.collateral);
        assert_int_equal(check_with(v, &first, MADE_NOW, NULL), 0);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(check_with(v, &other, MADE_NOW, NULL), others[i].status);
        }
        if (others[i].status == DSTACK_OK) {
            assert_int_equal(check_with(v, &other, MADE_NOW + 1001, NULL),
                             DSTACK_E_DCAP_CERT_EXPIRED);
        }
    }
    dstack_verifier_free(v);
}

static void sec_13_a_simulated_root_counts_only_where_it_was_pinned(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = NULL;
    dstack_error err = {0};
    assert_ok(dstack_verifier_new(&v, NULL, &err), err);
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), DSTACK_E_DCAP_CRL_NOT_FOUND);
    dstack_verifier_free(v);

    const dstack_trust_root root = {"sim", bytes_of_buf(&m.root)};
    const dstack_verifier_options both = {.roots = &root, .root_count = 1};
    assert_ok(dstack_verifier_new(&v, &both, &err), err);
    dstack_quote_report r;
    assert_int_equal(check_with(v, &m, MADE_NOW, &r), 0);
    assert_string_equal(r.anchor.name, "sim");
    assert_false(r.anchor.builtin);
    dstack_verifier_free(v);

    const dstack_verifier_options names = {
        .roots = &root, .root_count = 1, .names = DSTACK_NAMES_ENFORCE};
    assert_ok(dstack_verifier_new(&v, &names, &err), err);
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), 0); /* made with Intel's names */
    dstack_verifier_free(v);
}

static void names_of_intels_pki_are_demanded_where_they_are_enforced(void **state) {
    for (int role = 0; role < 4; role++) {
        DSTACK_AUTO(made) made m;
        made_spec s;
        made_spec_init(&s);
        s.certs[role].name = "something else";
        made_build(&s, &m);
        dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
        assert_int_equal(check_with(v, &m, MADE_NOW, NULL), 0);
        dstack_verifier_free(v);
        v = made_verifier(&m, (dstack_verifier_options){.names = DSTACK_NAMES_ENFORCE});
        assert_int_equal(check_with(v, &m, MADE_NOW, NULL), DSTACK_E_DCAP_CERT_NAME);
        dstack_verifier_free(v);
    }
}

static void debug_and_service_tds_pass_only_when_asked_for(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    s.version = 5;
    s.with_td15 = true;
    s.td15.mr_service_td[47] = 1;
    s.td.td_attributes[0] = 1;
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){.allow_debug = true});
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), DSTACK_E_DCAP_SERVICE_TD);
    dstack_verifier_free(v);
    v = made_verifier(&m, (dstack_verifier_options){.allow_service_td = true});
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), DSTACK_E_DCAP_DEBUG);
    dstack_verifier_free(v);
    v = made_verifier(&m, (dstack_verifier_options){.allow_debug = true, .allow_service_td = true});
    dstack_quote_report r;
    assert_int_equal(check_with(v, &m, MADE_NOW, &r), 0);
    assert_int_equal(dstack_quote_report_check_workload(&r, NULL), DSTACK_E_DCAP_DEBUG);
    r.body[120] = 0; /* td_attributes */
    assert_int_equal(dstack_quote_report_check_workload(&r, NULL), DSTACK_E_DCAP_SERVICE_TD);
    r.body[64] = 1; /* mr_signer_seam */
    assert_int_equal(dstack_quote_report_check_workload(&r, NULL), DSTACK_E_DCAP_MODULE_SIGNER);
    dstack_verifier_free(v);
}

static void a_relaunch_is_advised_when_the_module_was_updated_since(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    s.version = 5;
    s.with_td15 = true;
    s.td.tee_tcb_svn[0] = 3; /* launched below the module's UpToDate svn of 5 */
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    dstack_quote_report r;
    assert_int_equal(check_with(v, &m, MADE_NOW, &r), 0);
    assert_int_equal(r.status, DSTACK_TCB_OUT_OF_DATE);
    assert_true(r.relaunch_advised);
    dstack_verifier_free(v);
}

static void other_report_data_than_expected_is_refused(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    uint8_t data[64];
    memcpy(data, s.td.report_data, sizeof data);
    const dstack_quote_expectations want = {.report_data = data};
    dstack_error err = {0};
    assert_ok(dstack_verifier_check_with(v, bytes_of_buf(&m.quote), m.collateral, &want, MADE_NOW,
                                         NULL, &err),
              err);
    data[63] ^= 1;
    assert_int_equal(dstack_verifier_check_with(v, bytes_of_buf(&m.quote), m.collateral, &want,
                                                MADE_NOW, NULL, &err),
                     DSTACK_E_DCAP_REPORT_DATA);
    dstack_verifier_free(v);
}

/* No signature covers the two outer lengths of a version 4 quote; growing into zero padding they
 * say the same as before. */
static bool is_outer_length(size_t byte) {
    return (byte >= 632 && byte < 636) || (byte >= 766 && byte < 770);
}

/* Flips bits of [from, to) of the quote, one at a time; every one must be refused. The platform
 * stays known where its certificates are untouched. */
static void flip(dstack_verifier *v, const made *m, int64_t now, size_t from, size_t to,
                 size_t stride) {
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    dstack_error err = {0};
    buf_put_bytes(&quote, bytes_of_buf(&m->quote));
    for (size_t bit = 8 * from; bit < 8 * to; bit += stride) {
        quote.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (dstack_verifier_check_with(v, bytes_of_buf(&quote), m->collateral, NULL, now, NULL,
                                       &err) == 0 &&
            !is_outer_length(bit / 8)) {
            fail_msg("bit %zu of byte %zu can be changed", bit % 8, bit / 8);
        }
        quote.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* DSTACK_FULL=1 takes every bit; otherwise a prime stride samples all bytes of every region. */
static size_t stride_or_all(size_t stride) {
    return getenv("DSTACK_FULL") != NULL ? 1 : stride;
}

/* Header, body, signatures, keys, QE report, authentication data; then leaf and CA of the chain. */
static void flip_all(dstack_verifier *v, const made *m, int64_t now) {
    dstack_quote q;
    dstack_error err = {0};
    assert_ok(dstack_quote_parse(&q, bytes_of_buf(&m->quote), &err), err);
    size_t chain = (size_t)(q.cert_data.data - m->quote.data);
    const char *text = (const char *)q.cert_data.data;
    const char *ca = strstr(text + 1, "-----BEGIN");
    const char *root = strstr(ca + 1, "-----BEGIN");
    flip(v, m, now, 0, chain, stride_or_all(7));
    /* what stands between the blocks is nobody's */
    flip(v, m, now, chain, chain + (size_t)(ca - text) - 1, stride_or_all(61));
    flip(v, m, now, chain + (size_t)(ca - text), chain + (size_t)(root - text) - 1,
         stride_or_all(61));
}

static void sec_32_no_bit_of_a_made_quote_can_be_changed(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), 0);
    flip_all(v, &m, MADE_NOW);
    assert_int_equal(check_with(v, &m, MADE_NOW, NULL), 0);
    dstack_verifier_free(v);
}

static void sec_32_no_bit_of_a_real_quote_can_be_changed(void **state) {
    need_shared_data();
    DSTACK_AUTO(made) made m = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    load_file(SHARED_DATA "dcap/real/tdx_quote.bin", &m.quote);
    load_file(SHARED_DATA "dcap/real/tdx_quote_collateral.json", &text);
    assert_ok(dstack_collateral_parse(&m.collateral, bytes_of_buf(&text), &err), err);
    dstack_verifier *v = NULL;
    assert_ok(dstack_verifier_new(&v, NULL, &err), err);
    assert_int_equal(check_with(v, &m, 1750400000, NULL), 0);
    /* this collateral brings a PCK chain, which stands in for the quote's: leave it out */
    dstack_collateral_parts parts;
    dstack_collateral_get(m.collateral, &parts);
    parts.has_pck_certificate_chain = false;
    dstack_collateral *own = NULL;
    assert_ok(dstack_collateral_new(&own, &parts, &err), err);
    dstack_collateral_free(m.collateral);
    m.collateral = own;
    assert_int_equal(check_with(v, &m, 1750400000, NULL), 0);
    flip_all(v, &m, 1750400000);
    dstack_verifier_free(v);
}

static void sec_32_no_byte_of_the_signed_texts_and_lists_can_be_changed(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    dstack_collateral_parts whole;
    dstack_error err = {0};
    dstack_collateral_get(m.collateral, &whole);
    dstack_bytes *const members[] = {&whole.tcb_info,    &whole.tcb_info_signature,
                                     &whole.qe_identity, &whole.qe_identity_signature,
                                     &whole.root_ca_crl, &whole.pck_crl};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const dstack_bytes right = *members[i];
        for (size_t at = 0; at < right.len; at += stride_or_all(right.len > 100 ? 11 : 1)) {
            DSTACK_AUTO(buf) dstack_buf wrong = {0};
            DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
            buf_put_bytes(&wrong, right);
            wrong.data[at] ^= 0x04;
            *members[i] = bytes_of_buf(&wrong);
            assert_ok(dstack_collateral_new(&c, &whole, &err), err);
            if (dstack_verifier_check_with(v, bytes_of_buf(&m.quote), c, NULL, MADE_NOW, NULL,
                                           &err) == 0) {
                fail_msg("byte %zu of part %zu can be changed", at, i);
            }
        }
        *members[i] = right;
    }
    dstack_verifier_free(v);
}

/* ---- threads ---- */

typedef struct crowd {
    dstack_verifier *v;
    const made *good, *bad;
    int wrong;
} crowd;

static void *member_of_crowd(void *arg) {
    crowd *c = arg;
    for (int i = 0; i < 60; i++) {
        int rc = i % 3 == 0   ? check_with(c->v, c->bad, MADE_NOW, NULL) == 0
                 : i % 3 == 1 ? check(c->v, c->good, MADE_NOW, NULL)
                              : check_with(c->v, c->good, MADE_NOW, NULL);
        if (i % 10 == 9) {
            rc |= add(c->v, c->good); /* drops what is kept, under everybody's feet */
        }
        if (rc != 0) {
            __atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void threads_share_a_verifier(void **state) {
    DSTACK_AUTO(made) made good, bad;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &good);
    s.forged = MADE_BIT(MADE_SIGNED_QUOTE);
    made_build(&s, &bad);
    crowd c = {made_verifier(&good, (dstack_verifier_options){0}), &good, &bad, 0};
    assert_int_equal(add(c.v, &good), 0);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, member_of_crowd, &c), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(c.wrong, 0);
    dstack_verifier_free(c.v);
}

enum { BATCH = 200 };

/* Good and bad quotes in turn, with collateral of their own or what was added. */
static void a_batch_gives_each_quote_the_verdict_it_gets_alone(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(buf) dstack_buf bad = {0};
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_int_equal(add(v, &m), 0);
    buf_put_bytes(&bad, bytes_of_buf(&m.quote));
    bad.data[100] ^= 1;
    static const unsigned threads[] = {0, 1, 3, 1000};
    dstack_quote_check *checks = calloc(BATCH, sizeof *checks);
    dstack_quote_report *reports = calloc(BATCH, sizeof *reports);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        for (size_t i = 0; i < BATCH; i++) {
            checks[i] = (dstack_quote_check){
                .quote = i % 7 == 5 ? bytes_of_buf(&bad) : bytes_of_buf(&m.quote),
                .collateral = i % 2 == 0 ? m.collateral : NULL,
                .report = i % 3 == 0 ? NULL : &reports[i],
                .result = 1,
            };
        }
        dstack_error err = {0};
        int rc = dstack_verifier_check_many(v, checks, BATCH, MADE_NOW, threads[t], &err);
        assert_int_equal(rc, DSTACK_E_DCAP_QUOTE_SIGNATURE);
        assert_non_null(strstr(err.message, "quote 5: "));
        for (size_t i = 0; i < BATCH; i++) {
            int want = i % 7 == 5 ? DSTACK_E_DCAP_QUOTE_SIGNATURE : 0;
            assert_int_equal(checks[i].result, want);
            assert_int_equal(checks[i].error.status, want);
            if (want == 0 && i % 3 != 0) {
                assert_memory_equal(reports[i].body, dstack_quote_report_td(&reports[i]), 584);
                assert_string_equal(reports[i].anchor.name, "made root");
            }
        }
    }
    dstack_error err = {0};
    assert_int_equal(dstack_verifier_check_many(v, NULL, 0, MADE_NOW, 0, &err), 0);
    assert_int_equal(dstack_verifier_check_many(v, checks, 5, MADE_NOW, 0, &err), 0);
    /* the report data of the first quote that fails decide the result */
    uint8_t wanted[64] = {1};
    dstack_quote_expectations expectations = {.report_data = wanted};
    checks[3].expectations = &expectations;
    assert_int_equal(dstack_verifier_check_many(v, checks, 8, MADE_NOW, 2, &err),
                     DSTACK_E_DCAP_REPORT_DATA);
    free(checks);
    free(reports);
    dstack_verifier_free(v);
}

static void more_bundles_than_are_kept_push_out_the_oldest(void **state) {
    DSTACK_AUTO(made) made first, other;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &first);
    dstack_verifier *v = made_verifier(&first, (dstack_verifier_options){0});
    assert_int_equal(add(v, &first), 0);
    for (int i = 0; i < 256; i++) {
        char fmspc[13];
        snprintf(fmspc, sizeof fmspc, "AA%010X", (unsigned)i);
        s.tcb_edits[0] = "00906EA10000";
        s.tcb_edits[1] = fmspc;
        made_build(&s, &other);
        assert_int_equal(check(v, &first, MADE_NOW, NULL), 0);
        assert_int_equal(add(v, &other), 0);
        made_clear(&other);
    }
    assert_int_equal(check(v, &first, MADE_NOW, NULL), DSTACK_E_DCAP_COLLATERAL_NOT_FOUND);
    dstack_verifier_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_report_names_status_levels_platform_and_anchor),
        cmocka_unit_test(sec_32_nothing_kept_outlives_its_dates),
        cmocka_unit_test(sec_32_each_part_alone_ends_what_is_kept),
        cmocka_unit_test(newer_collateral_for_the_same_platform_replaces_the_older),
        cmocka_unit_test(sec_32_a_further_platform_under_a_known_ca_is_judged_by_itself),
        cmocka_unit_test(sec_13_a_simulated_root_counts_only_where_it_was_pinned),
        cmocka_unit_test(names_of_intels_pki_are_demanded_where_they_are_enforced),
        cmocka_unit_test(debug_and_service_tds_pass_only_when_asked_for),
        cmocka_unit_test(a_relaunch_is_advised_when_the_module_was_updated_since),
        cmocka_unit_test(other_report_data_than_expected_is_refused),
        cmocka_unit_test(sec_32_no_bit_of_a_made_quote_can_be_changed),
        cmocka_unit_test(sec_32_no_bit_of_a_real_quote_can_be_changed),
        cmocka_unit_test(sec_32_no_byte_of_the_signed_texts_and_lists_can_be_changed),
        cmocka_unit_test(threads_share_a_verifier),
        cmocka_unit_test(a_batch_gives_each_quote_the_verdict_it_gets_alone),
        cmocka_unit_test(more_bundles_than_are_kept_push_out_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
