/* The verifier's page in a real browser, with real evidence through the real service: a simulated
 * guest's attestation, its RA-TLS certificate, its bare quote, and a TLS server that shows it. */
#include "verifier_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "address.h"
#include "service/http.h"

#define CHROMIUM "/usr/bin/chromium"

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

static unsigned free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void write_evidence(verifier_world *v, const dstack_buf *pem, unsigned tls_port) {
    dstack_error err = {0};
    uint8_t data[DSTACK_REPORT_DATA_SIZE] = {1};
    char address[64];
    DSTACK_AUTO(buf) dstack_buf encoded = {0}, hex = {0}, certificate = {0};
    dstack_attestation *attestation = NULL;
    assert_ok(workload_attest(v->w.guest, data, &attestation, &err), err);
    assert_ok(dstack_attestation_encode(attestation, DSTACK_ATTESTATION_V0, &encoded, &err), err);
    buf_put_hex(&hex, bytes_of_buf(&encoded));
    world_write(&v->w, "attestation.hex", buf_text(&hex));
    hex.data[1000] = hex.data[1000] == '0' ? '1' : '0';
    world_write(&v->w, "touched.hex", buf_text(&hex));
    assert_ok(file_write_atomic(world_path(&v->w, "quote.bin"),
                                dstack_attestation_evidence(attestation), 0600, &err),
              err);
    dstack_attestation_free(attestation);
    buf_put_bytes(&certificate, bytes_of_buf(pem));
    world_write(&v->w, "certificate.pem", buf_text(&certificate));
    snprintf(address, sizeof address, "https://127.0.0.1:%u/", tls_port);
    world_write(&v->w, "address.txt", address);
}

static void hello(http_request *request, http_response *response, void *user) {
    http_response_text(response, 200, "hello");
}
static const http_route hello_routes[] = {{"GET", "/**", hello, NULL, 0, 0}};

static void the_page_shows_the_chain_of_trust_in_a_browser(void **state) {
    verifier_world *v = *state;
    if (access(CHROMIUM, X_OK) != 0) {
        if (getenv("CI") != NULL) {
            fail_msg(CHROMIUM " is absent in CI");
        }
        print_message("SKIP: " CHROMIUM " is absent\n");
        skip();
    }
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    vworld_certificate(v, &key, &pem);
    http_tls *tls = http_tls_new(
        &(http_tls_config){.certificate_pem = bytes_of_buf(&pem),
                           .key_pem = bytes_of(dstack_secret_peek(key), dstack_secret_len(key))},
        &err);
    assert_non_null(tls);
    http_server *guest = http_server_new(&(http_server_config){.name = "guest", .workers = 1});
    const http_listener_config listener = {.name = "guest",
                                           .address = "127.0.0.1:0",
                                           .tls = tls,
                                           .routes = hello_routes,
                                           .route_count = 1};
    assert_ok(http_server_listen(guest, &listener, &err), err);
    write_evidence(v, &pem, http_server_port(guest, "guest"));

    unsigned port = free_port();
    char text[800], command[400];
    snprintf(text, sizeof text,
             "address: 127.0.0.1\nport: %u\naddresses: any\nimage_download_url: ''\n"
             "attestation:\n  insecure_allow_external_trust_anchors: true\n"
             "  root_ca: {tdx: sim/root.der}\n"
             "  collateral: ['%s/sim/collateral.json']\n  urls: {pccs: []}\n",
             port, v->w.dir);
    world_write(&v->w, "kms.yaml", text);
    vworld_run(v);
    snprintf(command, sizeof command,
             "python3 tests/integration/page_chromium.py " CHROMIUM " http://127.0.0.1:%u/ %s",
             port, v->w.dir);
    int status = system(command);
    if (status != 0) {
        world_show_log(&v->w);
    }
    assert_int_equal(status, 0);
    const char *keep = getenv("SCREENSHOTS");
    if (keep != NULL) {
        snprintf(command, sizeof command, "cp '%s'/*.png '%s'", v->w.dir, keep);
        assert_int_equal(system(command), 0);
    }
    http_server_free(guest);
    http_tls_free(tls);
}

static void expect(verifier_world *v, const char *path, const char *accept, int status,
                   const char *says) {
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    int got = vworld_send(v, "GET", path, accept, (dstack_bytes){0}, &answer, NULL);
    if (got != status || strstr(buf_text(&answer), says) == NULL) {
        fail_msg("%s: %d %s", path, got, buf_text(&answer));
    }
}

static void the_page_is_for_browsers_and_the_root_is_empty_for_clients(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    expect(v, "/", NULL, 404, "404");
    expect(v, "/", "Accept: */*\r\n", 404, "404");
    expect(v, "/", "Accept: text/html,application/xhtml+xml\r\n", 200, "<title>dstack verifier");
    expect(v, "/page/page.js", NULL, 200, "use strict");
    expect(v, "/page/..%2Findex.html", NULL, 404, "404");
    expect(v, "/page/page_files.c", NULL, 404, "404");
}

static bool is_public(int family, const char *text) {
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    void *at = family == AF_INET ? (void *)&((struct sockaddr_in *)&address)->sin_addr
                                 : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
    assert_int_equal(inet_pton(family, text, at), 1);
    return address_is_public((struct sockaddr *)&address);
}

static void sec_23_the_page_reaches_no_private_address(void **state) {
    verifier_world *v = *state;
    static const char *const closed4[] = {
        "127.0.0.1",  "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1",
        "100.64.0.1", "0.0.0.0",  "224.0.0.1",  "198.18.0.1",  "255.255.255.255"};
    static const char *const closed6[] = {
        "::1",         "::",      "fe80::1",      "fd00::1",        "ff02::1",
        "2001:db8::1", "2001::1", "2002:a00:1::", "64:ff9b::a00:1", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof closed4 / sizeof *closed4; i++) {
        assert_false(is_public(AF_INET, closed4[i]));
    }
    for (size_t i = 0; i < sizeof closed6 / sizeof *closed6; i++) {
        assert_false(is_public(AF_INET6, closed6[i]));
    }
    assert_true(is_public(AF_INET, "9.9.9.9") && is_public(AF_INET, "172.32.0.1") &&
                is_public(AF_INET6, "2620:fe::fe"));
    vworld_run(v); /* by default only public ones */
    static const char *const asked[] = {"https://127.0.0.1:1/", "https://localhost/",
                                        "https://[::1]:8443/"};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        DSTACK_AUTO(buf) dstack_buf answer = {0};
        assert_int_equal(vworld_send(v, "POST", "/inspect", "Accept: application/json\r\n",
                                     bytes_of_str(asked[i]), &answer, NULL),
                         422);
        assert_non_null(strstr(buf_text(&answer), "not an address of the public internet"));
    }
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    verifier_program = argv[1];
#define CASE(name) cmocka_unit_test_setup_teardown(name, vworld_setup, vworld_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_page_shows_the_chain_of_trust_in_a_browser),
        CASE(the_page_is_for_browsers_and_the_root_is_empty_for_clients),
        CASE(sec_23_the_page_reaches_no_private_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
