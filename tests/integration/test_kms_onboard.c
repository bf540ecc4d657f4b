/* Two instances of dstack-kms: the second copies the first one's root keys. */
#include "kms_calls.h"

#include "crypto/ecdsa.h"
#include "service/http.h"
#include "service/rpc.h"

typedef struct target {
    world b;
    unsigned port; /* of its set-up listener */
    dstack_buf token;
} target;

/* Starts a second KMS that waits for set-up. */
static void target_start(const world *w, target *t, const char *manifest) {
    *t = (target){0};
    world_second(w, &t->b, manifest);
    t->b.pid = world_spawn(&t->b, true);
    t->port = world_wait_port(&t->b, "set-up listener");
    load_file(world_path(&t->b, "certs/setup-token"), &t->token);
}

static void target_end(target *t) {
    world_second_end(&t->b);
    dstack_buf_clear(&t->token);
}

static void target_ask(target *t, const char *source, const char *more, int status,
                       const char *says) {
    char body[400];
    snprintf(body, sizeof body, "{\"source_url\":\"%s\",\"domain\":\"localhost\"%s}", source, more);
    setup_post(t->port, "/prpc/Onboard.Onboard?json", body, buf_text(&t->token), status, says);
}

static void expect_no_keys(const target *t) {
    static const char *const files[] = {"root-ca.key", "root-k256.key", "tmp-ca.key", "pending",
                                        "committed"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "certs/%s", files[i]);
        assert_int_not_equal(access(world_path(&t->b, name), F_OK), 0);
    }
}

static void same_file(const world *a, const world *b, const char *name) {
    DSTACK_AUTO(buf) dstack_buf one = {0}, two = {0};
    load_file(world_path(a, name), &one);
    load_file(world_path(b, name), &two);
    assert_true(bytes_equal(bytes_of_buf(&one), bytes_of_buf(&two)));
}

static void log_says(const world *w, const char *text) {
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    if (strstr(buf_text(&log), text) == NULL) {
        fail_msg("no \"%s\" in the log:\n%s", text, buf_text(&log));
    }
}

static void k256_of(const world *w, char out[67]) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    uint8_t point[33];
    load_file(world_path(w, "certs/root-k256.key"), &text);
    DSTACK_AUTO(secret) dstack_secret *key = dstack_secret_copy(text.data, text.len);
    assert_ok(dstack_key_k256_public(key, point, &err), err);
    hex_encode(bytes_of(point, 33), out);
}

