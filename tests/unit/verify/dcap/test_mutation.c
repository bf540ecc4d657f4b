/* Every byte of a quote, changed: where a signature covers it the quote is refused, and elsewhere it
 * is refused or says exactly what it said before.
 *
 * Quotes of our own making pass. Of the recorded ones of real machines one passes; the others are
 * refused for their platform's TCB level or family, which is judged after every signature, so a
 * change under a signature must be refused for another reason. */
#include "made.h"

#include "verify/dcap/collateral.h"

/* DSTACK_FULL=1 takes every bit; otherwise each byte is changed in one or two ways. */
static bool full(void) {
    return getenv("DSTACK_FULL") != NULL;
}

typedef struct subject {
    dstack_verifier *v;
    dstack_collateral *collateral; /* without a PCK chain, so that the quote's is used */
    int64_t now;
    dstack_bytes quote;
    int verdict;       /* of the quote as it is */
    dstack_buf report; /* what it says, when it passes */
    size_t signed_bytes, free_bytes, ignored;
} subject;

/* [from, to) of the quote's bytes. */
typedef struct range {
    size_t from, to;
} range;

/* What no signature covers: lengths and types around the signed parts, what stands between and
 * behind the certificates that count, and padding. */
typedef struct map {
    range free[8];
    size_t count;
} map;

static void add_range(map *m, size_t from, size_t to) {
    m->free[m->count++] = (range){from, to};
}

static bool is_free(const map *m, size_t at) {
    for (size_t i = 0; i < m->count; i++) {
        if (m->free[i].from <= at && at < m->free[i].to) {
            return true;
        }
    }
    return false;
}

static size_t offset(dstack_bytes quote, dstack_bytes part) {
    return (size_t)(part.data - quote.data);
}

/* Past the END line of the chain's block with that number. */
static size_t end_of_block(dstack_bytes chain, int number) {
    static const char end[] = "-----END CERTIFICATE-----";
    const uint8_t *at = chain.data;
    for (int i = 0; i <= number; i++) {
        at = memmem(at, chain.len - (size_t)(at - chain.data), end, sizeof end - 1);
        assert_non_null(at);
        at += sizeof end - 1;
    }
    return (size_t)(at - chain.data);
}

static void map_quote(dstack_bytes quote, map *m) {
    dstack_quote q;
    dstack_error err = {0};
    *m = (map){0};
    assert_ok(dstack_quote_parse(&q, quote, &err), err);
    size_t body = q.signed_bytes.len, chain = offset(quote, q.cert_data);
    size_t key = offset(quote, q.attestation_key) + q.attestation_key.len;
    size_t report = (size_t)((const uint8_t *)q.qe_report - quote.data);
    size_t auth = offset(quote, q.qe_auth_data);
    add_range(m, body, body + 4);                   /* length of the signature data */
    add_range(m, key, report);                      /* outer type and length; none in version 3 */
    add_range(m, auth - 2, auth);                   /* length of the authentication data */
    add_range(m, auth + q.qe_auth_data.len, chain); /* inner type and length */
    size_t leaf = end_of_block(q.cert_data, 0);
    static const char begin[] = "-----BEGIN";
    const uint8_t *ca =
        memmem(q.cert_data.data + leaf, q.cert_data.len - leaf, begin, sizeof begin - 1);
    assert_non_null(ca);
    add_range(m, chain + leaf, offset(quote, (dstack_bytes){ca, 0}));
    add_range(m, chain + end_of_block(q.cert_data, 1), quote.len); /* the root's copy, padding */
}

static void try_change(subject *s, const map *m, dstack_bytes changed, size_t at, uint8_t mask) {
    dstack_quote_report report;
    dstack_error err = {0};
    int rc = dstack_verifier_check_with(s->v, changed, s->collateral, NULL, s->now, &report, &err);
    if (!is_free(m, at) && rc == s->verdict) {
        fail_msg("byte %zu can be changed by %02x: %s", at, mask,
                 rc == 0 ? "it passes" : err.message);
    }
    if (rc == 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        assert_ok(dstack_quote_report_to_json(&report, false, &text, &err), err);
        if (s->verdict != 0 || !bytes_equal(bytes_of_buf(&text), bytes_of_buf(&s->report))) {
            fail_msg("changing byte %zu by %02x changes what is reported", at, mask);
        }
        s->ignored++;
    }
    s->signed_bytes += !is_free(m, at);
    s->free_bytes += is_free(m, at);
}

