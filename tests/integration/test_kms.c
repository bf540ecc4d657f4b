/* dstack-kms as a process: keys for an attested guest, and every way of being refused. */
#include "kms_world.h"

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "crypto/ecdsa.h"
#include "kms.h"
#include "service/http.h"

const char *kms_program;

DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)
DSTACK_AUTO_DEFINE_CLEAR(app_keys, dstack_app_keys, dstack_app_keys_clear)
DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

static void ask_keys(const world *w, dstack_app_keys *keys) {
    dstack_error err = {0};
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, w->guest);
    int rc = dstack_kms_app_keys(client, w->image.vm_config, keys, &err);
    if (rc != 0) {
        world_show_log(w);
    }
    assert_ok(rc, err);
}

static void expect_refusal(const world *w, workload *guest, const char *vm_config,
                           const char *reason) {
    dstack_error err = {0};
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, guest);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    int rc = dstack_kms_app_keys(client, vm_config, &keys, &err);
    if (rc != DSTACK_E_PEER || strstr(err.message, reason) == NULL) {
        fail_msg("expected \"%s\", got %d \"%s\"", reason, rc, err.message);
    }
    assert_null(keys.k256_key);
}

static void an_attested_app_gets_its_keys_and_the_same_after_a_crash(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    char gateway[41];
    snprintf(gateway, sizeof gateway, "%040d", 7);
    assert_string_equal(keys.gateway_app_id, gateway);
    char image[65];
    hex_encode(bytes_of_buf(&keys.os_image_hash), image);
    assert_string_equal(image, w->image.image.os_image_hash);
    uint8_t public_key[33], signer[33];
    dstack_error err = {0};
    assert_ok(dstack_key_k256_public(keys.k256_key, public_key, &err), err);
    assert_ok(dstack_key_app_signer(workload_app_id(w->guest), bytes_of(public_key, 33),
                                    bytes_of_buf(&keys.k256_signature), signer, &err),
              err);
    char root[67];
    hex_encode(bytes_of(signer, 33), root);
    world_post(w, "/prpc/KMS.GetMeta?json", "null", 200, root);
    world_post(w, "/prpc/GetMeta?json", "", 200, "\"insecure_dev\":true");
    world_kill(w, SIGKILL);
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    assert_true(dstack_secret_equal(keys.disk_crypt_key, again.disk_crypt_key));
    assert_true(dstack_secret_equal(keys.env_crypt_key, again.env_crypt_key));
    assert_true(dstack_secret_equal(keys.k256_key, again.k256_key));
}

static void each_refusal_says_its_reason(void **state) {
    world *w = *state;
    const char *vm_config = w->image.vm_config;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    /* the allow-list is read again when it changes */
    world_allow(w, "", "apps: {}\n");
    expect_refusal(w, w->guest, vm_config, "allow-list: ");
    world_allow(w, w->image.image.os_image_hash, "apps: {}\n");
    expect_refusal(w, w->guest, vm_config, "App not allowed: Boot denied: app not registered");
    char apps[300];
    snprintf(apps, sizeof apps, "apps: {'%s': {composeHashes: ['%064d'], allowAnyDevice: true}}\n",
             w->app_id, 1);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, w->guest, vm_config,
                   "App not allowed: Boot denied: compose hash not allowed");
    snprintf(apps, sizeof apps, "apps: {'%s': {composeHashes: ['%s']}}\n", w->app_id,
             w->compose_hash);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, w->guest, vm_config,
                   "App not allowed: Boot denied: app is not allowed to boot on this device");
    world_write(w, "allow.yaml", "nonsense: [");
    expect_refusal(w, w->guest, vm_config, "KMS self authorization failed: allow-list: ");
    world_allow(w, w->image.image.os_image_hash, NULL);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400,
               "\"error\": \"App not allowed: No attestation provided\"");
    world_post(w, "/prpc/GetAppEnvEncryptPubKey?json", "{\"app_id\":\"0x5bb4ff9a\"}", 400,
               "\"error\": \"app_id must be 20 bytes\"");
    world_post(w, "/prpc/GetKmsKey?json", "{}", 404, "Service not found: GetKmsKey");
    world_post(w, "/prpc/SignCert?json", "{\"api_version\":3}", 400, "Unsupported API version: 3");
    world_post(w, "/prpc/SignCert?json", "{\"api_version\":2,\"csr\":\"0102\"}", 400,
               "Failed to parse csr: ");
}

