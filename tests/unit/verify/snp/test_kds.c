/* The client of AMD's key distribution service against one that is sound, faulty or away, and what
 * it keeps on disk. */
#include "check.h"
#include "kds_server.h"

#include <signal.h>

#include <dstack/attestation.h>

#include "base/file.h"
#include "verify/snp/kds.h"
#include "x509/pem.h"

#define DAY ((int64_t)86400)

typedef struct world {
    made_snp made;
    dstack_buf chain; /* PEM: ASK, root */
    kds_server kds;
    dstack_snp_options options;
    char dir[64], cache[80];
} world;

static void serve(world *w, const made_snp *m, kds_server *s) {
    dstack_error err = {0};
    buf_reset(&w->chain);
    assert_ok(pem_append(&w->chain, "CERTIFICATE", bytes_of_buf(&m->certs.ask), &err), err);
    assert_ok(pem_append(&w->chain, "CERTIFICATE", bytes_of_buf(&m->root), &err), err);
    s->vcek = bytes_of_buf(&m->certs.vcek);
    s->chain = bytes_of_buf(&w->chain);
    s->crl = bytes_of_buf(&m->certs.crl);
}

static void world_open(world *w) {
    signal(SIGPIPE, SIG_IGN);
    *w = (world){.dir = "/tmp/dstack-kds-XXXXXX"};
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->cache, sizeof w->cache, "%s/cache", w->dir);
    made_snp_init(&w->made);
    w->made.crl_until = MADE_SNP_NOW + 30 * DAY;
    made_snp_build(&w->made);
    serve(w, &w->made, &w->kds);
    kds_server_start(&w->kds);
    w->options.now = MADE_SNP_NOW;
    for (size_t i = 0; i < DSTACK_SNP_PRODUCTS; i++) {
        w->options.roots[i] = bytes_of_buf(&w->made.root);
    }
}

static void world_close(world *w) {
    char command[128];
    kds_server_stop(&w->kds);
    made_snp_clear(&w->made);
    dstack_buf_clear(&w->chain);
    snprintf(command, sizeof command, "rm -r '%s'", w->dir);
    assert_int_equal(system(command), 0);
}

static dstack_bytes report_of(const world *w) {
    return bytes_of(w->made.report, sizeof w->made.report);
}

/* Fetches and, where that succeeds, verifies the report with what came. */
static int fetch_from(world *w, const char *const *urls, size_t count, dstack_snp_servers servers,
                      dstack_error *err) {
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    dstack_snp_verdict verdict;
    servers.urls = urls;
    servers.url_count = count;
    servers.timeout_ms = servers.timeout_ms != 0 ? servers.timeout_ms : 20000;
    int rc = dstack_snp_certs_fetch(report_of(w), &w->options, &servers, &certs, err);
    assert_true(rc == 0 || (certs.vcek.len == 0 && certs.ask.len == 0 && certs.crl.len == 0));
    if (rc == 0) {
        assert_ok(dstack_snp_verify(report_of(w), &certs, &w->options, &verdict, err), *err);
        assert_true(verdict.crl_checked == (certs.crl.len > 0) && verdict.vcek_bound);
    }
    return rc;
}

static int fetch(world *w, dstack_snp_servers servers) {
    dstack_error err = {0};
    const char *urls[] = {w->kds.url};
    return fetch_from(w, urls, 1, servers, &err);
}

static unsigned requests(world *w) {
    return atomic_exchange(&w->kds.requests, 0);
}

/* ---- addresses ---- */

