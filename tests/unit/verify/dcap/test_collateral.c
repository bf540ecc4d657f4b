/* The collateral client against a cache that is sound, faulty or away, and what it keeps on disk. */
#include "made.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/file.h"
#include "pccs.h"
#include "verify/dcap/disk_cache.h"

#define DAY ((int64_t)86400)
#define RECORD "tdx-00906ea10000-platform-standard.json"

typedef struct world {
    made made;
    pccs pccs;
    dstack_verifier *verifier;
    char dir[64], cache[80];
} world;

static void world_open(world *w) {
    made_spec spec;
    made_spec_init(&spec);
    *w = (world){.dir = "/tmp/dstack-collateral-XXXXXX"};
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->cache, sizeof w->cache, "%s/cache", w->dir);
    made_build(&spec, &w->made);
    w->verifier = made_verifier(&w->made, (dstack_verifier_options){0});
    pccs_start(&w->pccs, w->made.collateral);
}

static void remove_all(const char *path) {
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            unlinkat(dirfd(dir), e->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    rmdir(path);
}

static void world_close(world *w) {
    pccs_stop(&w->pccs);
    dstack_verifier_free(w->verifier);
    made_clear(&w->made);
    remove_all(w->cache);
    remove_all(w->dir);
}

static int fetch_from(world *w, const char *const *urls, size_t count,
                      dstack_collateral_servers servers, dstack_error *err) {
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    servers.urls = urls;
    servers.url_count = count;
    servers.now = servers.now != 0 ? servers.now : MADE_NOW;
    servers.timeout_ms = servers.timeout_ms != 0 ? servers.timeout_ms : 5000;
    int rc = dstack_collateral_fetch(&c, bytes_of_buf(&w->made.quote), &servers, err);
    assert_true(rc == 0 || c == NULL);
    /* What comes out verifies the quote, from wherever it came. */
    if (rc == 0 && servers.now == MADE_NOW) {
        assert_ok(dstack_verifier_check_with(w->verifier, bytes_of_buf(&w->made.quote), c, NULL,
                                             MADE_NOW, NULL, err),
                  *err);
    }
    return rc;
}

static int fetch(world *w, dstack_collateral_servers servers) {
    dstack_error err = {0};
    const char *urls[] = {w->pccs.url};
    return fetch_from(w, urls, 1, servers, &err);
}

static unsigned requests(world *w) {
    return atomic_exchange(&w->pccs.requests, 0);
}

/* ---- faults ---- */

static void sec_33_a_faulty_server_is_refused_and_the_next_one_asked(void **state) {
    world w;
    pccs good = {0};
    static const struct {
        pccs_fault fault;
        dstack_status status;
    } cases[] = {
        {PCCS_SLOW, DSTACK_E_TIMEOUT},
        {PCCS_TRUNCATED, DSTACK_E_DCAP_COLLATERAL_FETCH},
        {PCCS_OVERSIZE, DSTACK_E_LIMIT},
        {PCCS_MISSING, DSTACK_E_DCAP_COLLATERAL_FETCH},
        {PCCS_BUSY, DSTACK_E_NETWORK},
        {PCCS_LIMITED, DSTACK_E_NETWORK},
        {PCCS_NO_CHAIN, DSTACK_E_DCAP_COLLATERAL_FETCH},
        {PCCS_WRONG_CHAIN, DSTACK_E_DCAP_CERT_CONSTRAINTS}, /* a CA signs no TCB info */
    };
    signal(SIGPIPE, SIG_IGN);
    world_open(&w);
    pccs_start(&good, w.made.collateral);
    w.pccs.delay_ms = 600;
    const char *urls[] = {w.pccs.url, good.url};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dstack_error err = {0};
        atomic_store(&w.pccs.fault, cases[i].fault);
        const dstack_collateral_servers servers = {
            .verifier = w.verifier,
            .timeout_ms = cases[i].fault == PCCS_SLOW ? 300 : 5000,
        };
        assert_int_equal(fetch_from(&w, urls, 1, servers, &err), cases[i].status);
        assert_ok(fetch_from(&w, urls, 2, servers, &err), err);
    }
    pccs_stop(&good);
    world_close(&w);
}

static void sec_33_collateral_past_its_dates_is_not_taken(void **state) {
    world w;
    pccs good = {0}, stale = {0};
    DSTACK_AUTO(made) made old;
    made_spec spec;
    world_open(&w);
    made_spec_init(&spec);
    spec.texts_until = MADE_NOW - 1;
    made_build(&spec, &old);
    pccs_start(&stale, old.collateral);
    pccs_start(&good, w.made.collateral);
    const char *urls[] = {stale.url, good.url};
    dstack_error err = {0};
    assert_int_equal(fetch_from(&w, urls, 1, (dstack_collateral_servers){0}, &err),
                     DSTACK_E_DCAP_COLLATERAL_FETCH);
    assert_ok(fetch_from(&w, urls, 2, (dstack_collateral_servers){0}, &err), err);
    pccs_stop(&stale);
    pccs_stop(&good);
    world_close(&w);
}