static void registers_are_held_to_the_image_that_vm_config_names(void **state) {
    world *w = *state;
    world_image other = {0};
    world_image_make(&other, "two");
    world_allow(w, other.image.os_image_hash, NULL);
    world_run(w);
    /* the policy allows both images, the guest runs the first and claims the second */
    expect_refusal(w, w->guest, other.vm_config,
                   "App not allowed: Failed to verify os image hash: ");
    expect_refusal(w, w->guest, "{}", "App not allowed: Boot denied: OS image is not allowed");
    world_image_remove(&other);
}

static void a_kms_that_its_own_policy_does_not_allow_releases_nothing(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(world_path(w, "allow.yaml"), &text);
    char *hash = strstr((char *)buf_text(&text), w->kms_compose_hash);
    memset(hash, '0', 64);
    world_write(w, "allow.yaml", buf_text(&text));
    expect_refusal(w, w->guest, w->image.vm_config,
                   "KMS self authorization failed: KMS is not allowed: aggregated MR not allowed");
    world_post(w, "/prpc/GetTempCaCert?json", "null", 400, "KMS is not allowed");
    world_post(w, "/prpc/GetMeta?json", "null", 200, "ca_cert");
}

static void sec_13_simulated_evidence_under_another_root_is_refused(void **state) {
    world *w = *state;
    dstack_error err = {0};
    sim_keys *other = NULL;
    world_tee tee = {0};
    assert_ok(sim_keys_init(world_path(w, "other"), NULL, clock_unix() - 60, &err), err);
    assert_ok(sim_keys_load(world_path(w, "other"), &other, &err), err);
    world_tee_start(w, &tee, "other-tee", &w->image.measured, other);
    workload *guest =
        world_workload(w, &tee, other, world_app_manifest, w->image.vm_config, "guest2");
    world_run(w);
    expect_refusal(w, guest, w->image.vm_config, "invalid quote: ");
    workload_free(guest);
    world_tee_stop(&tee);
    sim_keys_free(other);
}

