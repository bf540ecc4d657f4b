/* A running verifier renews its collateral from a collateral cache that is up, down and up again. */
#include "verifier_world.h"

#include "verify/dcap/made.h"
#include "verify/dcap/pccs.h"

#define HOUR ((int64_t)3600)
#define DAY (24 * HOUR)

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

typedef struct renewal {
    verifier_world v;
    made old, fresh;
    int64_t fresh_until;
    pccs pccs;
} renewal;

/* Of one platform and one root: what is made differs in its dates alone. */
static void make(made *out, int64_t until) {
    made_spec s;
    made_spec_init(&s);
    int64_t now = clock_unix();
    for (size_t i = 0; i < sizeof s.certs / sizeof *s.certs; i++) {
        s.certs[i].from = now - 90 * DAY;
        s.certs[i].until = now + 3650 * DAY;
    }
    s.root_crl = s.pck_crl = (made_list){now - 60 * DAY, until};
    s.texts_from = now - 60 * DAY;
    s.texts_until = until;
    made_build(&s, out);
}

static void start(renewal *r, int64_t old_until, pccs_fault fault) {
    verifier_world *v = &r->v;
    DSTACK_AUTO(buf) dstack_buf bundle = {0}, text = {0};
    dstack_error err = {0};
    r->fresh_until = clock_unix() + 30 * DAY;
    make(&r->old, old_until);
    make(&r->fresh, r->fresh_until);
    r->pccs = (pccs){0};
    pccs_start(&r->pccs, r->fresh.collateral);
    atomic_store(&r->pccs.fault, fault);
    assert_ok(dstack_collateral_to_json(r->old.collateral, false, &bundle, &err), err);
    world_write(&v->w, "old.json", buf_text(&bundle));
    assert_ok(
        file_write_atomic(world_path(&v->w, "made.der"), bytes_of_buf(&r->old.root), 0600, &err),
        err);
    buf_put_fmt(&text,
                "address: 'unix:%s/v.sock'\n"
                "rate: 0\n"
                "attestation:\n"
                "  insecure_allow_external_trust_anchors: true\n"
                "  root_ca: {tdx: made.der}\n"
                "  collateral: ['%s/old.json']\n"
                "  urls: {pccs: ['%s'], timeout: 20s}\n"
                "  renewal: {interval: 1s, retry: 1s}\n",
                v->w.dir, v->w.dir, r->pccs.url);
    world_write(&v->w, "kms.yaml", buf_text(&text));
    vworld_run(v);
}

static int setup(void **state) {
    renewal *r = calloc(1, sizeof *r);
    void *inner = NULL;
    assert_int_equal(vworld_setup(&inner), 0);
    r->v = *(verifier_world *)inner;
    free(inner);
    *state = r;
    return 0;
}

static int teardown(void **state) {
    renewal *r = *state;
    verifier_world *v = malloc(sizeof *v);
    *v = r->v;
    void *inner = v;
    assert_int_equal(vworld_teardown(&inner), 0);
    pccs_stop(&r->pccs);
    made_clear(&r->old);
    made_clear(&r->fresh);
    free(r);
    return 0;
}

static int64_t metric(renewal *r, const char *series) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_int_equal(vworld_send(&r->v, "GET", "/metrics", NULL, bytes_of_str(""), &text, NULL),
                     200);
    const char *line = strstr(buf_text(&text), series);
    /* the comment lines above a series hold its name without what follows it here */
    while (line != NULL && (line[strlen(series)] != ' ' || line[strlen(series) + 1] > '9')) {
        line = strstr(line + 1, series);
    }
    return line == NULL ? -1 : strtoll(line + strlen(series), NULL, 10);
}

#define RENEWED "dstack_collateral_renewals_total{outcome=\"renewed\"}"
#define FAILED "dstack_collateral_renewals_total{outcome=\"failed\"}"

static void wait_for(renewal *r, const char *series, int64_t least) {
    for (int i = 0; i < 6000 && metric(r, series) < least; i++) {
        usleep(10000);
    }
    if (metric(r, series) < least) {
        world_show_log(&r->v.w);
        fail_msg("%s stays at %lld", series, (long long)metric(r, series));
    }
}

static bool log_says(renewal *r, const char *text) {
    DSTACK_AUTO(buf) dstack_buf log = {0};
    dstack_error err = {0};
    assert_ok(file_read(r->v.w.log, (size_t)1 << 20, &log, &err), err);
    return strstr(buf_text(&log), text) != NULL;
}

