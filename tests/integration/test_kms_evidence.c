/* How old the evidence may be for which dstack-kms gives keys, and evidence made for the very
 * connection. */
#include "kms_calls.h"

typedef struct caller {
    http_client *client;
    dstack_secret *key;
    dstack_buf pem;
} caller;

/* A caller with a certificate as the reference's clients make it: without a date. */
static void caller_open(const world *w, caller *c) {
    dstack_error err = {0};
    *c = (caller){0};
    call_certificate(w, SHOW_EVIDENCE, &c->key, &c->pem);
    http_client_config config = {
        .url = w->url,
        .trust = HTTP_CLIENT_TRUST_NONE,
        .certificate_pem = bytes_of_buf(&c->pem),
        .key_pem = bytes_of(dstack_secret_peek(c->key), dstack_secret_len(c->key))};
    c->client = http_client_new(&config, &err);
    assert_non_null(c->client);
}

static void caller_close(caller *c) {
    http_client_free(c->client);
    dstack_secret_free(c->key);
    dstack_buf_clear(&c->pem);
}

static int caller_ask(const world *w, const caller *c, const char *method, const char *channel,
                      char text[2000]) {
    dstack_error err = {0};
    char path[64];
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    DSTACK_AUTO(json)
    json_t *question = json_pack("{s:i,s:s,s:s*}", "api_version", 1, "vm_config",
                                 w->image.vm_config, "channel_evidence", channel);
    assert_ok(json_write(question, false, &body, &err), err);
    snprintf(path, sizeof path, "/prpc/%s?json", method);
    http_client_request request = {.method = "POST", .path = path, .body = bytes_of_buf(&body)};
    assert_ok(http_client_send(c->client, &request, &response, &err), err);
    snprintf(text, 2000, "%s", buf_text(&response.body));
    return response.status;
}

static void expect(const world *w, const caller *c, const char *channel, int status,
                   const char *says) {
    char text[2000];
    int got = caller_ask(w, c, "GetAppKey", channel, text);
    if (got != status || strstr(text, says) == NULL) {
        fail_msg("expected %d \"%s\", got %d %s", status, says, got, text);
    }
}

/* ---- age --------------------------------------------------------------------------------------
 */

static void sec_21_evidence_that_was_used_is_too_old_one_day(void **state) {
    world *w = *state;
    caller thief, other;
    char text[2000];
    int status = 200;
    world_configure(w, "  evidence: {max_age: 2s}\n");
    world_run(w);
    caller_open(w, &thief);
    expect(w, &thief, NULL, 200, "k256_key");
    for (int i = 0; i < 600 && status == 200; i++) {
        usleep(100000);
        status = caller_ask(w, &thief, "GetAppKey", NULL, text);
    }
    assert_int_equal(status, 400);
    assert_non_null(strstr(text, "\"error\": \"App not allowed: evidence is "));
    assert_non_null(strstr(text, " s old by its first use, at most 2 s are allowed (host time)\""));
    assert_null(strstr(text, "_key\""));
    /* what needs no evidence goes on, and so does whoever makes it anew */
    assert_int_equal(caller_ask(w, &thief, "GetMeta", NULL, text), 200);
    caller_open(w, &other);
    expect(w, &other, NULL, 200, "k256_key");
    caller_close(&other);
    caller_close(&thief);
}

static void sec_21_a_certificate_of_long_ago_is_refused(void **state) {
    world *w = *state;
    world_configure(w, "  evidence: {max_age: 30m}\n");
    world_run(w);
    /* our client's certificate begins an hour ago, for clocks that differ */
    expect_refusal(w, w->guest, w->image.vm_config, "s old by its certificate, at most 1800 s");
    world_kill(w, SIGTERM);
    world_configure(w, "  evidence: {max_age: never}\n");
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
}

static void sec_35_the_age_is_in_the_record_and_says_whose_time_it_is(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    const char *line = strstr(buf_text(&log), "app keys released");
    assert_non_null(line);
    assert_non_null(strstr(line, "evidence_age_s=\"3"));
    assert_non_null(strstr(line, "evidence_age_by=\"certificate\""));
    assert_non_null(strstr(line, "time=\"host time\""));
}

/* ---- connections ------------------------------------------------------------------------------
 */

static char *evidence_for(workload *guest, const uint8_t binding[32]) {
    dstack_error err = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0}, hex = {0};
    assert_ok(
        dstack_report_data(DSTACK_KMS_CHANNEL_TAG, NULL, bytes_of(binding, 32), report_data, &err),
        err);
    assert_ok(workload_attest(guest, report_data, &evidence, &err), err);
    assert_ok(dstack_attestation_encode(evidence, DSTACK_ATTESTATION_V1, &encoded, &err), err);
    buf_put_hex(&hex, bytes_of_buf(&encoded));
    return buf_detach_text(&hex);
}

static void sec_21_keys_may_need_evidence_for_the_very_connection(void **state) {
    world *w = *state;
    dstack_error err = {0};
    caller one, two;
    uint8_t binding[32];
    world_tee tee = {0};
    world_configure(w, "  evidence: {require_connection: true}\n");
    world_run(w);
    /* our client gives it where it is asked for */
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    caller_open(w, &one);
    caller_open(w, &two);
    expect(w, &one, NULL, 400,
           "\"error\": \"App not allowed: evidence for this connection is required\"");
    assert_ok(http_client_channel_binding(one.client, binding, &err), err);
    DSTACK_AUTO(str) char *good = evidence_for(w->guest, binding);
    expect(w, &two, NULL, 400, "evidence for this connection is required");
    /* recorded on one connection, played on another */
    expect(w, &two, good, 400, "App not allowed: evidence for this connection: ");
    expect(w, &one, good, 200, "k256_key");
    expect(w, &one, "00", 400, "App not allowed: evidence for this connection: ");
    /* of another machine than the certificate's */
    world_tee_start(w, &tee, "second-tee", &w->image.measured, w->keys);
    workload *other =
        world_workload(w, &tee, w->keys, world_kms_manifest, w->image.vm_config, "second");
    DSTACK_AUTO(str) char *foreign = evidence_for(other, binding);
    expect(w, &one, foreign, 400,
           "App not allowed: evidence for this connection: it is of another machine");
    workload_free(other);
    world_tee_stop(&tee);
    caller_close(&one);
    caller_close(&two);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(sec_21_evidence_that_was_used_is_too_old_one_day),
        KMS_TEST(sec_21_a_certificate_of_long_ago_is_refused),
        KMS_TEST(sec_35_the_age_is_in_the_record_and_says_whose_time_it_is),
        KMS_TEST(sec_21_keys_may_need_evidence_for_the_very_connection),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