static void sec_18_every_secret_file_is_0600(void **state) {
    world *w = *state;
    world_run(w);
    static const char *const secret[] = {"root-ca.key", "root-k256.key", "tmp-ca.key", "rpc.key"};
    struct stat info;
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "certs/%s", secret[i]);
        assert_int_equal(stat(world_path(w, name), &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
    }
    assert_int_equal(stat(world_path(w, "certs"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    /* and one that others can read is not used */
    world_kill(w, SIGTERM);
    assert_int_equal(chmod(world_path(w, "certs/root-k256.key"), 0640), 0);
    unlink(w->log);
    pid_t pid = world_spawn(w, true);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1);
}

static int exit_status(const world *w, bool insecure) {
    int status;
    pid_t pid = world_spawn(w, insecure);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void sec_19_weakening_settings_need_insecure_dev_and_mark_what_is_issued(void **state) {
    world *w = *state;
    static const char *const settings[] = {"attest_rpc_cert: false",
                                           "enforce_self_authorization: false",
                                           "image: {verify: false}", "auth_api: {type: dev}"};
    assert_int_equal(exit_status(w, false), 2); /* a pinned simulation root */
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "core: {%s, tee: {url: tdx, manifest: x}, cert_dir: certs}\n",
                 settings[i]);
        world_write(w, "kms.yaml", text);
        unlink(w->log);
        assert_int_equal(exit_status(w, false), 2);
        DSTACK_AUTO(buf) dstack_buf log = {0};
        load_file(w->log, &log);
        assert_non_null(strstr(buf_text(&log), "needs --insecure-dev"));
    }
    world_configure(w, "");
    world_run(w);
    static const char *const files[] = {"certs/root-ca.crt", "certs/tmp-ca.crt", "certs/rpc.crt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf pem = {0};
        DSTACK_AUTO(cert) dstack_cert *cert = NULL;
        dstack_error err = {0};
        load_file(world_path(w, files[i]), &pem);
        assert_ok(dstack_cert_parse(bytes_of_buf(&pem), &cert, &err), err);
        dstack_bytes der = dstack_cert_der(cert);
        assert_non_null(memmem(der.data, der.len, "dstack insecure-dev", 19));
    }
    /* sec_21: the server's own certificate is for a day, renewed while it runs */
    DSTACK_AUTO(buf) dstack_buf rpc = {0};
    DSTACK_AUTO(cert) dstack_cert *server = NULL;
    dstack_error err = {0};
    load_file(world_path(w, "certs/rpc.crt"), &rpc);
    assert_ok(dstack_cert_parse(bytes_of_buf(&rpc), &server, &err), err);
    assert_true(dstack_cert_not_after(server) <= clock_unix() + 86400);
    assert_string_equal(dstack_cert_usage(server), DSTACK_USAGE_KMS_RPC);
    /* production never runs on keys that were made in this mode */
    world_kill(w, SIGTERM);
    world_write(w, "kms.yaml", "core: {cert_dir: certs, tee: {url: tdx, manifest: x}}\n");
    assert_int_not_equal(exit_status(w, false), 0);
}

/* ---- set-up -----------------------------------------------------------------------------------
 */

static void setup_post(unsigned port, const char *path, const char *body, const char *token,
                       int status, const char *says) {
    char url[64], header[160];
    dstack_error err = {0};
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", token);
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(&(http_client_config){.url = url}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = "POST",
                                   .path = path,
                                   .headers = token[0] != 0 ? header : NULL,
                                   .body = bytes_of_str(body)};
    assert_ok(http_client_send(client, &request, &response, &err), err);
    if (response.status != status || strstr(buf_text(&response.body), says) == NULL) {
        fail_msg("%s: %d %s", path, response.status, buf_text(&response.body));
    }
}

static void sec_20_bootstrap_needs_the_token_and_succeeds_once(void **state) {
    world *w = *state;
    world_configure(w, "");
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(w->config, &text);
    char *domain = strstr((char *)buf_text(&text), "localhost");
    memcpy(domain, "''       ", 9);
    world_write(w, "kms.yaml", buf_text(&text));
    w->pid = world_spawn(w, true);
    unsigned port = 0;
    for (int i = 0; i < 1000 && (port = world_find_port(w->log, "set-up listener")) == 0; i++) {
        usleep(5000);
    }
    assert_int_not_equal(port, 0);
    DSTACK_AUTO(buf) dstack_buf token = {0};
    load_file(world_path(w, "certs/setup-token"), &token);
    struct stat info;
    assert_int_equal(stat(world_path(w, "certs/setup-token"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    const char *body = "{\"domain\":\"localhost\"}";
    setup_post(port, "/prpc/Onboard.Bootstrap?json", body, "", 401, "token");
    setup_post(port, "/prpc/Bootstrap?json", body, "0000", 401, "token");
    setup_post(port, "/prpc/Finish?json", "null", "", 401, "token");
    setup_post(port, "/prpc/Bootstrap?json", "{\"domain\":\"-x\"}", buf_text(&token), 400,
               "invalid DNS label");
    setup_post(port, "/prpc/Bootstrap?json", body, buf_text(&token), 200, "ca_pubkey");
    DSTACK_AUTO(buf) dstack_buf before = {0}, after = {0};
    load_file(world_path(w, "certs/root-k256.key"), &before);
    setup_post(port, "/prpc/Bootstrap?json", body, buf_text(&token), 400,
               "KMS has already been bootstrapped");
    load_file(world_path(w, "certs/root-k256.key"), &after);
    assert_true(bytes_equal(bytes_of_buf(&before), bytes_of_buf(&after)));
    setup_post(port, "/prpc/Finish?json", "null", buf_text(&token), 200, "null");
    for (int i = 0; i < 1000 && (w->port = world_find_port(w->log, "status=\"serving")) == 0; i++) {
        usleep(5000);
    }
    assert_int_not_equal(w->port, 0);
    assert_int_not_equal(access(world_path(w, "certs/setup-token"), F_OK), 0);
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
    world_post(w, "/prpc/GetMeta?json", "null", 200, "\"bootstrap_info\":{\"ca_pubkey\":\"");
    /* a lost file among the roots stops the start instead of making new ones */
    world_kill(w, SIGTERM);
    unlink(world_path(w, "certs/root-ca.key"));
    assert_int_equal(exit_status(w, true), 1);
    buf_reset(&after);
    load_file(world_path(w, "certs/root-k256.key"), &after);
    assert_true(bytes_equal(bytes_of_buf(&before), bytes_of_buf(&after)));
}

/* ---- certificates -----------------------------------------------------------------------------
 */

typedef struct app_cert {
    dstack_secret *key;
    dstack_buf chain;
} app_cert;

static int sign(const world *w, const char *name, app_cert *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0}, csr = {0}, signature = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, w->guest);
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(&out->key, err), *err);
    assert_ok(dstack_cert_key_public(out->key, &spki, err), *err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, err), *err);
    assert_ok(workload_attest(w->guest, report_data, &evidence, err), *err);
    dstack_csr_spec spec = {.subject = "app",
                            .alt_names = &name,
                            .alt_name_count = 1,
                            .server_auth = true,
                            .with_quote = true,
                            .with_app_info = true};
    assert_ok(
        dstack_csr_build(&spec, out->key, evidence, DSTACK_ATTESTATION_V1, &csr, &signature, err),
        *err);
    return dstack_kms_sign_cert(client, bytes_of_buf(&csr), bytes_of_buf(&signature),
                                w->image.vm_config, &out->chain, err);
}

