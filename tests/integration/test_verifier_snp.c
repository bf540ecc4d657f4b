/* A running verifier fetches AMD's certificates for SEV-SNP evidence that comes without them. */
#include "verifier_world.h"

#include "attest/attest.h"
#include "verify/snp/kds_server.h"
#include "x509/pem.h"

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

typedef struct snp_world {
    verifier_world v;
    made_snp made;
    dstack_buf chain;
    kds_server kds;
    char *request; /* the evidence, as a request's JSON */
} snp_world;

static void make_request(snp_world *s) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf document = {0}, encoded = {0}, text = {0};
    DSTACK_AUTO(attestation) dstack_attestation *a = attest_new(DSTACK_TEE_SEV_SNP, &err);
    uint8_t id[DSTACK_REGISTER_SIZE];
    assert_non_null(a);
    const uint8_t some[32] = {0x42};
    const dstack_mr_config config = {.app_id = bytes_of(some, 20),
                                     .compose_hash = bytes_of(some, 32)};
    assert_ok(dstack_mr_config_document(&config, &document, &err), err);
    dstack_mr_config_document_id(bytes_of_buf(&document), id);
    memcpy(s->made.report + 0xc0, id + 1, 32);
    made_snp_build(&s->made);
    buf_put_bytes(&a->evidence, bytes_of(s->made.report, sizeof s->made.report));
    free(a->mr_config);
    a->mr_config = buf_detach_text(&document);
    memset(a->report_data, 0x42, sizeof a->report_data);
    free(a->config);
    a->config =
        strdup("{\"os_image_hash\":\"4242424242424242424242424242424242424242424242424242424"
               "242424242\"}");
    assert_ok(dstack_attestation_encode(a, DSTACK_ATTESTATION_V0, &encoded, &err), err);
    buf_put_str(&text, "{\"attestation\":\"");
    buf_put_hex(&text, bytes_of_buf(&encoded));
    buf_put_str(&text, "\"}");
    s->request = buf_detach_text(&text);
}

static int setup(void **state) {
    snp_world *s = calloc(1, sizeof *s);
    void *inner = NULL;
    dstack_error err = {0};
    assert_int_equal(vworld_setup(&inner), 0);
    s->v = *(verifier_world *)inner;
    free(inner);
    made_snp_init(&s->made);
    s->made.crl_until = clock_unix() + 30 * 86400;
    make_request(s);
    assert_ok(pem_append(&s->chain, "CERTIFICATE", bytes_of_buf(&s->made.certs.ask), &err), err);
    s->kds.vcek = bytes_of_buf(&s->made.certs.vcek);
    s->kds.chain = bytes_of_buf(&s->chain);
    s->kds.crl = bytes_of_buf(&s->made.certs.crl);
    kds_server_start(&s->kds);
    *state = s;
    return 0;
}

static int teardown(void **state) {
    snp_world *s = *state;
    verifier_world *v = malloc(sizeof *v);
    *v = s->v;
    void *inner = v;
    assert_int_equal(vworld_teardown(&inner), 0);
    kds_server_stop(&s->kds);
    made_snp_clear(&s->made);
    dstack_buf_clear(&s->chain);
    free(s->request);
    free(s);
    return 0;
}

static void start(snp_world *s, bool with_server) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    assert_ok(
        file_write_atomic(world_path(&s->v.w, "ark.der"), bytes_of_buf(&s->made.root), 0600, &err),
        err);
    buf_put_fmt(&text,
                "address: 'unix:%s/v.sock'\n"
                "rate: 0\n"
                "attestation:\n"
                "  insecure_allow_external_trust_anchors: true\n"
                "  root_ca: {sev_snp_milan: ark.der}\n"
                "  urls: {pccs: [], amd_kds: [",
                s->v.w.dir);
    buf_put_fmt(&text, with_server ? "'%s'" : "", s->kds.url);
    buf_put_str(&text, "], timeout: 20s}\n");
    world_write(&s->v.w, "kms.yaml", buf_text(&text));
    vworld_run(&s->v);
}

/* Whether the report was found genuine: what image it booted nobody told the verifier. */
static bool genuine(snp_world *s, const char *word) {
    DSTACK_AUTO(json) json_t *answer = vworld_verify(&s->v, s->request);
    const char *reason = text_at(answer, "reason", NULL);
    if (strstr(reason, word) == NULL) {
        fail_msg("%s", reason);
    }
    return flag_at(answer, "quote_verified");
}

static void evidence_without_certificates_is_verified_and_a_chip_is_asked_for_once(void **state) {
    snp_world *s = *state;
    start(s, true);
    assert_true(genuine(s, "OS image hash verification failed"));
    assert_int_equal(atomic_load(&s->kds.requests), 3);
    assert_true(genuine(s, "OS image hash verification failed"));
    assert_int_equal(atomic_load(&s->kds.requests), 3);
}

static void sec_33_without_its_certificates_evidence_is_refused(void **state) {
    snp_world *s = *state;
    start(s, true);
    atomic_store(&s->kds.fault, KDS_BUSY);
    assert_false(genuine(s, "HTTP status 503"));
    unsigned asked = atomic_load(&s->kds.requests);
    assert_false(genuine(s, "the last fetch failed a moment ago")); /* a flood asks once */
    assert_int_equal(atomic_load(&s->kds.requests), asked);
}

static void sec_33_a_chip_that_nobody_certifies_is_not_asked_for_again(void **state) {
    snp_world *s = *state;
    start(s, true);
    atomic_store(&s->kds.fault, KDS_UNKNOWN);
    assert_false(genuine(s, "HTTP status 404"));
    atomic_store(&s->kds.fault, KDS_SOUND);
    assert_false(genuine(s, "was found a moment ago"));
    assert_int_equal(atomic_load(&s->kds.leaves), 1);
}

static void a_verifier_without_servers_refuses_evidence_without_certificates(void **state) {
    snp_world *s = *state;
    start(s, false);
    assert_false(genuine(s, "carries no certificates"));
    assert_int_equal(atomic_load(&s->kds.requests), 0);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    verifier_program = argv[1];
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(evidence_without_certificates_is_verified_and_a_chip_is_asked_for_once),
        CASE(sec_33_without_its_certificates_evidence_is_refused),
        CASE(sec_33_a_chip_that_nobody_certifies_is_not_asked_for_again),
        CASE(a_verifier_without_servers_refuses_evidence_without_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