static void collateral_of_another_platform_is_not_taken(void **state) {
    world w;
    pccs other = {0};
    DSTACK_AUTO(made) made m;
    made_spec spec;
    world_open(&w);
    made_spec_init(&spec);
    spec.tcb_edits[0] = "00906EA10000";
    spec.tcb_edits[1] = "00906EA1FFFF";
    made_build(&spec, &m);
    pccs_start(&other, m.collateral);
    const char *urls[] = {other.url};
    dstack_error err = {0};
    assert_int_equal(fetch_from(&w, urls, 1, (dstack_collateral_servers){0}, &err),
                     DSTACK_E_DCAP_COLLATERAL_FETCH);
    pccs_stop(&other);
    world_close(&w);
}

static void the_evaluation_number_asked_for_is_the_one_taken(void **state) {
    world w;
    world_open(&w);
    assert_int_equal(fetch(&w, (dstack_collateral_servers){.eval_number = 17}), 0);
    assert_int_equal(fetch(&w, (dstack_collateral_servers){.eval_number = 99}),
                     DSTACK_E_DCAP_COLLATERAL_FETCH);
    world_close(&w);
}

static void a_bundle_in_a_file_serves_when_no_server_does(void **state) {
    world w;
    char path[96], url[104];
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    world_open(&w);
    snprintf(path, sizeof path, "%s/bundle.json", w.dir);
    snprintf(url, sizeof url, "file:%s", path);
    assert_ok(dstack_collateral_to_json(w.made.collateral, false, &text, &err), err);
    assert_ok(file_write_atomic(path, bytes_of_buf(&text), 0600, &err), err);
    const char *urls[] = {"http://127.0.0.1:1", url};
    assert_ok(fetch_from(&w, urls, 2, (dstack_collateral_servers){0}, &err), err);
    assert_int_equal(
        fetch_from(&w, urls, 2, (dstack_collateral_servers){.now = MADE_NOW + 100 * DAY}, &err),
        DSTACK_E_DCAP_COLLATERAL_FETCH);
    world_close(&w);
}

/* ---- kept on disk ---- */

static void sec_33_what_was_fetched_serves_the_next_call_without_a_server(void **state) {
    world w;
    char path[128];
    struct stat info;
    world_open(&w);
    const dstack_collateral_servers servers = {.cache = w.cache};
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 4);
    snprintf(path, sizeof path, "%s/%s", w.cache, RECORD);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    atomic_store(&w.pccs.fault, PCCS_BUSY);
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 0);
    world_close(&w);
}

static void sec_33_what_is_kept_is_renewed_when_old_and_never_used_past_its_dates(void **state) {
    world w;
    world_open(&w);
    dstack_collateral_servers servers = {.cache = w.cache};
    assert_int_equal(fetch(&w, servers), 0);
    requests(&w);
    /* a day later it is asked for anew; the server being away, the old one serves */
    atomic_store(&w.pccs.fault, PCCS_BUSY);
    servers.now = MADE_NOW + DAY;
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 1);
    servers.cache_age = 2 * DAY;
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 0);
    servers.cache_age = -1;
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 1);
    /* a clock that went back makes it old too */
    servers = (dstack_collateral_servers){.cache = w.cache, .now = MADE_NOW - 1};
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(requests(&w), 1);
    /* the PCK list is the first to end, 20 days on */
    servers.now = MADE_NOW + 20 * DAY;
    assert_int_equal(fetch(&w, servers), DSTACK_E_NETWORK);
    world_close(&w);
}

static void sec_33_a_damaged_record_is_as_good_as_none(void **state) {
    world w;
    char path[128];
    world_open(&w);
    snprintf(path, sizeof path, "%s/%s", w.cache, RECORD);
    const dstack_collateral_servers servers = {.cache = w.cache};
    assert_int_equal(fetch(&w, servers), 0);
    DSTACK_AUTO(buf) dstack_buf whole = {0};
    dstack_error err = {0};
    assert_ok(file_read(path, 1 << 20, &whole, &err), err);
    for (int damage = 0; damage < 3; damage++) {
        DSTACK_AUTO(buf) dstack_buf bad = {0};
        buf_put_bytes(&bad, bytes_of_buf(&whole));
        const char *needle = damage == 0 ? "\"id\":\"" : "\"root_ca_crl\":\"";
        char *at = strstr((char *)(uintptr_t)buf_text(&bad), needle);
        assert_non_null(at);
        at += strlen(needle) + 200 * (size_t)(damage > 0);
        *at = *at == '0' ? '1' : '0';
        if (damage == 2) {
            bad.len /= 2;
        }
        assert_ok(file_write_atomic(path, bytes_of_buf(&bad), 0600, &err), err);
        requests(&w);
        assert_int_equal(fetch(&w, servers), 0);
        assert_int_equal(requests(&w), 4);
    }
    world_close(&w);
}

