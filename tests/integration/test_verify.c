/* `dstack verify` against servers on loopback: the whole command, from its options to its exit code
 * and its document. */
#include "../unit/cli/verify_fixture.h"

#include "cli.h"
#include "service/http.h"

extern const struct cli_command cli_command_verify;

static const struct cli_command *const root_children[] = {&cli_command_verify, NULL};
static const struct cli_command root_command = {
    .name = "dstack", .summary = "test", .children = root_children, .max_args = -1};

/* One server: what it answers is set before each test. */
typedef struct site {
    http_server *server;
    http_tls *tls;
    char address[32];
    char url[400];
    dstack_buf acme_info;
    const scene_party *who; /* who answers the nonce */
    int busy;               /* how many times it first says to come again */
    bool stale;             /* answers an older nonce */
    int evidence_status;
} site;

static scene s;
static site gateway, own;
static scene_cert own_cert;
static char root_file[128], collateral_file[128], ca_file[128], kms_file[128];
static char out[65536], diag[4096];

/* ---- servers ----------------------------------------------------------------------------------
 */

static void acme_info_page(http_request *request, http_response *response, void *user) {
    site *at = user;
    http_response_bytes(response, 200, "application/json", bytes_of_buf(&at->acme_info));
}

static void evidence_page(http_request *request, http_response *response, void *user) {
    site *at = user;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf nonce = {0}, body = {0};
    const char *text = http_request_arg(request, "nonce");
    if (at->evidence_status != 0) {
        http_response_error(response, at->evidence_status, "no evidence here");
        return;
    }
    if (at->busy > 0) {
        at->busy--;
        http_response_error(response, 429, "too many requests");
        return;
    }
    if (text == NULL || hex_decode(bytes_of_str(text), &nonce, &err) != 0 || nonce.len < 16) {
        http_response_error(response, 400, "nonce must be 16 to 64 bytes in hex");
        return;
    }
    nonce.data[0] ^= at->stale;
    scene_evidence(&s, at->who, &s.guest_cert, bytes_of_buf(&nonce), &body);
    http_response_bytes(response, 200, "application/json", bytes_of_buf(&body));
}

static const http_route routes[] = {
    {"GET", "/.dstack/acme-info", acme_info_page, NULL, 0, 0},
    {"GET", "/.well-known/dstack/evidence", evidence_page, NULL, 0, 0},
};

static void site_start(site *at, const char *host, const scene_cert *cert) {
    dstack_error err = {0};
    const http_tls_config tls = {
        .certificate_pem = bytes_of_buf(&cert->chain),
        .key_pem = bytes_of(dstack_secret_peek(cert->key), dstack_secret_len(cert->key))};
    at->tls = http_tls_new(&tls, &err);
    assert_non_null(at->tls);
    at->server = http_server_new(&(http_server_config){.name = "site", .workers = 2});
    const http_listener_config listener = {.name = "site",
                                           .address = "127.0.0.1:0",
                                           .tls = at->tls,
                                           .routes = routes,
                                           .route_count = sizeof routes / sizeof *routes,
                                           .user = at};
    assert_ok(http_server_listen(at->server, &listener, &err), err);
    uint16_t port = http_server_port(at->server, "site");
    snprintf(at->address, sizeof at->address, "127.0.0.1:%u", port);
    snprintf(at->url, sizeof at->url, "https://%s:%u/", host, port);
}

static void site_stop(site *at) {
    http_server_free(at->server);
    http_tls_free(at->tls);
    dstack_buf_clear(&at->acme_info);
}

/* ---- the scene --------------------------------------------------------------------------------
 */

static void write_file(char path[128], const char *name, dstack_bytes content) {
    dstack_error err = {0};
    snprintf(path, 128, "%s/%s", s.f.dir, name);
    assert_ok(file_write_atomic(path, content, 0644, &err), err);
}

static void true_gateway(void) {
    dstack_attestation *made =
        scene_attest_for(&s, &s.gateway, "zt-cert", bytes_of_buf(&s.gateway_cert.spki));
    scene_acme_info(made, bytes_of_buf(&s.gateway_cert.spki), &gateway.acme_info);
    dstack_attestation_free(made);
    gateway.who = &s.app;
}

