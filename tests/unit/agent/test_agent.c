/* The agent on a simulated TEE: what boot measures, what the agent proves, what it refuses. */
#include "agent_fixture.h"

#include <sys/stat.h>

#include <dstack/agent.h>
#include <dstack/cert.h>
#include <dstack/collateral.h>
#include <dstack/verifier.h>

#include "../tee/sim_fixture.h"
#include "boot/boot.h"
#include "boot/runtime_log.h"
#include "crypto/hash.h"
#include "evidence.h"
#include "keys/local_keys.h"
#include "serve/guest_api.h"

#define MANIFEST                                                                                   \
    "{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"docker-compose\","                        \
    "\"docker_compose_file\":\"services: {}\",\"secure_time\":false%s}"

typedef struct world {
    sim_fixture sim;
    dstack_tee *tee;
    char dir[64], events[96], keys[96], compose[96], config[96];
    agent_fixture f;
} world;

static int world_attest(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                        dstack_attestation **out, dstack_error *err) {
    world *w = source;
    return evidence_take(w->tee, w->events, "{}", report_data, out, err);
}

static void emit(world *w, const char *name, dstack_bytes payload) {
    dstack_error err = {0};
    assert_ok(runtime_log_emit(w->events, w->tee, name, payload, &err), err);
}

/* The registers that the boot events of the fixture replay to. */
static void measure_again(sim_fixture *f) {
    for (size_t i = 0; i < 3; i++) {
        uint8_t joined[96] = {0};
        memcpy(joined + 48, f->measured.events[i].digest, 48);
        hash_sha384(bytes_of(joined, sizeof joined), f->measured.rtmr[i]);
    }
}

static void put_text(const char *path, const char *text) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(path, bytes_of_str(text), 0600, &err), err);
}

/* A TEE with the boot's events, an agent with local keys; `more` goes into the manifest. */
static void world_begin(world *w, const char *more) {
    memset(w, 0, sizeof *w);
    dstack_error err = {0};
    fixture_setup(&w->sim);
    fixture_stop_server(&w->sim);
    measure_again(&w->sim);
    sim_vm_free(w->sim.vm);
    assert_ok(sim_vm_start(w->sim.keys, &w->sim.measured, NULL, w->sim.state, &w->sim.vm, &err),
              err);
    fixture_start_server(&w->sim);
    w->tee = fixture_open(&w->sim);
    strcpy(w->dir, "/tmp/dstack-agent-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->events, sizeof w->events, "%s/events", w->dir);
    snprintf(w->keys, sizeof w->keys, "%s/keys", w->dir);
    snprintf(w->compose, sizeof w->compose, "%s/compose", w->dir);
    snprintf(w->config, sizeof w->config, "%s/config", w->dir);
    char manifest[512];
    snprintf(manifest, sizeof manifest, MANIFEST, more);
    put_text(w->compose, manifest);
    put_text(w->config, "{\"vm_config\":\"{}\"}");
    assert_ok(runtime_log_set_version(w->events, 1, &err), err);
    uint8_t hash[32];
    hash_sha256(bytes_of_str(manifest), hash);
    emit(w, "system-preparing", bytes_of(NULL, 0));
    emit(w, "app-id", bytes_of(hash, 20));
    emit(w, "compose-hash", bytes_of(hash, 32));
    emit(w, "instance-id", bytes_of(hash + 12, 20));
    emit(w, "boot-mr-done", bytes_of(NULL, 0));
    emit(w, "key-provider", bytes_of_str("{\"name\":\"none\",\"id\":\"\"}"));
    emit(w, "system-ready", bytes_of(NULL, 0));
    DSTACK_AUTO(app_keys) app_keys keys = {0};
    uint8_t seed[32] = {1, 2, 3};
    DSTACK_AUTO(secret) dstack_secret *secret = dstack_secret_copy(seed, sizeof seed);
    assert_ok(local_keys_make(secret, FIXTURE_NOW, true, world_attest, w, &keys, &err), err);
    assert_ok(app_keys_save(&keys, w->keys, &err), err);
    const agent_files files = {w->keys, w->compose, w->config};
    assert_ok(agent_new(&files, world_attest, w, true, &w->f.a, &err), err);
    fixture_serve_agent(&w->f);
}

static void world_end(world *w) {
    fixture_end(&w->f);
    dstack_tee_close(w->tee);
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    fixture_teardown(&w->sim);
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

/* A verifier for which the fixture's root is the only one. */
static dstack_verifier *verifier_make(world *w) {
    dstack_verifier *verifier = NULL;
    dstack_collateral *collateral = NULL;
    dstack_error err = {0};
    const dstack_trust_root root = {.name = "test", .cert = sim_keys_root(w->sim.keys)};
    const dstack_verifier_options options = {
        .roots = &root, .root_count = 1, .no_builtin_root = true};
    assert_ok(dstack_verifier_new(&verifier, &options, &err), err);
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(w->sim.keys), &err), err);
    assert_ok(dstack_verifier_add_collateral(verifier, collateral, &err), err);
    dstack_collateral_free(collateral);
    return verifier;
}