static void sec_33_what_the_verifier_refuses_is_not_kept(void **state) {
    world w;
    char path[128];
    world_open(&w);
    snprintf(path, sizeof path, "%s/%s", w.cache, RECORD);
    atomic_store(&w.pccs.fault, PCCS_WRONG_CHAIN);
    const dstack_collateral_servers servers = {.cache = w.cache, .verifier = w.verifier};
    assert_int_equal(fetch(&w, servers), DSTACK_E_DCAP_CERT_CONSTRAINTS);
    assert_int_equal(access(path, F_OK), -1);
    /* and one that another program kept is passed over */
    assert_int_equal(
        dstack_collateral_fetch(&(dstack_collateral *){NULL}, bytes_of_buf(&w.made.quote),
                                &(dstack_collateral_servers){.urls = (const char *[]){w.pccs.url},
                                                             .url_count = 1,
                                                             .now = MADE_NOW,
                                                             .verifier = w.verifier,
                                                             .cache = w.cache},
                                NULL),
        DSTACK_E_DCAP_CERT_CONSTRAINTS);
    atomic_store(&w.pccs.fault, PCCS_SOUND);
    assert_int_equal(fetch(&w, servers), 0);
    assert_int_equal(access(path, F_OK), 0);
    world_close(&w);
}

static void the_folder_does_not_grow_without_end(void **state) {
    world w;
    dstack_error err = {0};
    world_open(&w);
    for (unsigned i = 0; i < DISK_CACHE_MAX_RECORDS + 20; i++) {
        char name[DISK_CACHE_NAME_SIZE];
        uint8_t fmspc[6] = {(uint8_t)(i >> 8), (uint8_t)i};
        disk_cache_bundle_name(name, "tdx", fmspc, "platform", "standard");
        assert_ok(disk_cache_store_pem(w.cache, name, bytes_of_str("x"), MADE_NOW, &err), err);
    }
    size_t count = 0;
    DIR *dir = opendir(w.cache);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        count += e->d_name[0] != '.';
    }
    closedir(dir);
    assert_int_equal(count, DISK_CACHE_MAX_RECORDS);
    world_close(&w);
}

/* ---- verified by itself ---- */

static void a_bundle_is_verified_by_itself_whichever_part_is_forged(void **state) {
    static const struct {
        enum made_signed what;
        dstack_status status;
    } cases[] = {
        {MADE_SIGNED_ROOT_CRL, DSTACK_E_DCAP_CRL_SIGNATURE},
        {MADE_SIGNED_PCK_CRL, DSTACK_E_DCAP_CRL_SIGNATURE},
        {MADE_SIGNED_TCB_INFO, DSTACK_E_DCAP_TCB_INFO_SIGNATURE},
        {MADE_SIGNED_QE_IDENTITY, DSTACK_E_DCAP_QE_IDENTITY_SIGNATURE},
        {MADE_SIGNED_SIGNER, DSTACK_E_DCAP_CERT_SIGNATURE},
        {MADE_SIGNED_CA, DSTACK_E_DCAP_CERT_SIGNATURE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases + 1; i++) {
        DSTACK_AUTO(made) made m;
        made_spec spec;
        made_spec_init(&spec);
        bool sound = i == sizeof cases / sizeof *cases;
        spec.forged = sound ? 0 : MADE_BIT(cases[i].what);
        made_build(&spec, &m);
        dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
        assert_int_equal(dstack_verifier_check_collateral(v, m.collateral, MADE_NOW, NULL),
                         sound ? 0 : cases[i].status);
        dstack_verifier_free(v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_33_a_faulty_server_is_refused_and_the_next_one_asked),
        cmocka_unit_test(sec_33_collateral_past_its_dates_is_not_taken),
        cmocka_unit_test(collateral_of_another_platform_is_not_taken),
        cmocka_unit_test(the_evaluation_number_asked_for_is_the_one_taken),
        cmocka_unit_test(a_bundle_in_a_file_serves_when_no_server_does),
        cmocka_unit_test(sec_33_what_was_fetched_serves_the_next_call_without_a_server),
        cmocka_unit_test(sec_33_what_is_kept_is_renewed_when_old_and_never_used_past_its_dates),
        cmocka_unit_test(sec_33_a_damaged_record_is_as_good_as_none),
        cmocka_unit_test(sec_33_what_the_verifier_refuses_is_not_kept),
        cmocka_unit_test(the_folder_does_not_grow_without_end),
        cmocka_unit_test(a_bundle_is_verified_by_itself_whichever_part_is_forged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