static int group_setup(void **state) {
    scene_setup(&s);
    snprintf(root_file, sizeof root_file, "%s/root.pem", s.f.dir);
    snprintf(collateral_file, sizeof collateral_file, "%s/collateral.json", s.f.dir);
    write_file(ca_file, "ca.pem", bytes_of_buf(&s.public_ca.chain));
    write_file(kms_file, "kms.pem", bytes_of_buf(&s.kms.chain));
    true_gateway();
    site_start(&gateway, s.host, &s.gateway_cert);
    scene_key(&own_cert);
    dstack_attestation *made =
        scene_attest_for(&s, &s.app, "ratls-cert", bytes_of_buf(&own_cert.spki));
    scene_app_leaf(&s, &own_cert, DSTACK_USAGE_APP_CUSTOM, made);
    dstack_attestation_free(made);
    site_start(&own, "hello.example.test", &own_cert);
    return 0;
}

static int group_teardown(void **state) {
    site_stop(&gateway);
    site_stop(&own);
    scene_cert_clear(&own_cert);
    unlink(ca_file);
    unlink(kms_file);
    scene_teardown(&s);
    return 0;
}

/* Runs the command; further arguments end with NULL. */
static int run_verify(const char *url, const char *address, ...) {
    char now[32];
    snprintf(now, sizeof now, "%d", FIXTURE_NOW);
    const char *argv[48] = {"dstack",        "verify",    url, "--connect",
                            address,         "--now",     now, "--collateral",
                            collateral_file, "--timeout", "10"};
    int argc = 11;
    va_list more;
    va_start(more, address);
    for (const char *word = va_arg(more, const char *); word != NULL;
         word = va_arg(more, const char *)) {
        argv[argc++] = word;
    }
    va_end(more);
    FILE *files[2] = {tmpfile(), tmpfile()};
    int code = cli_main(&root_command, argc, (char **)(uintptr_t)argv, files[0], files[1]);
    rewind(files[0]);
    rewind(files[1]);
    out[fread(out, 1, sizeof out - 1, files[0])] = '\0';
    diag[fread(diag, 1, sizeof diag - 1, files[1])] = '\0';
    fclose(files[0]);
    fclose(files[1]);
    return code;
}

static json_t *document(void) {
    dstack_error err = {0};
    json_t *value = json_parse(bytes_of_str(out), sizeof out, "output", &err);
    if (value == NULL) {
        fail_msg("%s: %s", err.message, out);
    }
    return value;
}

static void expect_refused_at(const char *check) {
    DSTACK_AUTO(json) json_t *value = document();
    const json_t *error = json_object_get(value, "error");
    assert_string_equal(json_string_value(json_object_get(error, "check")), check);
    assert_string_equal(json_string_value(json_object_get(value, "verdict")), "refused");
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void an_address_behind_a_gateway_verifies(void **state) {
    int code = run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                          "--ca", ca_file, "--image", s.image_dir, "--kms-root", kms_file, NULL);
    if (code != 0) {
        fail_msg("%s%s", out, diag);
    }
    assert_non_null(strstr(out, "Hardware root"));
    assert_non_null(strstr(out, "SIMULATED, INSECURE"));
    assert_non_null(strstr(out, "anchor: reference-image"));
    assert_non_null(strstr(out, "VERIFIED"));
    assert_non_null(strstr(diag, "--insecure-dev"));
    assert_int_equal(run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                                "--ca", ca_file, "--image", s.image_dir, "--json", NULL),
                     0);
    DSTACK_AUTO(json) json_t *value = document();
    assert_string_equal(json_string_value(json_object_get(value, "verdict")), "verified");
    assert_string_equal(json_string_value(json_object_get(value, "mode")), "terminated");
}

static void an_address_that_the_app_serves_itself_verifies(void **state) {
    char app_id[41];
    hex_encode(bytes_of(s.app.app_id, 20), app_id);
    int code = run_verify(own.url, own.address, "--insecure-dev", "--root", root_file, "--image",
                          s.image_dir, "--kms-root", kms_file, "--app-id", app_id, NULL);
    if (code != 0) {
        fail_msg("%s%s", out, diag);
    }
    assert_int_equal(run_verify(own.url, own.address, "--insecure-dev", "--root", root_file,
                                "--json", "--app-id", "0011223344556677889900112233445566778899",
                                NULL),
                     1);
    expect_refused_at("app-identity");
}