static void addresses_follow_the_products_parameters(void **state) {
    static const struct {
        dstack_snp_product product;
        uint32_t key;
        kds_piece piece;
        const char *base, *url;
    } cases[] = {
        {DSTACK_SNP_MILAN, DSTACK_SNP_KEY_VCEK, KDS_LEAF, "https://kds.example/vcek/v1/",
         "https://kds.example/vcek/v1/Milan/"
         "5c5c5c5c5c5c5c5c0101010101010101010101010101010101010101010101010101010101010101"
         "010101010101010101010101010101010101010101010101?blSPL=4&teeSPL=0&snpSPL=23&ucodeSPL="
         "213"},
        {DSTACK_SNP_TURIN, DSTACK_SNP_KEY_VCEK, KDS_LEAF, "http://m/vcek/v1",
         "http://m/vcek/v1/Turin/"
         "5c5c5c5c5c5c5c5c?fmcSPL=9&blSPL=4&teeSPL=0&snpSPL=23&ucodeSPL=213"},
        {DSTACK_SNP_GENOA, DSTACK_SNP_KEY_VCEK, KDS_ASK, "http://m/vcek/v1//",
         "http://m/vcek/v1/Genoa/cert_chain"},
        {DSTACK_SNP_GENOA, DSTACK_SNP_KEY_VCEK, KDS_CRL, "http://m", "http://m/Genoa/crl"},
        {DSTACK_SNP_MILAN, DSTACK_SNP_KEY_VLEK, KDS_ASK, "http://m/a/vcek/v1",
         "http://m/a/vlek/v1/Milan/cert_chain"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf url = {0};
        dstack_error err = {0};
        dstack_snp_report r = {.signing_key = cases[i].key,
                               .reported_tcb = {.boot_loader = 4, .snp = 23, .microcode = 213}};
        memset(r.chip_id, 1, sizeof r.chip_id);
        memset(r.chip_id, 0x5c, 8);
        r.reported_tcb.has_fmc = cases[i].product == DSTACK_SNP_TURIN;
        r.reported_tcb.fmc = r.reported_tcb.has_fmc ? 9 : 0;
        assert_ok(kds_url(cases[i].piece, cases[i].base, cases[i].product, &r, &url, &err), err);
        assert_string_equal(buf_text(&url), cases[i].url);
    }
}

/* ---- fetching ---- */

static void a_report_alone_is_verified_with_what_is_fetched(void **state) {
    world w;
    world_open(&w);
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), 0);
    assert_int_equal(requests(&w), 3);
    assert_int_equal(strncmp(w.kds.last, "/vcek/v1/Milan/5c5c5c5c", 23), 0);
    assert_non_null(strstr(w.kds.last, "?blSPL=4&teeSPL=0&snpSPL=23&ucodeSPL=213"));
    world_close(&w);
}

static void sec_33_a_faulty_server_is_refused_and_the_next_one_asked(void **state) {
    static const struct {
        kds_fault fault;
        dstack_status status;
    } cases[] = {
        {KDS_SLOW, DSTACK_E_TIMEOUT},      {KDS_OVERSIZE, DSTACK_E_LIMIT},
        {KDS_EMPTY, DSTACK_E_FORMAT},      {KDS_UNKNOWN, DSTACK_E_NOT_FOUND},
        {KDS_BUSY, DSTACK_E_NETWORK},      {KDS_LIMITED, DSTACK_E_NETWORK},
        {KDS_NO_LIST, DSTACK_E_NOT_FOUND}, {KDS_TRUNCATED, DSTACK_E_FORMAT},
        {KDS_GARBAGE, DSTACK_E_FORMAT},
    };
    world w;
    kds_server good = {.delay_ms = 0};
    world_open(&w);
    serve(&w, &w.made, &good);
    kds_server_start(&good);
    w.kds.delay_ms = 900;
    const char *urls[] = {w.kds.url, good.url};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dstack_error err = {0};
        atomic_store(&w.kds.fault, cases[i].fault);
        const dstack_snp_servers servers = {.timeout_ms = cases[i].fault == KDS_SLOW ? 300 : 0};
        int rc = fetch_from(&w, urls, 1, servers, &err);
        bool bad_der = cases[i].status == DSTACK_E_FORMAT && rc != 0 && rc != DSTACK_E_NETWORK;
        if (rc != (int)cases[i].status && !bad_der) {
            fail_msg("case %zu: %s: %s", i, dstack_status_name((dstack_status)rc), err.message);
        }
        assert_ok(fetch_from(&w, urls, 2, servers, &err), err);
    }
    kds_server_stop(&good);
    world_close(&w);
}

static void bend_chip(made_snp *m) {
    m->hardware_id[0] ^= 1;
}
static void bend_firmware(made_snp *m) {
    m->spl[2]++;
}
static void bend_foreign(made_snp *m) {
    m->foreign_ask = true;
}
static void bend_revoked(made_snp *m) {
    m->revoke_ask = true;
}
static void bend_old_list(made_snp *m) {
    m->crl_until = MADE_SNP_NOW - 1;
}
static void bend_ended(made_snp *m) {
    m->vcek_until = MADE_SNP_NOW - 1;
}

static void sec_33_what_does_not_hold_is_neither_given_nor_kept(void **state) {
    static const struct {
        void (*bend)(made_snp *);
        dstack_status status;
    } cases[] = {
        {bend_chip, DSTACK_E_REFUSED},          {bend_firmware, DSTACK_E_REFUSED},
        {bend_foreign, DSTACK_E_CRYPTO},        {bend_revoked, DSTACK_E_X509_REVOKED},
        {bend_old_list, DSTACK_E_X509_EXPIRED}, {bend_ended, DSTACK_E_X509_EXPIRED},
    };
    world w;
    world_open(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made_snp bad;
        dstack_error err = {0};
        const char *urls[] = {w.kds.url};
        made_snp_init(&bad);
        bad.crl_until = MADE_SNP_NOW + 30 * DAY;
        cases[i].bend(&bad);
        made_snp_build(&bad);
        serve(&w, &bad, &w.kds);
        int rc = fetch_from(&w, urls, 1, (dstack_snp_servers){.cache = w.cache}, &err);
        if (rc != (int)cases[i].status) {
            fail_msg("case %zu: %s: %s", i, dstack_status_name((dstack_status)rc), err.message);
        }
        assert_int_equal(access(w.cache, F_OK), -1);
        made_snp_clear(&bad);
    }
    world_close(&w);
}