static int verify(world *w, const char *hex, const uint8_t *report_data, dstack_verified **out) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    put_hex(&bytes, hex);
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&bytes), &attestation, &err), err);
    dstack_verifier *verifier = verifier_make(w);
    const dstack_attestation_options options = {.now = FIXTURE_NOW + 60,
                                                .report_data = report_data};
    int rc = dstack_attestation_verify(verifier, attestation, &options, out, &err);
    if (rc != 0) {
        print_message("verification: %s\n", err.message);
    }
    dstack_verifier_free(verifier);
    return rc;
}

static void an_attestation_of_the_agent_verifies_and_names_the_app(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "internal", "/Attest", "{\"report_data\":\"aabb\"}", &answer), 200);
    uint8_t report_data[64] = {0xaa, 0xbb};
    dstack_verified *verified = NULL;
    assert_int_equal(verify(&w, text_of(answer, "attestation"), report_data, &verified), 0);
    DSTACK_AUTO(json) json_t *info = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/Info", "{}", &info), 200);
    const dstack_identity *id = dstack_verified_identity(verified);
    assert_hex(bytes_of(id->compose_hash.data, id->compose_hash.len),
               text_of(info, "compose_hash"));
    uint8_t hash[32];
    dstack_compose_hash(bytes_of_str(text_of(info, "app_compose")), hash);
    assert_hex(bytes_of(hash, 32), text_of(info, "compose_hash"));
    dstack_verified_free(verified);
    world_end(&w);
}

static void sec_13_simulated_evidence_fails_without_its_pinned_root(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/Attest", "{}", &answer), 200);
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    put_hex(&bytes, text_of(answer, "attestation"));
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&bytes), &attestation, &err), err);
    dstack_verifier *verifier = NULL;
    const dstack_verifier_options options = {0};
    assert_ok(dstack_verifier_new(&verifier, &options, &err), err);
    dstack_collateral *collateral = NULL;
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(w.sim.keys), &err), err);
    (void)dstack_verifier_add_collateral(verifier, collateral, NULL);
    const dstack_attestation_options check = {.now = FIXTURE_NOW + 60};
    dstack_verified *verified = NULL;
    assert_int_not_equal(dstack_attestation_verify(verifier, attestation, &check, &verified, &err),
                         0);
    dstack_collateral_free(collateral);
    dstack_verifier_free(verifier);
    world_end(&w);
}