/* Whether the service finds the made platform's quote genuine now. */
static bool passes(renewal *r) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    assert_int_equal(vworld_send(&r->v, "POST", "/inspect", "Accept: application/json\r\n",
                                 bytes_of_buf(&r->old.quote), &text, NULL),
                     200);
    DSTACK_AUTO(json) json_t *answer = json_parse(bytes_of_buf(&text), SIZE_MAX, "answer", &err);
    const char *verdict = text_at(answer, "verdict", NULL);
    bool genuine = strcmp(verdict, "verified") == 0;
    assert_true(genuine || strcmp(verdict, "refused") == 0);
    return genuine;
}

static void collateral_is_renewed_before_it_ends_once_the_server_is_back(void **state) {
    renewal *r = *state;
    int64_t old_until = clock_unix() + 12 * HOUR; /* nearer than the day ahead */
    start(r, old_until, PCCS_BUSY);
    wait_for(r, FAILED, 2);
    assert_int_equal(metric(r, RENEWED), 0);
    assert_int_equal(metric(r, "dstack_collateral_bundles"), 1);
    assert_int_equal(metric(r, "dstack_collateral_until_seconds"), old_until - 1);
    assert_true(log_says(r, "collateral could not be renewed, the old one serves until it ends"));
    assert_true(passes(r)); /* the old one holds until its own end */
    atomic_store(&r->pccs.fault, PCCS_SOUND);
    wait_for(r, RENEWED, 1);
    assert_int_equal(metric(r, "dstack_collateral_until_seconds"), r->fresh_until - 1);
    assert_true(log_says(r, "collateral renewed"));
    assert_true(passes(r));
    unsigned asked = atomic_load(&r->pccs.requests);
    usleep(2500000); /* two more looks: nothing ends, nobody is asked */
    assert_int_equal(atomic_load(&r->pccs.requests), asked);
    assert_int_equal(metric(r, RENEWED), 1);
}

static void sec_33_ended_collateral_serves_nobody_while_no_server_answers(void **state) {
    renewal *r = *state;
    start(r, clock_unix() - 60, PCCS_BUSY);
    wait_for(r, FAILED, 1);
    assert_true(log_says(r, "collateral has ended and could not be renewed"));
    assert_false(passes(r));
    wait_for(r, FAILED, 3);
    assert_false(passes(r));
    atomic_store(&r->pccs.fault, PCCS_SOUND);
    wait_for(r, RENEWED, 1); /* by itself: nobody asked for a verdict */
    assert_true(passes(r));
}

static void sec_33_a_server_of_stale_or_broken_answers_takes_nothing_away(void **state) {
    static const pccs_fault faults[] = {PCCS_TRUNCATED, PCCS_MISSING, PCCS_OVERSIZE, PCCS_NO_CHAIN,
                                        PCCS_WRONG_CHAIN};
    renewal *r = *state;
    start(r, clock_unix() + 12 * HOUR, faults[0]);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        atomic_store(&r->pccs.fault, faults[i]);
        wait_for(r, FAILED, metric(r, FAILED) + 2); /* one may have begun before the change */
        assert_true(passes(r));
    }
    assert_int_equal(metric(r, RENEWED), 0);
}

static void a_verifier_without_servers_warns_of_what_ends(void **state) {
    renewal *r = *state;
    start(r, clock_unix() + 12 * HOUR, PCCS_SOUND);
    world_kill(&r->v.w, SIGTERM);
    http_client_free(r->v.client);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "address: 'unix:%s/v.sock'\n"
                "rate: 0\n"
                "attestation:\n"
                "  insecure_allow_external_trust_anchors: true\n"
                "  root_ca: {tdx: made.der}\n"
                "  collateral: ['%s/old.json']\n"
                "  urls: {pccs: []}\n"
                "  renewal: {interval: 1s, retry: 1s}\n",
                r->v.w.dir, r->v.w.dir);
    world_write(&r->v.w, "kms.yaml", buf_text(&text));
    vworld_run(&r->v);
    wait_for(r, FAILED, 1);
    assert_true(log_says(r, "there is no server to ask for newer collateral"));
    assert_true(passes(r));
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    verifier_program = argv[1];
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(collateral_is_renewed_before_it_ends_once_the_server_is_back),
        CASE(sec_33_ended_collateral_serves_nobody_while_no_server_answers),
        CASE(sec_33_a_server_of_stale_or_broken_answers_takes_nothing_away),
        CASE(a_verifier_without_servers_warns_of_what_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