static void a_busy_server_is_asked_again(void **state) {
    world w;
    world_open(&w);
    atomic_store(&w.kds.busy_left, 2);
    assert_int_equal(fetch(&w, (dstack_snp_servers){.retries = 1}), DSTACK_E_NETWORK);
    atomic_store(&w.kds.busy_left, 2);
    assert_int_equal(fetch(&w, (dstack_snp_servers){.retries = 2}), 0);
    world_close(&w);
}

static void a_report_that_hides_its_chip_asks_nobody(void **state) {
    world w;
    world_open(&w);
    memset(w.made.report + 0x1a0, 0, 64);
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), DSTACK_E_REFUSED);
    memset(w.made.report + 0x1a0, 0x5c, 64);
    w.made.report[0x48] = 1 << 1; /* the chip's key is masked */
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), DSTACK_E_REFUSED);
    w.made.report[0x48] = 1 << 2; /* a VLEK, whose certificate is not published */
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), DSTACK_E_NOT_FOUND);
    assert_int_equal(requests(&w), 0);
    world_close(&w);
}

static void a_version_2_report_asks_for_both_products(void **state) {
    world w;
    world_open(&w);
    w.made.report[0] = 2;
    memset(w.made.report + 0x188, 0, 3);
    made_snp_build(&w.made);
    serve(&w, &w.made, &w.kds);
    atomic_store(&w.kds.fault, KDS_UNKNOWN);
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), DSTACK_E_NOT_FOUND);
    assert_int_equal(w.kds.leaves, 2);
    assert_int_equal(strncmp(w.kds.last, "/vcek/v1/Milan/", 15), 0);
    atomic_store(&w.kds.fault, KDS_SOUND);
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), 0);
    assert_int_equal(strncmp(w.kds.last, "/vcek/v1/Genoa/", 15), 0);
    world_close(&w);
}

static void only_what_is_lacking_is_fetched(void **state) {
    world w;
    dstack_error err = {0};
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    world_open(&w);
    const char *urls[] = {w.kds.url};
    const dstack_snp_servers servers = {.urls = urls, .url_count = 1, .timeout_ms = 20000};
    buf_put_bytes(&certs.ask, bytes_of_buf(&w.made.certs.ask));
    buf_put_bytes(&certs.vcek, bytes_of_buf(&w.made.certs.vcek));
    assert_ok(dstack_snp_certs_fetch(report_of(&w), &w.options, &servers, &certs, &err), err);
    assert_int_equal(requests(&w), 1);
    assert_int_equal(w.kds.lists, 1);
    assert_ok(dstack_snp_certs_fetch(report_of(&w), &w.options, &servers, &certs, &err), err);
    assert_int_equal(requests(&w), 0);
    world_close(&w);
}

static void a_mirror_without_a_list_passes_only_where_that_is_said(void **state) {
    world w;
    world_open(&w);
    atomic_store(&w.kds.fault, KDS_NO_LIST);
    assert_int_equal(fetch(&w, (dstack_snp_servers){0}), DSTACK_E_NOT_FOUND);
    assert_int_equal(fetch(&w, (dstack_snp_servers){.optional_crl = true}), 0);
    world_close(&w);
}

/* ---- kept ---- */

static void what_was_fetched_is_kept_and_a_chip_is_asked_for_once(void **state) {
    world w;
    const dstack_snp_servers kept = {.cache = NULL};
    world_open(&w);
    dstack_snp_servers servers = kept;
    servers.cache = w.cache;
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 3);
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 0);
    w.options.now += 2 * DAY; /* chain and list are looked at anew, the chip's certificate is not */
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 2);
    assert_int_equal(w.kds.leaves, 1);
    world_close(&w);
}

static void
sec_33_kept_certificates_serve_until_the_list_ends_while_the_server_is_away(void **state) {
    world w;
    world_open(&w);
    dstack_snp_servers servers = {.cache = w.cache};
    assert_int_equal(fetch(&w, servers), 0);
    atomic_store(&w.kds.fault, KDS_BUSY);
    w.options.now = MADE_SNP_NOW + 29 * DAY;
    assert_int_equal(fetch(&w, servers), 0);
    assert_true(requests(&w) > 3); /* it was asked */
    w.options.now = MADE_SNP_NOW + 31 * DAY;
    assert_int_equal(fetch(&w, servers), DSTACK_E_NETWORK);
    servers.offline = true;
    assert_int_equal(fetch(&w, servers), DSTACK_E_X509_EXPIRED);
    world_close(&w);
}