static void sec_07_a_changed_runtime_log_gives_no_evidence(void **state) {
    world w;
    world_begin(&w, "");
    char path[160];
    snprintf(path, sizeof path, "%s/runtime_events.log", w.events);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(w.events, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    FILE *log = fopen(path, "a");
    fputs("{\"event\":\"forged\",\"payload\":\"\"}\n", log);
    fclose(log);
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/Attest", "{}", &answer), 400);
    assert_non_null(strstr(text_of(answer, "error"), "does not replay"));
    world_end(&w);
}

static void sec_07_an_extension_by_somebody_else_gives_no_evidence(void **state) {
    world w;
    world_begin(&w, "");
    uint8_t digest[48] = {1};
    dstack_error err = {0};
    assert_ok(dstack_tee_extend(w.tee, 3, digest, "foreign", &err), err);
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/GetQuote", "{}", &answer), 400);
    world_end(&w);
}

static void the_event_version_of_a_boot_is_fixed(void **state) {
    world w;
    world_begin(&w, "");
    dstack_error err = {0};
    assert_ok(runtime_log_set_version(w.events, 1, &err), err);
    assert_int_equal(runtime_log_set_version(w.events, 2, &err), DSTACK_E_STATE);
    assert_int_equal(runtime_log_set_version(w.events, 3, &err), DSTACK_E_ARGUMENT);
    world_end(&w);
}

static void sec_24_keys_are_never_served_on_the_public_port(void **state) {
    static const char *const paths[] = {
        "/GetKey",         "/v0/GetKey",      "/v1/GetKey", "/prpc/GetKey",       "/prpc/v1/GetKey",
        "/prpc/v0/GetKey", "/prpc/GetTlsKey", "/prpc/Sign", "/prpc/v1/IssueCert", "/prpc/DeriveKey",
        "/prpc/Attest",
    };
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&w.f, "external", paths[i], "{}", &answer), 404);
    }
    world_end(&w);
}

static void methods_exist_on_their_own_surface_alone(void **state) {
    static const char *const paths[] = {"/v1/Verify",   "/v0/IssueCert", "/IssueCert",
                                        "/v1/GetQuote", "/GpuInfo",      "/Nope"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&w.f, "internal", paths[i], "{}", &answer), 404);
        assert_non_null(strstr(text_of(answer, "error"), "Service not found: "));
    }
    world_end(&w);
}

static void emit_event_answers_its_fixed_text(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/EmitEvent", NULL, &answer), 400);
    assert_string_equal(text_of(answer, "error"),
                        "EmitEvent was removed in dstack 0.6.0; runtime RTMR3 events are "
                        "system-owned and cannot be extended by apps");
    world_end(&w);
}

static void sec_17_version_1_keys_differ_by_algorithm(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *a = NULL;
    DSTACK_AUTO(json) json_t *b = NULL;
    DSTACK_AUTO(json) json_t *old = NULL;
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/GetKey",
                                  "{\"domain\":\"d\",\"algorithm\":\"ed25519\"}", &a),
                     200);
    assert_int_equal(fixture_call(&w.f, "internal", "/v1/GetKey",
                                  "{\"domain\":\"d\",\"algorithm\":\"secp256k1\"}", &b),
                     200);
    assert_int_equal(fixture_call(&w.f, "internal", "/GetKey", "{\"path\":\"d\"}", &old), 200);
    assert_string_not_equal(text_of(a, "key"), text_of(b, "key"));
    assert_string_not_equal(text_of(b, "key"), text_of(old, "key"));
    world_end(&w);
}

static void validity_that_no_certificate_can_state_is_refused(void **state) {
    static const char *const bad[] = {"{\"not_after\":253402300800}",
                                      "{\"not_before\":18446744073709551615}",
                                      "{\"not_before\":5,\"not_after\":5}"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fixture_call(&w.f, "internal", "/GetTlsKey", bad[i], NULL), 400);
    }
    world_end(&w);
}