static void app_cert_clear(app_cert *cert) {
    dstack_secret_free(cert->key);
    dstack_buf_clear(&cert->chain);
}

static void say_hello(http_request *request, http_response *response, void *user) {
    http_response_text(response, 200, "{}");
}

static void sec_25_an_app_certificate_never_passes_for_the_kms(void **state) {
    world *w = *state;
    dstack_error err = {0};
    world_configure(w, "  sign: {reserved_names: [gateway.example]}\n");
    world_run(w);
    static const char *const names[] = {"localhost", "LOCALHOST", "gateway.example",
                                        "rpc.gateway.example", "*.example"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        app_cert refused = {0};
        int rc = sign(w, names[i], &refused, &err);
        if (rc != DSTACK_E_PEER) {
            fail_msg("%s: %d %s", names[i], rc, err.message);
        }
        app_cert_clear(&refused);
    }
    app_cert app = {0};
    assert_ok(sign(w, "app.example", &app, &err), err);
    DSTACK_AUTO(cert) dstack_cert *leaf = NULL;
    assert_ok(dstack_cert_parse(bytes_of_buf(&app.chain), &leaf, &err), err);
    assert_string_equal(dstack_cert_usage(leaf), DSTACK_USAGE_APP_CUSTOM);
    assert_true(bytes_equal(dstack_cert_app_id(leaf), workload_app_id(w->guest)));
    const dstack_identity *info = dstack_cert_app_info(leaf);
    assert_non_null(info);
    /* the identity in it is the verified one: a device id that is not the hash of nothing */
    char device[65];
    hex_encode(bytes_of(info->device_id.data, info->device_id.len), device);
    assert_memory_not_equal(device, "e3b0c442", 8);

    /* A server with that certificate, reached under its own name by a client that pins the root. */
    http_tls *tls =
        http_tls_new(&(http_tls_config){.certificate_pem = bytes_of_buf(&app.chain),
                                        .key_pem = bytes_of(dstack_secret_peek(app.key),
                                                            dstack_secret_len(app.key))},
                     &err);
    assert_non_null(tls);
    http_server *server = http_server_new(&(http_server_config){.name = "false", .workers = 1});
    http_route route = {"*", "/**", say_hello, NULL, 0, 0};
    assert_ok(http_server_listen(server,
                                 &(http_listener_config){.name = "tls",
                                                         .address = "127.0.0.1:0",
                                                         .tls = tls,
                                                         .routes = &route,
                                                         .route_count = 1},
                                 &err),
              err);
    char address[40], url[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", http_server_port(server, "tls"));
    snprintf(url, sizeof url, "https://app.example:%u", http_server_port(server, "tls"));
    DSTACK_AUTO(buf) dstack_buf root = {0};
    load_file(world_path(w, "certs/root-ca.crt"), &root);
    dstack_kms_options options = {.url = url,
                                  .connect_address = address,
                                  .root_ca = bytes_of_buf(&root),
                                  .verifier = w->trust.verifier,
                                  .attest = world_attest,
                                  .user = w->guest};
    DSTACK_AUTO(kms) dstack_kms *client = NULL;
    assert_ok(dstack_kms_new(&options, &client, &err), err);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    int rc = dstack_kms_app_keys(client, "", &keys, &err);
    /* It chains to the pinned root only by way of an app CA, which the KMS's own never does. */
    if (rc == 0 || rc == DSTACK_E_PEER || strstr(err.message, "the KMS's certificate") == NULL) {
        fail_msg("%d %s", rc, err.message);
    }
    http_server_free(server);
    http_tls_free(tls);
    app_cert_clear(&app);
}

static void a_kms_may_be_named_by_an_ip_address(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(w->config, &text);
    char *domain = strstr((char *)buf_text(&text), "localhost");
    memcpy(domain, "127.0.0.1", 9);
    world_write(w, "kms.yaml", buf_text(&text));
    world_run(w);
    snprintf(w->url, sizeof w->url, "https://127.0.0.1:%u", w->port);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    dstack_error err = {0};
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
    DSTACK_AUTO(kms) dstack_kms *other = world_client(w, w->guest);
    DSTACK_AUTO(app_keys) dstack_app_keys none = {0};
    assert_int_not_equal(dstack_kms_app_keys(other, w->image.vm_config, &none, &err), 0);
}

/* Key material that is public in the description of the derivations, so that answers are known. */
static void known_roots_give_the_published_keys(void **state) {
    world *w = *state;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf scalar = {0}, k256 = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *pem = NULL;
    put_hex(&scalar, "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1");
    put_hex(&k256, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of_buf(&scalar), &err), err);
    assert_ok(ecdsa_private_pem(key, &pem, &err), err);
    assert_ok(file_make_dirs(world_path(w, "certs"), 0700, &err), err);
    assert_ok(file_write_new(world_path(w, "certs/root-ca.key"),
                             bytes_of(dstack_secret_peek(pem), dstack_secret_len(pem)), 0600, &err),
              err);
    assert_ok(file_write_new(world_path(w, "certs/root-k256.key"), bytes_of_buf(&k256), 0600, &err),
              err);
    world_write(w, "certs/insecure-dev", "1");
    world_run(w);
    const char *body = "{\"app_id\":\"0x5bb4ff9a3837357f19dc176407a5709c62eb6c56\"}";
    world_post(w, "/prpc/GetAppEnvEncryptPubKey?json", body, 200,
               "{\"public_key\":"
               "\"4a4d30b8973c08c75b404d5d2f433aaa3baaee0d85389fbd2ce29d09c28a0019\","
               "\"signature\":\"a49a0a2226dc20f8ec5d6faba4ab3c432777adeca54cb990ce32e4d2a691d009"
               "0f9604ccdb692d81bddd5f85f2c132f2d19fbd47fb84b2ac4674340e41428c3801\","
               "\"timestamp\":");
    world_post(w, "/prpc/KMS.GetMeta?json", "", 200,
               "\"k256_pubkey\":"
               "\"0284bf7562262bbd6940085748f3be6afa52ae317155181ece31b66351ccffa4b0\"");
    DSTACK_AUTO(buf) dstack_buf root = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    load_file(world_path(w, "certs/root-ca.crt"), &root);
    assert_ok(dstack_cert_parse(bytes_of_buf(&root), &cert, &err), err);
    assert_hex(
        dstack_cert_spki(cert),
        "3059301306072a8648ce3d020106082a8648ce3d0301070342000491f50522407ce29dce3ed7d31a15d8"
        "0c1c42f13a23552d2b33a0ce09ee11e47bce95936f3e7f80d195f879e28e1b144ef37ac9ab8e36a690cb"
        "f930b775897b27");
}