static void offline_only_what_is_kept_serves(void **state) {
    world w;
    world_open(&w);
    dstack_snp_servers servers = {.cache = w.cache, .offline = true};
    assert_int_equal(fetch(&w, servers), DSTACK_E_NOT_FOUND);
    servers.offline = false;
    assert_int_equal(fetch(&w, servers), 0);
    requests(&w);
    servers.offline = true;
    w.options.now += 20 * DAY;
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 0);
    world_close(&w);
}

static void a_folder_of_damaged_or_mixed_records_is_as_good_as_none(void **state) {
    world w;
    char command[400];
    world_open(&w);
    const dstack_snp_servers servers = {.cache = w.cache};
    assert_int_equal(fetch(&w, servers), 0);
    requests(&w);
    snprintf(command, sizeof command, "for f in '%s'/*; do echo x > \"$f\"; done", w.cache);
    assert_int_equal(system(command), 0);
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 3);
    /* the list in the place of the chain: none of it holds, all of it is fetched */
    snprintf(command, sizeof command,
             "cp '%s/snp-Milan-vcek-crl.json' '%s/snp-Milan-vcek-chain.json'", w.cache, w.cache);
    assert_int_equal(system(command), 0);
    assert_int_equal(fetch(&w, servers), 0);
    assert_true(requests(&w) >= 1);
    world_close(&w);
}

/* AMD's own certificates for a real report, under AMD's own root; no list of AMD's is at hand. */
static void a_real_report_is_verified_with_served_certificates(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf evidence = {0}, vcek = {0}, ask = {0}, der = {0};
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    dstack_attestation *attestation = NULL;
    dstack_snp_verdict verdict;
    dstack_error err = {0};
    kds_server s = {.delay_ms = 0};
    load_file(SHARED_DATA "attestation/attest/sev-snp.v0.bin", &evidence);
    load_file(SHARED_DATA "attestation/attest/sev_snp_vcek.pem", &vcek);
    load_file(SHARED_DATA "attestation/attest/sev_snp_ask.pem", &ask);
    assert_ok(dstack_attestation_decode(bytes_of_buf(&evidence), &attestation, &err), err);
    assert_ok(kds_read(KDS_LEAF, bytes_of_buf(&vcek), &der, &err), err);
    s.vcek = bytes_of_buf(&der);
    s.chain = bytes_of_buf(&ask);
    kds_server_start(&s);
    const char *urls[] = {s.url};
    const dstack_bytes report = dstack_attestation_evidence(attestation);
    const dstack_snp_options options = {.now = 1785000000};
    const dstack_snp_servers servers = {
        .urls = urls, .url_count = 1, .timeout_ms = 20000, .optional_crl = true};
    assert_ok(dstack_snp_certs_fetch(report, &options, &servers, &certs, &err), err);
    assert_ok(dstack_snp_verify(report, &certs, &options, &verdict, &err), err);
    assert_true(verdict.anchor.builtin && verdict.vcek_bound && !verdict.crl_checked);
    assert_int_equal(verdict.status, DSTACK_TCB_OUT_OF_DATE);
    assert_non_null(strstr(s.last, "?blSPL=4&teeSPL=0&snpSPL=23&ucodeSPL=213"));
    kds_server_stop(&s);
    dstack_attestation_free(attestation);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_follow_the_products_parameters),
        cmocka_unit_test(a_report_alone_is_verified_with_what_is_fetched),
        cmocka_unit_test(sec_33_a_faulty_server_is_refused_and_the_next_one_asked),
        cmocka_unit_test(sec_33_what_does_not_hold_is_neither_given_nor_kept),
        cmocka_unit_test(a_busy_server_is_asked_again),
        cmocka_unit_test(a_report_that_hides_its_chip_asks_nobody),
        cmocka_unit_test(a_version_2_report_asks_for_both_products),
        cmocka_unit_test(only_what_is_lacking_is_fetched),
        cmocka_unit_test(a_mirror_without_a_list_passes_only_where_that_is_said),
        cmocka_unit_test(what_was_fetched_is_kept_and_a_chip_is_asked_for_once),
        cmocka_unit_test(
            sec_33_kept_certificates_serve_until_the_list_ends_while_the_server_is_away),
        cmocka_unit_test(offline_only_what_is_kept_serves),
        cmocka_unit_test(a_folder_of_damaged_or_mixed_records_is_as_good_as_none),
        cmocka_unit_test(a_real_report_is_verified_with_served_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
