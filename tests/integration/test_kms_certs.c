/* Certificates that dstack-kms signs for apps. */
#include "kms_calls.h"

#include "service/http.h"

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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(sec_25_an_app_certificate_never_passes_for_the_kms),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