static void a_tls_key_comes_with_evidence_bound_to_it(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "internal", "/GetTlsKey",
                     "{\"subject\":\"s\",\"alt_names\":[\"a.example\"],\"usage_ra_tls\":true,"
                     "\"usage_server_auth\":true,\"with_app_info\":true}",
                     &answer),
        200);
    const json_t *chain = json_object_get(answer, "certificate_chain");
    assert_int_equal(json_array_size(chain), 2);
    dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(
        dstack_cert_parse(bytes_of_str(json_string_value(json_array_get(chain, 0))), &cert, &err),
        err);
    assert_true(dstack_cert_matches_host(cert, "a.example"));
    dstack_verifier *verifier = verifier_make(&w);
    const dstack_attestation_options options = {.now = FIXTURE_NOW + 60};
    dstack_verified *verified = NULL;
    assert_ok(dstack_cert_verify_attestation(verifier, cert, &options, &verified, &err), err);
    dstack_verified_free(verified);
    dstack_verifier_free(verifier);
    dstack_cert_free(cert);
    world_end(&w);
}

static void public_evidence_binds_nonce_and_certificate(void **state) {
    world w;
    world_begin(&w, "");
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(
        fixture_call(&w.f, "external",
                     "/.well-known/dstack/evidence?nonce=000102030405060708090a0b0c0d0e0f", NULL,
                     &answer),
        200);
    dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(dstack_cert_parse(bytes_of_str(text_of(answer, "certificate")), &cert, &err), err);
    uint8_t content[48], report_data[64];
    for (int i = 0; i < 16; i++) {
        content[i] = (uint8_t)i;
    }
    hash_sha256(dstack_cert_spki(cert), content + 16);
    assert_ok(dstack_report_data("dstack-evidence", NULL, bytes_of(content, sizeof content),
                                 report_data, &err),
              err);
    dstack_verified *verified = NULL;
    assert_int_equal(verify(&w, text_of(answer, "attestation"), report_data, &verified), 0);
    dstack_verified_free(verified);
    dstack_cert_free(cert);
    world_end(&w);
}

static void public_evidence_refuses_other_nonces(void **state) {
    static const char *const queries[] = {"", "?nonce=", "?nonce=00",
                                          "?nonce=zz0102030405060708090a0b0c0d0e0f",
                                          "?nonce=000102030405060708090a0b0c0d0e"};
    world w;
    world_begin(&w, "");
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        char path[200];
        snprintf(path, sizeof path, "/.well-known/dstack/evidence%s", queries[i]);
        assert_int_equal(fixture_call(&w.f, "external", path, NULL, NULL), 400);
    }
    world_end(&w);
}

static void public_evidence_is_given_at_a_bounded_rate(void **state) {
    agent a = {0};
    int granted = 0;
    for (int i = 0; i < 100; i++) {
        granted += evidence_budget_take(&a, 1000) ? 1 : 0;
    }
    assert_int_equal(granted, 5);
    granted = 0;
    for (int i = 0; i < 100; i++) {
        granted += evidence_budget_take(&a, 1000 + 10 * i) ? 1 : 0;
    }
    assert_in_range(granted, 1, 2);
}

static void the_app_key_s_attestation_is_given_at_a_bounded_rate(void **state) {
    world w;
    world_begin(&w, "");
    int granted = 0, limited = 0;
    for (int i = 0; i < 12; i++) {
        int status = fixture_call(&w.f, "external", "/prpc/GetAttestationForAppKey",
                                  "{\"algorithm\":\"ed25519\"}", NULL);
        granted += status == 200;
        limited += status == 429;
    }
    assert_int_equal(granted + limited, 12);
    assert_true(granted >= 5 && limited >= 1);
    world_end(&w);
}

