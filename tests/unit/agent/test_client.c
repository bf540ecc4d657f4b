/* The library's client against the agent on a real socket. */
#include "agent_world.h"

#include <dstack/agent.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_gets_keys_certificates_and_evidence),
        cmocka_unit_test(a_client_without_agent_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