static void a_second_kms_copies_the_roots_and_releases_the_same_keys(void **state) {
    world *w = *state;
    target t;
    char k256[67];
    world_configure_with(w, "{file: {path: allow.yaml}}",
                         "auto_bootstrap_domain: localhost, require_channel_evidence: true", "");
    world_run(w);
    k256_of(w, k256);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    target_start(w, &t, world_kms_manifest);
    DSTACK_AUTO(buf) dstack_buf info = {0};
    setup_ask(t.port, "/prpc/Onboard.GetAttestationInfo?json", "{}", buf_text(&t.token), 200,
              "\"tee_variant\":\"dstack-tdx\"", &info);
    assert_non_null(strstr(buf_text(&info), w->image.image.os_image_hash));
    target_ask(&t, w->url, "", 200, k256);
    target_ask(&t, w->url, "", 400, "\"error\": \"KMS has already been onboarded\"");
    setup_post(t.port, "/prpc/Bootstrap?json", "{\"domain\":\"localhost\"}", buf_text(&t.token),
               400, "KMS has already been bootstrapped");
    setup_post(t.port, "/prpc/Finish?json", "null", buf_text(&t.token), 200, "null");
    t.b.port = world_wait_port(&t.b, "status=\"serving");
    snprintf(t.b.url, sizeof t.b.url, "https://localhost:%u", t.b.port);
    same_file(w, &t.b, "certs/root-ca.key");
    same_file(w, &t.b, "certs/root-k256.key");
    same_file(w, &t.b, "certs/tmp-ca.key");
    same_file(w, &t.b, "certs/key-set");
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(&t.b, &again);
    assert_true(dstack_secret_equal(keys.disk_crypt_key, again.disk_crypt_key));
    assert_true(dstack_secret_equal(keys.env_crypt_key, again.env_crypt_key));
    assert_true(dstack_secret_equal(keys.k256_key, again.k256_key));
    world_post(&t.b, "/prpc/GetMeta?json", "null", 200, "\"bootstrap_info\":null");
    log_says(w, "root keys handed over");
    log_says(&t.b, "root keys copied");
    target_end(&t);
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

static void sec_20_onboarding_needs_the_token(void **state) {
    world *w = *state;
    target t;
    target_start(w, &t, world_kms_manifest);
    const char *body = "{\"source_url\":\"https://localhost:1\",\"domain\":\"localhost\"}";
    setup_post(t.port, "/prpc/Onboard.Onboard?json", body, "", 401, "token");
    setup_post(t.port, "/prpc/Onboard?json", body, "0000", 401, "token");
    setup_post(t.port, "/prpc/GetAttestationInfo?json", "{}", "", 401, "token");
    expect_no_keys(&t);
    target_end(&t);
}

static void a_kms_that_the_source_does_not_allow_gets_no_keys(void **state) {
    world *w = *state;
    target t;
    world_run(w);
    target_start(w, &t, world_app_manifest);
    target_ask(&t, w->url, "", 400,
               "Failed to onboard: Request failed with status=400, error=Boot denied: aggregated "
               "MR not allowed");
    expect_no_keys(&t);
    log_says(w, "root keys refused");
    log_says(&t.b, "root keys not copied");
    target_end(&t);
}

static void a_source_that_the_target_does_not_allow_is_not_asked(void **state) {
    world *w = *state;
    target t;
    world_run(w);
    target_start(w, &t, world_kms_manifest);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(world_path(&t.b, "allow.yaml"), &text);
    memset(strstr((char *)buf_text(&text), w->kms_compose_hash), '0', 64);
    world_write(&t.b, "allow.yaml", buf_text(&text));
    target_ask(&t, w->url, "", 400,
               "Failed to onboard: Source KMS is not allowed for onboarding: boot denied: "
               "aggregated MR not allowed");
    expect_no_keys(&t);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    assert_null(strstr(buf_text(&log), "handed over"));
    target_end(&t);
}

static void a_source_that_its_own_policy_refuses_gives_no_keys(void **state) {
    world *w = *state;
    target t;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    world_run(w);
    target_start(w, &t, world_kms_manifest);
    load_file(world_path(w, "allow.yaml"), &text);
    memset(strstr((char *)buf_text(&text), w->kms_compose_hash), '0', 64);
    world_write(w, "allow.yaml", buf_text(&text));
    target_ask(&t, w->url, "", 400,
               "Failed to onboard: Request failed with status=400, error=KMS self authorization "
               "failed: KMS is not allowed: aggregated MR not allowed");
    expect_no_keys(&t);
    target_end(&t);
}

static void a_pinned_root_key_that_differs_is_refused(void **state) {
    world *w = *state;
    target t;
    char k256[67], more[160];
    world_run(w);
    k256_of(w, k256);
    target_start(w, &t, world_kms_manifest);
    snprintf(more, sizeof more, ",\"expected_k256_pubkey\":\"02%064d\"", 7);
    target_ask(&t, w->url, more, 400, "Source KMS has another root key");
    target_ask(&t, w->url, ",\"expected_k256_pubkey\":\"02\"", 400, "must be 33 bytes");
    expect_no_keys(&t);
    snprintf(more, sizeof more, ",\"expected_k256_pubkey\":\"%s\"", k256);
    target_ask(&t, w->url, more, 200, k256);
    target_end(&t);
}

/* ---- a source that is not what it says --------------------------------------------------------
 */

/* Plays a KMS on a TLS listener: gives everybody the root keys that it knows. */
typedef struct fake {
    workload *machine; /* whose evidence its certificate carries; NULL: none */
    const char *usage;
    kms_keys keys;
    http_tls *tls;
    http_server *server;
    http_route route;
    unsigned asked; /* for keys */
    char url[64];
} fake;

static void fake_answer(http_request *request, http_response *response, void *user) {
    fake *f = user;
    dstack_buf body = {0};
    if (strstr(http_request_path(request), "GetKmsKey") == NULL) {
        http_response_text(response, 200, "");
        return;
    }
    f->asked++;
    Kms__KmsKeyResponse *answer =
        (Kms__KmsKeyResponse *)rpc_new_message(&kms__kms_key_response__descriptor);
    Kms__KmsKeys *keys =
        (Kms__KmsKeys *)rpc_add_message(&answer->n_keys, &answer->keys, &kms__kms_keys__descriptor);
    dstack_buf temp = {0}, root = {0};
    buf_put(&temp, dstack_secret_peek(f->keys.temp_pem), dstack_secret_len(f->keys.temp_pem));
    buf_put(&root, dstack_secret_peek(f->keys.root_pem), dstack_secret_len(f->keys.root_pem));
    rpc_set_str(&answer->temp_ca_key, buf_text(&temp));
    rpc_set_str(&keys->ca_key, buf_text(&root));
    rpc_set_bytes(&keys->k256_key, bytes_of(dstack_secret_peek(f->keys.k256), 32));
    (void)rpc_message_to_protobuf(&answer->base, &body, NULL);
    http_response_buf(response, 200, "application/octet-stream", &body, true);
    dstack_buf_clear(&temp);
    dstack_buf_clear(&root);
    rpc_free_message(&answer->base);
}

static void fake_start(fake *f) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0}, pem = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(kms_keys_make(&f->keys, &err), err);
    assert_ok(dstack_cert_key_public(f->keys.rpc_pem, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    if (f->machine != NULL) {
        assert_ok(workload_attest(f->machine, report_data, &evidence, &err), err);
    }
    dstack_cert_spec spec = {.subject = "localhost",
                             .usage = f->usage,
                             .not_after = clock_unix() + 600,
                             .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, f->keys.rpc_pem, &pem, &err), err);
    f->tls =
        http_tls_new(&(http_tls_config){.certificate_pem = bytes_of_buf(&pem),
                                        .key_pem = bytes_of(dstack_secret_peek(f->keys.rpc_pem),
                                                            dstack_secret_len(f->keys.rpc_pem)),
                                        .request_client_cert = true},
                     &err);
    assert_non_null(f->tls);
    f->server = http_server_new(&(http_server_config){.name = "false", .workers = 1});
    f->route = (http_route){"*", "/**", fake_answer, f, 0, 0};
    assert_ok(http_server_listen(f->server,
                                 &(http_listener_config){.name = "tls",
                                                         .address = "127.0.0.1:0",
                                                         .tls = f->tls,
                                                         .routes = &f->route,
                                                         .route_count = 1},
                                 &err),
              err);
    snprintf(f->url, sizeof f->url, "https://localhost:%u", http_server_port(f->server, "tls"));
}