static void private_manifests_hide_their_documents_in_public(void **state) {
    world w;
    world_begin(&w, ",\"public_tcbinfo\":false");
    DSTACK_AUTO(json) json_t *v0 = NULL;
    DSTACK_AUTO(json) json_t *v1 = NULL;
    DSTACK_AUTO(json) json_t *inside = NULL;
    assert_int_equal(fixture_call(&w.f, "external", "/prpc/Worker.Info", "{}", &v0), 200);
    assert_string_equal(text_of(v0, "tcb_info"), "");
    assert_string_equal(text_of(v0, "vm_config"), "");
    assert_int_equal(fixture_call(&w.f, "external", "/prpc/v1/Info", "{}", &v1), 200);
    assert_string_equal(text_of(v1, "app_compose"), "");
    assert_string_equal(text_of(v1, "key_provider_info"), "");
    assert_int_equal(fixture_call(&w.f, "internal", "/Info", "{}", &inside), 200);
    assert_string_not_equal(text_of(inside, "tcb_info"), "");
    world_end(&w);
}

static void an_identity_keeps_its_seed_only_with_a_key_provider(void **state) {
    dstack_manifest_fields app = {.key_provider = DSTACK_KEY_PROVIDER_KMS};
    memset(app.default_app_id, 0x11, 20);
    instance_info kept = {.has_seed = true};
    for (int i = 0; i < 20; i++) {
        kept.seed[i] = (uint8_t)i;
    }
    uint8_t fresh[20] = {0xff}, app_id[20], seed[20], instance[20];
    size_t len = 0;
    dstack_error err = {0};
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_hex(bytes_of(instance, len), "304a02cbeb1d898a28b39535a043b9e4f4175def");
    app.key_provider = DSTACK_KEY_PROVIDER_NONE;
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_memory_equal(seed, fresh, 20);
    app.no_instance_id = true;
    assert_ok(boot_identity(&app, &kept, fresh, app_id, seed, instance, &len, &err), err);
    assert_int_equal(len, 0);
}

/* The library's client against the agent on a real socket. */
static void the_client_gets_keys_certificates_and_evidence(void **state) {
    world w;
    world_begin(&w, "");
    char address[120];
    snprintf(address, sizeof address, "unix:%s/agent.sock", w.dir);
    dstack_error err = {0};
    const http_listener_config listener = {.name = "socket",
                                           .address = address,
                                           .routes = agent_internal_routes,
                                           .route_count = agent_internal_route_count,
                                           .user = w.f.a};
    assert_ok(http_server_listen(w.f.server, &listener, &err), err);
    dstack_agent *client = NULL;
    assert_ok(dstack_agent_new(address + 5, 5000, &client, &err), err);
    dstack_agent_key v0 = {0}, v1 = {0}, none = {0};
    assert_ok(dstack_agent_get_key(client, "p", "q", "secp256k1", &v0, &err), err);
    assert_ok(dstack_agent_get_key_v1(client, "p", "ed25519", &v1, &err), err);
    assert_int_equal(dstack_secret_len(v0.key), 32);
    assert_int_equal(v0.link.len, 65);
    assert_int_equal(v1.public_key_len, 32);
    assert_int_equal(dstack_agent_get_key(client, "p", "q", "rsa", &none, &err), DSTACK_E_PEER);
    assert_non_null(strstr(err.message, "Unsupported algorithm"));
    dstack_agent_key_clear(&v0);
    dstack_agent_key_clear(&v1);

    const char *names[] = {"a.example"};
    const dstack_agent_tls_request request = {
        .subject = "s", .alt_names = names, .alt_name_count = 1, .server_auth = true};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    assert_ok(dstack_agent_get_tls_key(client, &request, &key, &chain, &err), err);
    dstack_cert *cert = NULL;
    assert_ok(dstack_cert_parse(bytes_of_buf(&chain), &cert, &err), err);
    assert_true(dstack_cert_matches_host(cert, "a.example"));
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    assert_memory_equal(spki.data, dstack_cert_spki(cert).data, spki.len);
    dstack_cert_free(cert);

    DSTACK_AUTO(buf) dstack_buf quote = {0};
    DSTACK_AUTO(buf) dstack_buf log = {0};
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    assert_ok(dstack_agent_get_quote(client, bytes_of("x", 1), &quote, &log, &err), err);
    assert_true(quote.len > 1020);
    assert_ok(dstack_agent_attest(client, bytes_of("x", 1), &encoded, &err), err);
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    assert_ok(dstack_attestation_decode(bytes_of_buf(&encoded), &attestation, &err), err);
    dstack_agent_info info;
    assert_ok(dstack_agent_get_info(client, &info, &err), err);
    assert_true(info.has_instance_id);
    assert_string_equal(info.app_name, "t");
    assert_memory_equal(info.app_id, info.compose_hash, 20);
    DSTACK_AUTO(buf) dstack_buf version = {0};
    assert_ok(dstack_agent_get_version(client, &version, &err), err);
    assert_string_equal(buf_text(&version), "0.6.0");
    dstack_agent_free(client);
    world_end(&w);
}

