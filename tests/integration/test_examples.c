/* The C examples, built against the public headers and the shared library alone, with a simulated
 * guest's evidence. */
#include "service/http.h"
#include "verifier_world.h"

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

static char *verify_quote, *attested_client; /* absolute */

static int run(verifier_world *v, const char *program, const char *arguments) {
    char command[900];
    snprintf(command, sizeof command, "cd '%s' && '%s' %s > out 2> err", v->w.dir, program,
             arguments);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_text(verifier_world *v, const char *name, const char *says) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(world_path(&v->w, name), &text);
    if (strstr(buf_text(&text), says) == NULL) {
        fail_msg("%s: %s", name, buf_text(&text));
    }
}

static void verify_quote_verifies_offline_under_the_root_that_is_given(void **state) {
    verifier_world *v = *state;
    dstack_error err = {0};
    uint8_t data[DSTACK_REPORT_DATA_SIZE] = {7};
    dstack_attestation *attestation = NULL;
    assert_ok(workload_attest(v->w.guest, data, &attestation, &err), err);
    assert_ok(file_write_atomic(world_path(&v->w, "quote.bin"),
                                dstack_attestation_evidence(attestation), 0600, &err),
              err);
    dstack_attestation_free(attestation);
    assert_int_equal(run(v, verify_quote, "quote.bin sim/collateral.json sim/root.der"), 0);
    expect_text(v, "out", "verified under pinned root: UpToDate");
    assert_int_equal(run(v, verify_quote, "quote.bin sim/collateral.json"), 1);
    expect_text(v, "err", "refused: ");
    assert_int_equal(run(v, verify_quote, "quote.bin"), 2);
}

static void hello(http_request *request, http_response *response, void *user) {
    http_response_text(response, 200, "hello from inside");
}
static const http_route routes[] = {{"GET", "/**", hello, NULL, 0, 0}};

typedef struct guest {
    http_tls *tls;
    http_server *server;
    unsigned port;
} guest;

static void guest_start(guest *g, const dstack_buf *pem, const dstack_secret *key) {
    dstack_error err = {0};
    const http_tls_config config = {.certificate_pem = bytes_of_buf(pem),
                                    .key_pem =
                                        bytes_of(dstack_secret_peek(key), dstack_secret_len(key))};
    g->tls = http_tls_new(&config, &err);
    assert_non_null(g->tls);
    g->server = http_server_new(&(http_server_config){.name = "guest", .workers = 1});
    const http_listener_config listener = {.name = "guest",
                                           .address = "127.0.0.1:0",
                                           .tls = g->tls,
                                           .routes = routes,
                                           .route_count = 1};
    assert_ok(http_server_listen(g->server, &listener, &err), err);
    g->port = http_server_port(g->server, "guest");
}

static void guest_stop(guest *g) {
    http_server_free(g->server);
    http_tls_free(g->tls);
}

static void attested_client_talks_to_attested_peers_of_its_policy_alone(void **state) {
    verifier_world *v = *state;
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL, *plain_key = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0}, plain = {0};
    guest g, p;
    vworld_certificate(v, &key, &pem);
    guest_start(&g, &pem, key);
    assert_ok(dstack_cert_key_new(&plain_key, &err), err);
    static const char *const names[] = {"127.0.0.1"};
    const dstack_cert_spec spec = {.subject = "plain",
                                   .alt_names = names,
                                   .alt_name_count = 1,
                                   .server_auth = true,
                                   .not_after = clock_unix() + 3600};
    assert_ok(dstack_cert_self_signed(&spec, plain_key, &plain, &err), err);
    guest_start(&p, &plain, plain_key);

    char policy[400], root[65], arguments[200];
    uint8_t digest[32];
    hash_sha256(sim_keys_root(v->w.keys), digest);
    hex_encode(bytes_of(digest, sizeof digest), root);
    snprintf(policy, sizeof policy, "version: 1\nhardware_roots: ['%s']\napp_ids: ['%s']\n", root,
             v->w.app_id);
    world_write(&v->w, "policy.yaml", policy);
    world_write(&v->w, "strict.yaml", "version: 1\n");
    static const char rest[] = "sim/collateral.json sim/root.der";
    snprintf(arguments, sizeof arguments, "127.0.0.1 %u policy.yaml %s", g.port, rest);
    assert_int_equal(run(v, attested_client, arguments), 0);
    expect_text(v, "out", "hello from inside");
    expect_text(v, "err", v->w.app_id);
    /* true evidence that the policy does not want, and a peer without any */
    snprintf(arguments, sizeof arguments, "127.0.0.1 %u strict.yaml %s", g.port, rest);
    assert_int_equal(run(v, attested_client, arguments), 1);
    expect_text(v, "err", "hardware_roots");
    snprintf(arguments, sizeof arguments, "127.0.0.1 %u policy.yaml %s", p.port, rest);
    assert_int_equal(run(v, attested_client, arguments), 1);
    expect_text(v, "err", "no attestation");
    guest_stop(&p);
    guest_stop(&g);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 3);
    verify_quote = realpath(argv[1], NULL);
    attested_client = realpath(argv[2], NULL);
    assert_true(verify_quote != NULL && attested_client != NULL);
#define CASE(name) cmocka_unit_test_setup_teardown(name, vworld_setup, vworld_teardown)
    const struct CMUnitTest tests[] = {
        CASE(verify_quote_verifies_offline_under_the_root_that_is_given),
        CASE(attested_client_talks_to_attested_peers_of_its_policy_alone),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(verify_quote);
    free(attested_client);
    return failed;
}