static void sec_14_public_methods_are_rate_limited(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(w->config, &text);
    char *burst = strstr((char *)buf_text(&text), "public_burst: 1000");
    memcpy(burst, "public_burst: 3   ", 18);
    char *rate = strstr((char *)buf_text(&text), "public_rate: 1000");
    memcpy(rate, "public_rate: 1   ", 17);
    world_write(w, "kms.yaml", buf_text(&text));
    world_run(w);
    const char *path = "/prpc/GetAppEnvEncryptPubKey?json";
    const char *body = "{\"app_id\":\"5bb4ff9a3837357f19dc176407a5709c62eb6c56\"}";
    for (int i = 0; i < 3; i++) {
        world_post(w, path, body, 200, "public_key");
    }
    world_post(w, path, body, 429, "too many requests");
    usleep(1100000);
    world_post(w, path, body, 200, "signature_v1");
}

typedef enum shown { SHOW_NOTHING, SHOW_BARE, SHOW_EVIDENCE } shown;

/* One call with the client certificate asked for; the HTTP status, or a negative status of ours. */
static int call_as(const world *w, shown what, const char *method, char *text, size_t room) {
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0}, pem = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(&key, &err), err);
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    if (what == SHOW_EVIDENCE) {
        assert_ok(workload_attest(w->guest, report_data, &evidence, &err), err);
    }
    dstack_cert_spec spec = {.subject = "caller",
                             .client_auth = true,
                             .not_after = clock_unix() + 600,
                             .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, key, &pem, &err), err);
    http_client_config config = {.url = w->url, .trust = HTTP_CLIENT_TRUST_NONE};
    if (what != SHOW_NOTHING) {
        config.certificate_pem = bytes_of_buf(&pem);
        config.key_pem = bytes_of(dstack_secret_peek(key), dstack_secret_len(key));
    }
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &err);
    assert_non_null(client);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    char path[64];
    snprintf(path, sizeof path, "/prpc/%s?json", method);
    http_client_request request = {.method = "POST", .path = path, .body = bytes_of_str("{}")};
    int rc = http_client_send(client, &request, &response, &err);
    snprintf(text, room, "%s", rc != 0 ? err.message : buf_text(&response.body));
    return rc != 0 ? rc : response.status;
}