static void change_every_byte(subject *s, const char *name) {
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    map m;
    map_quote(s->quote, &m);
    buf_put_bytes(&quote, s->quote);
    for (size_t at = 0; at < quote.len; at++) {
        const uint8_t one[] = {(uint8_t)(1u << at % 8), 0xff};
        for (int i = 0; i < (full() ? 9 : 2); i++) {
            uint8_t mask = full() && i < 8 ? (uint8_t)(1u << i) : one[i % 2];
            quote.data[at] ^= mask;
            try_change(s, &m, bytes_of_buf(&quote), at, mask);
            quote.data[at] ^= mask;
        }
    }
    print_message("%s: %zu changes under signatures refused, %zu elsewhere, %zu of them without "
                  "effect\n",
                  name, s->signed_bytes, s->free_bytes, s->ignored);
}

/* The verdict on the quote as it is. */
static void judge(subject *s) {
    dstack_quote_report report;
    dstack_error err = {0};
    s->verdict =
        dstack_verifier_check_with(s->v, s->quote, s->collateral, NULL, s->now, &report, &err);
    if (s->verdict == 0) {
        assert_ok(dstack_quote_report_to_json(&report, false, &s->report, &err), err);
    }
}

static void without_chain(dstack_collateral *from, dstack_collateral **out) {
    dstack_collateral_parts parts;
    dstack_collateral_get(from, &parts);
    parts.has_pck_certificate_chain = false;
    assert_int_equal(dstack_collateral_new(out, &parts, NULL), 0);
}

static void run_made(made_spec *spec, const char *name) {
    DSTACK_AUTO(made) made m;
    made_build(spec, &m);
    subject s = {.now = MADE_NOW, .quote = bytes_of_buf(&m.quote)};
    s.v = made_verifier(&m, (dstack_verifier_options){0});
    without_chain(m.collateral, &s.collateral);
    judge(&s);
    assert_int_equal(s.verdict, 0);
    change_every_byte(&s, name);
    dstack_verifier_free(s.v);
    dstack_collateral_free(s.collateral);
    dstack_buf_clear(&s.report);
}

static void sec_32_no_byte_of_a_made_tdx_quote_can_be_changed(void **state) {
    made_spec s;
    made_spec_init(&s);
    run_made(&s, "made, version 4");
}

static void sec_32_no_byte_of_a_made_tdx_15_quote_can_be_changed(void **state) {
    made_spec s;
    made_spec_init(&s);
    s.version = 5;
    s.with_td15 = true;
    run_made(&s, "made, version 5, TD 1.5");
}

static void sec_32_no_byte_of_a_real_quote_can_be_changed(void **state) {
    static const struct {
        const char *file;
        bool passes;
    } quotes[] = {
        {"tdx_quote.bin", true},       {"tdx_quote_unpadded.bin", true}, {"qvl_tdx_hex.bin", false},
        {"qvl_from_tappd.bin", false}, {"dstack_ra_tls.bin", false},
    };
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(collateral) dstack_collateral *recorded = NULL, *own = NULL;
    dstack_error err = {0};
    load_file(SHARED_DATA "dcap/real/tdx_quote_collateral.json", &text);
    assert_ok(dstack_collateral_parse(&recorded, bytes_of_buf(&text), &err), err);
    without_chain(recorded, &own);
    dstack_verifier *v = NULL;
    assert_ok(dstack_verifier_new(&v, NULL, &err), err);
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        DSTACK_AUTO(buf) dstack_buf quote = {0};
        char path[256];
        snprintf(path, sizeof path, SHARED_DATA "dcap/real/%s", quotes[i].file);
        load_file(path, &quote);
        subject s = {.v = v, .collateral = own, .now = 1750400000, .quote = bytes_of_buf(&quote)};
        judge(&s);
        print_message("%s: %s\n", quotes[i].file, dstack_status_name((dstack_status)s.verdict));
        assert_int_equal(s.verdict, quotes[i].passes ? 0 : DSTACK_E_DCAP_TCB_NOT_SUPPORTED);
        change_every_byte(&s, quotes[i].file);
        dstack_buf_clear(&s.report);
    }
    dstack_verifier_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_32_no_byte_of_a_made_tdx_quote_can_be_changed),
        cmocka_unit_test(sec_32_no_byte_of_a_made_tdx_15_quote_can_be_changed),
        cmocka_unit_test(sec_32_no_byte_of_a_real_quote_can_be_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