static void a_client_without_agent_says_so(void **state) {
    dstack_agent *client = NULL;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf version = {0};
    assert_ok(dstack_agent_new("/nonexistent/agent.sock", 1000, &client, &err), err);
    assert_int_equal(dstack_agent_get_version(client, &version, &err), DSTACK_E_NETWORK);
    dstack_agent_free(client);
}

/* The host may ask; the world may not, and without a machine nothing is shut down. */
static void the_host_s_questions_are_for_the_host(void **state) {
    world w;
    world_begin(&w, ",\"public_tcbinfo\":false");
    fixture_listen(&w.f, "host", agent_guest_api_routes, agent_guest_api_route_count);
    DSTACK_AUTO(json) json_t *info = NULL;
    assert_int_equal(fixture_call(&w.f, "host", "/api/Info?json", "{}", &info), 200);
    assert_string_equal(text_of(info, "tcb_info"), "");
    DSTACK_AUTO(json) json_t *system = NULL;
    assert_int_equal(fixture_call(&w.f, "host", "/api/SysInfo?json", "{}", &system), 200);
    assert_true(json_integer_value(json_object_get(system, "total_memory")) > 0);
    assert_int_equal(fixture_call(&w.f, "host", "/api/NetworkInfo?json", "{}", NULL), 200);
    assert_int_equal(fixture_call(&w.f, "host", "/api/Shutdown?json", "{}", NULL), 400);
    assert_int_equal(fixture_call(&w.f, "external", "/api/Shutdown?json", "{}", NULL), 404);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attestation_of_the_agent_verifies_and_names_the_app),
        cmocka_unit_test(sec_13_simulated_evidence_fails_without_its_pinned_root),
        cmocka_unit_test(sec_07_a_changed_runtime_log_gives_no_evidence),
        cmocka_unit_test(sec_07_an_extension_by_somebody_else_gives_no_evidence),
        cmocka_unit_test(the_event_version_of_a_boot_is_fixed),
        cmocka_unit_test(sec_24_keys_are_never_served_on_the_public_port),
        cmocka_unit_test(methods_exist_on_their_own_surface_alone),
        cmocka_unit_test(emit_event_answers_its_fixed_text),
        cmocka_unit_test(sec_17_version_1_keys_differ_by_algorithm),
        cmocka_unit_test(validity_that_no_certificate_can_state_is_refused),
        cmocka_unit_test(a_tls_key_comes_with_evidence_bound_to_it),
        cmocka_unit_test(public_evidence_binds_nonce_and_certificate),
        cmocka_unit_test(public_evidence_refuses_other_nonces),
        cmocka_unit_test(public_evidence_is_given_at_a_bounded_rate),
        cmocka_unit_test(the_app_key_s_attestation_is_given_at_a_bounded_rate),
        cmocka_unit_test(private_manifests_hide_their_documents_in_public),
        cmocka_unit_test(an_identity_keeps_its_seed_only_with_a_key_provider),
        cmocka_unit_test(the_client_gets_keys_certificates_and_evidence),
        cmocka_unit_test(a_client_without_agent_says_so),
        cmocka_unit_test(the_host_s_questions_are_for_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
