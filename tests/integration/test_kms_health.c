/* What dstack-kms tells those who watch it. */
#include "kms_calls.h"

static void get(const char *base, const char *path, int status, dstack_buf *text) {
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client =
        http_client_new(&(http_client_config){.url = base, .trust = HTTP_CLIENT_TRUST_NONE}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = "GET", .path = path};
    assert_ok(http_client_send(client, &request, &response, &err), err);
    if (response.status != status) {
        fail_msg("%s: %d %s", path, response.status, buf_text(&response.body));
    }
    buf_reset(text);
    buf_put_bytes(text, bytes_of_buf(&response.body));
}

/* The value of a line "name value" of /metrics. */
static long value_of(const dstack_buf *text, const char *series) {
    char line[200];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(buf_text((dstack_buf *)text), line);
    if (at == NULL) {
        fail_msg("no series %s in %s", series, buf_text((dstack_buf *)text));
    }
    return strtol(at + strlen(line), NULL, 10);
}

static void metrics_count_calls_failures_and_refusals(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    world_run(w);
    get(w->url, "/metrics", 200, &text);
    assert_memory_equal(buf_text(&text), "#", 1);
    assert_non_null(strstr(buf_text(&text),
                           "# HELP dstack_kms_attestation_requests_total Total number of KMS "
                           "attestation requests.\n"
                           "# TYPE dstack_kms_attestation_requests_total counter\n"
                           "dstack_kms_attestation_requests_total 0\n"));
    assert_non_null(strstr(buf_text(&text),
                           "# HELP dstack_kms_attestation_failures_total Total number of failed "
                           "KMS attestation requests.\n"
                           "# TYPE dstack_kms_attestation_failures_total counter\n"
                           "dstack_kms_attestation_failures_total 0\n"));
    long entries = value_of(&text, "dstack_kms_log_entries");
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400, "No attestation provided");
    world_post(w, "/prpc/KMS.GetKmsKey?json", "{}", 400, "No attestation provided");
    world_post(w, "/prpc/SignCert?json", "{\"api_version\":3}", 400, "Unsupported API version: 3");
    world_post(w, "/prpc/Nope?json", "{}", 404, "Service not found");
    world_allow(w, w->image.image.os_image_hash, "apps: {}\n");
    expect_refusal(w, w->guest, w->image.vm_config, "app not registered");
    expect_refusal(w, w->guest, "{}", "OS image is not allowed");
    get(w->url, "/metrics", 200, &text);
    static const struct {
        const char *series;
        long value;
    } expected[] = {
        {"dstack_kms_attestation_requests_total", 6},
        {"dstack_kms_attestation_failures_total", 5},
        {"dstack_kms_requests_total{method=\"GetAppKey\"}", 4},
        {"dstack_kms_failures_total{method=\"GetAppKey\"}", 3},
        {"dstack_kms_requests_total{method=\"SignCert\"}", 1},
        {"dstack_kms_requests_total{method=\"GetTempCaCert\"}", 0},
        {"dstack_kms_refusals_total{check=\"policy\"}", 2},
        {"dstack_kms_refusals_total{check=\"image\"}", 0},
        {"dstack_kms_refusals_total{check=\"self\"}", 0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        long found = value_of(&text, expected[i].series);
        if (found != expected[i].value) {
            fail_msg("%s: %ld, expected %ld", expected[i].series, found, expected[i].value);
        }
    }
    /* one release, two refusals of callers that are known */
    assert_int_equal(value_of(&text, "dstack_kms_log_entries"), entries + 3);
    assert_true(value_of(&text, "dstack_kms_request_microseconds_total{method=\"GetAppKey\"}") > 0);
    assert_true(value_of(&text, "dstack_kms_certificate_expiry_timestamp_seconds") > clock_unix());
    /* nothing in there names who asked */
    assert_null(strstr(buf_text(&text), w->app_id));
    world_kill(w, SIGTERM);
    world_configure(w, "  metrics: {enabled: false}\n");
    world_run(w);
    get(w->url, "/metrics", 404, &text);
}

static void it_lives_always_and_is_ready_while_its_policy_allows_it(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0}, allowed = {0};
    world_run(w);
    get(w->url, "/health", 200, &text);
    assert_string_equal(buf_text(&text), "OK");
    get(w->url, "/ready", 200, &text);
    assert_string_equal(buf_text(&text), "ready\n");
    load_file(world_path(w, "allow.yaml"), &allowed);
    memset(strstr((char *)buf_text(&allowed), w->kms_compose_hash), '0', 64);
    world_write(w, "allow.yaml", buf_text(&allowed));
    get(w->url, "/ready", 503, &text);
    assert_string_equal(buf_text(&text),
                        "not ready: KMS self authorization failed: KMS is not allowed: aggregated "
                        "MR not allowed\n");
    get(w->url, "/health", 200, &text);
    get(w->url, "/metrics", 200, &text);
    assert_int_equal(value_of(&text, "dstack_kms_refusals_total{check=\"self\"}"), 1);
}

static void the_set_up_listener_lives_too(void **state) {
    world *w = *state;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    char base[64];
    world_configure_with(w, "{file: {path: allow.yaml}}", "enabled: true", "");
    w->pid = world_spawn(w, true);
    snprintf(base, sizeof base, "http://127.0.0.1:%u", world_wait_port(w, "set-up listener"));
    get(base, "/health", 200, &text);
    assert_string_equal(buf_text(&text), "OK");
    get(base, "/metrics", 404, &text);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(metrics_count_calls_failures_and_refusals),
        KMS_TEST(it_lives_always_and_is_ready_while_its_policy_allows_it),
        KMS_TEST(the_set_up_listener_lives_too),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
