/* Calls to a KMS under test, and what is expected of them. */
#ifndef TESTS_INTEGRATION_KMS_CALLS_H
#define TESTS_INTEGRATION_KMS_CALLS_H

#include "kms_world.h"

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "kms.h"

const char *kms_program;

DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)
DSTACK_AUTO_DEFINE_CLEAR(app_keys, dstack_app_keys, dstack_app_keys_clear)
DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

static inline void ask_keys(const world *w, dstack_app_keys *keys) {
    dstack_error err = {0};
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, w->guest);
    int rc = dstack_kms_app_keys(client, w->image.vm_config, keys, &err);
    if (rc != 0) {
        world_show_log(w);
    }
    assert_ok(rc, err);
}

static inline void expect_refusal(const world *w, workload *guest, const char *vm_config,
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

static inline int exit_status(const world *w, bool insecure) {
    int status;
    pid_t pid = world_spawn(w, insecure);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Posts to the set-up listener; `answer` (may be NULL) takes the body. */
static inline void setup_ask(unsigned port, const char *path, const char *body, const char *token,
                             int status, const char *says, dstack_buf *answer) {
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
    const char *text = buf_text(&response.body);
    if (response.status != status || strstr(text, says) == NULL) {
        fail_msg("%s: %d %s, expected %s", path, response.status, text, says);
    }
    if (answer != NULL) {
        buf_put_bytes(answer, bytes_of_buf(&response.body));
    }
}

static inline void setup_post(unsigned port, const char *path, const char *body, const char *token,
                              int status, const char *says) {
    setup_ask(port, path, body, token, status, says, NULL);
}

typedef enum shown { SHOW_NOTHING, SHOW_BARE, SHOW_EVIDENCE } shown;

/* A self-issued client certificate of the kind asked for. */
static inline void call_certificate(const world *w, shown what, dstack_secret **key,
                                    dstack_buf *pem) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(key, &err), err);
    assert_ok(dstack_cert_key_public(*key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    if (what == SHOW_EVIDENCE) {
        assert_ok(workload_attest(w->guest, report_data, &evidence, &err), err);
    }
    dstack_cert_spec spec = {.subject = "caller",
                             .client_auth = true,
                             .not_after = clock_unix() + 600,
                             .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, *key, pem, &err), err);
}

#define KMS_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static inline int kms_run_tests(int argc, char **argv, const struct CMUnitTest *tests,
                                size_t count) {
    assert_true(argc >= 2);
    kms_program = argv[1];
    return _cmocka_run_group_tests("kms", tests, count, NULL, NULL);
}

#endif