static void fake_end(fake *f) {
    http_server_free(f->server);
    http_tls_free(f->tls);
    kms_keys_clear(&f->keys);
}

static void sec_27_root_keys_come_only_from_the_attested_end_of_the_connection(void **state) {
    world *w = *state;
    target t;
    world_tee tee = {0};
    world_tee_start(w, &tee, "third-tee", &w->image.measured, w->keys);
    workload *machine =
        world_workload(w, &tee, w->keys, world_kms_manifest, w->image.vm_config, "third");
    target_start(w, &t, world_kms_manifest);
    struct {
        fake f;
        unsigned asked;
        const char *says;
    } cases[] = {
        /* anybody between the two */
        {{.usage = DSTACK_USAGE_KMS_RPC}, 0, "Source KMS certificate does not contain attestation"},
        /* an app that has evidence, and says what it likes in a certificate of its own */
        {{.machine = w->guest, .usage = DSTACK_USAGE_KMS_RPC},
         0,
         "Source KMS is not allowed for onboarding: boot denied: aggregated MR not allowed"},
        {{.machine = w->guest, .usage = DSTACK_USAGE_APP_CUSTOM},
         0,
         "Source KMS certificate is not one of a KMS"},
        /* a machine that the policy allows, but whose certificate no root has signed, and who does
         * not prove that this connection ends with it */
        {{.machine = machine, .usage = DSTACK_USAGE_KMS_RPC},
         1,
         "Source KMS gives no evidence for this connection"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_start(&cases[i].f);
        target_ask(&t, cases[i].f.url, "", 400, cases[i].says);
        assert_int_equal(cases[i].f.asked, cases[i].asked);
        expect_no_keys(&t);
        fake_end(&cases[i].f);
    }
    target_end(&t);
    workload_free(machine);
    world_tee_stop(&tee);
}

static void keys_of_another_root_than_the_certificate_are_refused(void **state) {
    world *w = *state;
    target t = {0};
    world_tee tee = {0};
    world_tee_start(w, &tee, "third-tee", &w->image.measured, w->keys);
    workload *machine =
        world_workload(w, &tee, w->keys, world_kms_manifest, w->image.vm_config, "third");
    world_second(w, &t.b, world_kms_manifest);
    world_configure_with(&t.b, "{file: {path: allow.yaml}}", "require_channel_evidence: false", "");
    t.b.pid = world_spawn(&t.b, true);
    t.port = world_wait_port(&t.b, "set-up listener");
    load_file(world_path(&t.b, "certs/setup-token"), &t.token);
    fake f = {.machine = machine, .usage = DSTACK_USAGE_KMS_RPC};
    fake_start(&f);
    target_ask(&t, f.url, "", 400, "Invalid keys: the source's certificate is not of this root");
    expect_no_keys(&t);
    fake_end(&f);
    target_end(&t);
    workload_free(machine);
    world_tee_stop(&tee);
}

/* ---- the admin listener -----------------------------------------------------------------------
 */

static void root_keys_may_be_kept_to_the_admin_listener(void **state) {
    world *w = *state;
    target t;
    char k256[67], more[160];
    world_write(w, "admin-token", "  open-sesame\n");
    world_configure_with(w, "{file: {path: allow.yaml}}",
                         "auto_bootstrap_domain: localhost, public_key_handover: false",
                         "  admin: {enabled: true, port: 0, tls: true, auth_token_file: "
                         "admin-token}\n");
    world_run(w);
    k256_of(w, k256);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    const char *line = strstr(buf_text(&log), "admin listener");
    assert_non_null(line);
    unsigned admin =
        (unsigned)strtoul(strstr(line, "port=") + 5 + (strstr(line, "port=")[5] == '"'), NULL, 10);
    target_start(w, &t, world_kms_manifest);
    target_ask(&t, w->url, "", 400, "public KMS key handover is disabled; use the admin listener");
    char source[64];
    snprintf(source, sizeof source, "https://localhost:%u", admin);
    target_ask(&t, source, ",\"source_token\":\"wrong\"", 400, "status=401");
    target_ask(&t, source, "", 400, "status=401");
    expect_no_keys(&t);
    snprintf(more, sizeof more, ",\"source_token\":\"open-sesame\",\"expected_k256_pubkey\":\"%s\"",
             k256);
    target_ask(&t, source, more, 200, k256);
    same_file(w, &t.b, "certs/root-ca.key");
    DSTACK_AUTO(buf) dstack_buf logs = {0};
    load_file(w->log, &logs);
    load_file(t.b.log, &logs);
    assert_null(strstr(buf_text(&logs), "open-sesame"));
    target_end(&t);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(a_second_kms_copies_the_roots_and_releases_the_same_keys),
        KMS_TEST(sec_20_onboarding_needs_the_token),
        KMS_TEST(a_kms_that_the_source_does_not_allow_gets_no_keys),
        KMS_TEST(a_source_that_the_target_does_not_allow_is_not_asked),
        KMS_TEST(a_source_that_its_own_policy_refuses_gives_no_keys),
        KMS_TEST(a_pinned_root_key_that_differs_is_refused),
        KMS_TEST(sec_27_root_keys_come_only_from_the_attested_end_of_the_connection),
        KMS_TEST(keys_of_another_root_than_the_certificate_are_refused),
        KMS_TEST(root_keys_may_be_kept_to_the_admin_listener),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