static void a_busy_guest_is_asked_again(void **state) {
    gateway.busy = 1;
    assert_int_equal(run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                                "--ca", ca_file, NULL),
                     0);
    assert_int_equal(gateway.busy, 0);
}

static void sec_13_a_simulated_root_needs_the_insecure_flag(void **state) {
    assert_int_equal(
        run_verify(gateway.url, gateway.address, "--root", root_file, "--ca", ca_file, NULL), 2);
    assert_non_null(strstr(diag, "--insecure-dev"));
    /* Neither does the flag alone pin anything. */
    assert_int_equal(
        run_verify(gateway.url, gateway.address, "--insecure-dev", "--ca", ca_file, "--json", NULL),
        1);
    expect_refused_at("hardware-root");
}

static void sec_21_an_answer_to_an_older_nonce_is_refused(void **state) {
    gateway.stale = true;
    assert_int_equal(run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                                "--ca", ca_file, "--json", NULL),
                     1);
    gateway.stale = false;
    expect_refused_at("app-evidence");
}

static void another_app_behind_the_name_is_refused(void **state) {
    scene_party other = s.app;
    scene_who(&other, "{\"name\":\"other\"}");
    gateway.who = &other;
    assert_int_equal(run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                                "--ca", ca_file, NULL),
                     1);
    gateway.who = &s.app;
    assert_non_null(strstr(diag, "refused at app-identity"));
    assert_null(strstr(out, "VERIFIED"));
}

static void a_site_without_evidence_is_refused(void **state) {
    gateway.evidence_status = 404;
    assert_int_equal(run_verify(gateway.url, gateway.address, "--insecure-dev", "--root", root_file,
                                "--ca", ca_file, "--json", NULL),
                     1);
    gateway.evidence_status = 0;
    expect_refused_at("app-evidence");
    char url[400];
    snprintf(url, sizeof url, "https://www.example.test:%s", strchr(gateway.address, ':') + 1);
    assert_int_equal(
        run_verify(url, gateway.address, "--insecure-dev", "--root", root_file, "--json", NULL), 1);
}

static void an_address_that_nobody_serves_exits_3(void **state) {
    assert_int_equal(run_verify("https://x.example.test:1/", "127.0.0.1:1", "--insecure-dev",
                                "--root", root_file, "--json", NULL),
                     3);
    DSTACK_AUTO(json) json_t *value = document();
    assert_non_null(json_object_get(value, "error"));
}

static void wrong_usage_exits_2_and_missing_files_exit_3(void **state) {
    assert_int_equal(run_verify("http://x.example.test/", "127.0.0.1:1", NULL), 2);
    assert_int_equal(run_verify("ftp", "127.0.0.1:1", NULL), 2);
    assert_int_equal(run_verify(own.url, own.address, "--app-id", "00", NULL), 2);
    assert_int_equal(run_verify(own.url, own.address, "--manifest", "x", "--compose-hash",
                                "0000000000000000000000000000000000000000000000000000000000000000",
                                NULL),
                     2);
    assert_int_equal(run_verify(own.url, own.address, "--image", "/nonexistent", NULL), 3);
    assert_int_equal(run_verify(own.url, own.address, "--kms-root", "/nonexistent", NULL), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_behind_a_gateway_verifies),
        cmocka_unit_test(an_address_that_the_app_serves_itself_verifies),
        cmocka_unit_test(a_busy_guest_is_asked_again),
        cmocka_unit_test(sec_13_a_simulated_root_needs_the_insecure_flag),
        cmocka_unit_test(sec_21_an_answer_to_an_older_nonce_is_refused),
        cmocka_unit_test(another_app_behind_the_name_is_refused),
        cmocka_unit_test(a_site_without_evidence_is_refused),
        cmocka_unit_test(an_address_that_nobody_serves_exits_3),
        cmocka_unit_test(wrong_usage_exits_2_and_missing_files_exit_3),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