static void sec_11_each_caller_class_reaches_only_its_methods(void **state) {
    world *w = *state;
    world_run(w);
    for (size_t i = 0; i < kms_rpc_service.method_count; i++) {
        const rpc_method *method = &kms_rpc_service.methods[i];
        char text[600];
        int status = call_as(w, SHOW_NOTHING, method->name, text, sizeof text);
        bool stopped = strstr(text, "No attestation provided") != NULL;
        if (status < 200 || stopped != (method->caller == RPC_CALLER_ATTESTED)) {
            fail_msg("%s without certificate: %d %s", method->name, status, text);
        }
        /* a certificate that carries no evidence does not even finish the handshake */
        status = call_as(w, SHOW_BARE, method->name, text, sizeof text);
        if (status != DSTACK_E_NETWORK) {
            fail_msg("%s with a bare certificate: %d %s", method->name, status, text);
        }
        status = call_as(w, SHOW_EVIDENCE, method->name, text, sizeof text);
        if (status < 200 || strstr(text, "No attestation provided") != NULL) {
            fail_msg("%s with evidence: %d %s", method->name, status, text);
        }
    }
}

static void sec_16_no_secret_is_in_the_log(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400, "No attestation");
    DSTACK_AUTO(buf) dstack_buf log = {0}, root = {0};
    load_file(w->log, &log);
    load_file(world_path(w, "certs/root-k256.key"), &root);
    const dstack_secret *secrets[] = {keys.disk_crypt_key, keys.env_crypt_key, keys.k256_key};
    for (size_t i = 0; i < 3; i++) {
        char hex[65];
        hex_encode(bytes_of(dstack_secret_peek(secrets[i]), 32), hex);
        assert_null(strstr(buf_text(&log), hex));
    }
    char hex[65];
    hex_encode(bytes_of_buf(&root), hex);
    assert_null(strstr(buf_text(&log), hex));
    assert_non_null(strstr(buf_text(&log), "app keys released"));
    assert_non_null(strstr(buf_text(&log), w->app_id));
}

static void the_kms_is_ready_fast_and_small(void **state) {
    world *w = *state;
    world_run(w); /* first start makes keys */
    world_kill(w, SIGTERM);
    int64_t begin = clock_monotonic_ms();
    world_run(w);
    int64_t ready = clock_monotonic_ms() - begin;
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)w->pid);
    long rss = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %ld kB", &rss) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    print_message("ready after %lld ms, RSS %ld KiB\n", (long long)ready, rss);
    if (rss > 0 && DSTACK_KMS_CHECK_SIZE) {
        assert_true(rss <= 20 * 1024);
    }
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    kms_program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_attested_app_gets_its_keys_and_the_same_after_a_crash,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(each_refusal_says_its_reason, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(registers_are_held_to_the_image_that_vm_config_names,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_kms_that_its_own_policy_does_not_allow_releases_nothing,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(sec_11_each_caller_class_reaches_only_its_methods,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(sec_13_simulated_evidence_under_another_root_is_refused,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_kms_may_be_named_by_an_ip_address, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(known_roots_give_the_published_keys, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(sec_14_public_methods_are_rate_limited, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(sec_16_no_secret_is_in_the_log, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(sec_18_every_secret_file_is_0600, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(
            sec_19_weakening_settings_need_insecure_dev_and_mark_what_is_issued, world_setup,
            world_teardown),
        cmocka_unit_test_setup_teardown(sec_20_bootstrap_needs_the_token_and_succeeds_once,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(sec_25_an_app_certificate_never_passes_for_the_kms,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_kms_is_ready_fast_and_small, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
