/* First start, key files and settings of dstack-kms. */
#include "kms_calls.h"

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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(sec_18_every_secret_file_is_0600),
        KMS_TEST(sec_19_weakening_settings_need_insecure_dev_and_mark_what_is_issued),
        KMS_TEST(sec_20_bootstrap_needs_the_token_and_succeeds_once),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
