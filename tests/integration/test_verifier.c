/* dstack-verifier as a process: verdicts over HTTP for a simulated guest, and its one-shot form. */
#include <dstack/ear.h>

#include "verifier_world.h"

const char *kms_program; /* of the shared helpers; not run here */
const char *verifier_program;

static void a_guest_is_verified_and_every_claim_names_its_anchor(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "hello", "");
    DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
    assert_string_equal(text_at(answer, "reason", NULL), "");
    assert_true(json_is_true(json_object_get(answer, "is_valid")));
    assert_true(flag_at(answer, "quote_verified"));
    assert_true(flag_at(answer, "event_log_verified"));
    assert_true(flag_at(answer, "os_image_hash_verified"));
    const json_t *details = json_object_get(answer, "details");
    assert_string_equal(text_at(details, "tee_variant", NULL), "dstack-tdx");
    assert_string_equal(text_at(details, "tcb_status", NULL), "UpToDate");
    assert_string_equal(text_at(details, "app_info", "app_id"), v->w.app_id);
    assert_string_equal(text_at(details, "app_info", "compose_hash"), v->w.compose_hash);
    assert_string_equal(text_at(details, "app_info", "os_image_hash"),
                        v->w.image.image.os_image_hash);
    assert_string_equal(text_at(details, "boot_info", "appId"), v->w.app_id);
    assert_memory_equal(text_at(details, "report_data", NULL), "68656c6c6f00", 12);
    /* insecure mode is visible in the report itself */
    assert_true(json_is_true(json_object_get(answer, "insecure_dev")));
    assert_true(json_is_true(json_object_get(json_object_get(answer, "trust"), "external_root")));
    assert_string_equal(claim_anchor(answer, "hardware_root"), "policy");
    assert_string_equal(claim_anchor(answer, "app_id"), "measured");
}

static void sec_26_a_minted_image_hash_is_self_asserted_until_an_image_vouches(void **state) {
    verifier_world *v = *state;
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    char images[120];
    vworld_run(v);
    DSTACK_AUTO(json) json_t *before = vworld_verify(v, body);
    assert_string_equal(claim_anchor(before, "os_image_hash"), "self-asserted");
    assert_string_equal(text_at(before, "trust", "os_image_source"), "document");
    world_kill(&v->w, SIGTERM);
    http_client_free(v->client);
    snprintf(images, sizeof images, "images: ['%s']\n", v->w.image.dir);
    vworld_configure(v, images);
    vworld_run(v);
    DSTACK_AUTO(json) json_t *after = vworld_verify(v, body);
    assert_string_equal(claim_anchor(after, "os_image_hash"), "reference-image");
    assert_string_equal(text_at(after, "trust", "os_image_source"), "image");
}

static void a_policy_decides_over_true_evidence_and_is_read_again(void **state) {
    verifier_world *v = *state;
    char text[700], root[65];
    uint8_t digest[32];
    hash_sha256(sim_keys_root(v->w.keys), digest);
    hex_encode(bytes_of(digest, sizeof digest), root);
    snprintf(text, sizeof text,
             "version: 1\nid: mine\nhardware_roots: ['%s']\nos_image_hashes: ['%s']\n"
             "apps: [{app_id: '%s', compose_hashes: ['%s']}]\n"
             "anchors: {os_image_hash: [policy]}\n",
             root, v->w.image.image.os_image_hash, v->w.app_id, v->w.compose_hash);
    world_write(&v->w, "policy.yaml", text);
    vworld_configure(v, "policy: policy.yaml\n");
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    DSTACK_AUTO(json) json_t *good = vworld_verify(v, body);
    assert_string_equal(text_at(good, "reason", NULL), "");
    assert_string_equal(claim_anchor(good, "os_image_hash"), "policy");
    const json_t *policy = json_object_get(json_object_get(good, "trust"), "policy");
    assert_string_equal(text_at(policy, "policy_id", NULL), "mine");
    /* a broken document does not take the old one away */
    world_write(&v->w, "policy.yaml", "version: 1\napps: []\n");
    kill(v->w.pid, SIGHUP);
    usleep(300000);
    DSTACK_AUTO(json) json_t *still = vworld_verify(v, body);
    assert_true(json_is_true(json_object_get(still, "is_valid")));
    world_write(&v->w, "policy.yaml", "version: 1\n"); /* the simulated root is not the vendor's */
    kill(v->w.pid, SIGHUP);
    DSTACK_AUTO(json) json_t *bad = NULL;
    for (int i = 0; i < 200; i++) {
        json_decref(bad);
        bad = vworld_verify(v, body);
        if (!json_is_true(json_object_get(bad, "is_valid"))) {
            break;
        }
        usleep(10000);
    }
    assert_false(json_is_true(json_object_get(bad, "is_valid")));
    assert_non_null(strstr(text_at(bad, "reason", NULL), "hardware_roots"));
    /* what was found is told all the same */
    assert_true(flag_at(bad, "quote_verified"));
    assert_string_equal(text_at(json_object_get(bad, "details"), "app_info", "app_id"),
                        v->w.app_id);
}

typedef struct asking {
    const char *url;
    const char *body;
    unsigned answered;
} asking;

static void *ask_often(void *user) {
    asking *a = user;
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(&(http_client_config){.url = a->url}, &err);
    for (int i = 0; client != NULL && i < 20; i++) {
        DSTACK_AUTO(http_client_response) http_client_response response = {0};
        const http_client_request request = {.method = "POST",
                                             .path = i % 4 == 3 ? "/ear" : "/verify",
                                             .body = bytes_of_str(a->body)};
        a->answered +=
            http_client_send(client, &request, &response, &err) == 0 && response.status == 200;
    }
    return NULL;
}

static void many_ask_while_the_policy_changes(void **state) {
    verifier_world *v = *state;
    world_write(&v->w, "policy.yaml", "version: 1\nid: first\n");
    vworld_configure(v, "policy: policy.yaml\n");
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    pthread_t threads[4];
    asking askers[4];
    for (int i = 0; i < 4; i++) {
        askers[i] = (asking){v->url, body, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        char text[64];
        snprintf(text, sizeof text, "version: 1\nid: policy-%d\n", i);
        world_write(&v->w, "policy.yaml", text);
        kill(v->w.pid, SIGHUP);
        usleep(5000);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(askers[i].answered, 20);
    }
}

static void sec_35_freshness_rests_on_a_stated_source_of_time(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
    const json_t *time_of = json_object_get(json_object_get(answer, "trust"), "time");
    assert_string_equal(text_at(time_of, "source", NULL), "host time");
    int64_t at = json_integer_value(json_object_get(time_of, "unix"));
    assert_true(at > clock_unix() - 60 && at <= clock_unix());
}

static void what_was_expected_of_report_data_is_demanded(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    /* "12345678" as a nonce */
    DSTACK_AUTO(str)
    char *bound = vworld_request(v, "12345678", ",\"nonce\":\"3132333435363738\"");
    DSTACK_AUTO(json) json_t *good = vworld_verify(v, bound);
    assert_true(json_is_true(json_object_get(good, "is_valid")));
    DSTACK_AUTO(str)
    char *other = vworld_request(v, "12345679", ",\"nonce\":\"3132333435363738\"");
    DSTACK_AUTO(json) json_t *bad = vworld_verify(v, other);
    assert_false(json_is_true(json_object_get(bad, "is_valid")));
    assert_string_equal(text_at(bad, "reason", NULL),
                        "Quote verification failed: report data mismatch");
}

static void evidence_that_was_touched_is_refused(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    char *digit = body + strlen("{\"attestation\":\"") + 2 * 500;
    *digit = *digit == '0' ? '1' : '0';
    DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
    assert_false(json_is_true(json_object_get(answer, "is_valid")));
    assert_false(flag_at(answer, "quote_verified"));
    assert_non_null(strstr(text_at(answer, "reason", NULL), "Quote verification failed: "));
    assert_null(json_object_get(json_object_get(answer, "details"), "boot_info"));
    assert_int_equal(json_array_size(json_object_get(json_object_get(answer, "trust"), "claims")),
                     0);
}

static void expect_status(verifier_world *v, const char *method, const char *path,
                          const char *accept, const char *body, int status, const char *type) {
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    char got[80];
    int found = vworld_send(v, method, path, accept, bytes_of_str(body), &answer, got);
    if (found != status || strcmp(got, type) != 0) {
        fail_msg("%s %s: %d %s %s", method, path, found, got, buf_text(&answer));
    }
}

static void answers_at_the_http_level_are_the_references(void **state) {
    verifier_world *v = *state;
    static const char html[] = "text/html; charset=utf-8", json[] = "application/json";
    vworld_run(v);
    expect_status(v, "GET", "/health", NULL, "", 200, json);
    expect_status(v, "POST", "/health", NULL, "{}", 404, html);
    expect_status(v, "GET", "/verify", NULL, "", 404, html);
    expect_status(v, "POST", "/verify/", NULL, "{}", 404, html);
    expect_status(v, "POST", "/verify", NULL, "", 400, html);
    expect_status(v, "POST", "/verify", NULL, "{}x", 400, html);
    expect_status(v, "POST", "/verify", NULL, "null", 422, html);
    expect_status(v, "POST", "/verify", NULL, "{\"quote\":\"0x00\"}", 422, html);
    expect_status(v, "POST", "/verify", NULL, "{\"event_log\":[]}", 422, html);
    expect_status(v, "POST", "/verify", "Accept: application/json\r\n", "{", 400, json);
    expect_status(v, "POST", "/verify", NULL, "[]", 200, json);
    DSTACK_AUTO(buf) dstack_buf large = {0};
    buf_put_str(&large, "{\"a\":\"");
    while (large.len < ((size_t)1 << 20) - 2) {
        buf_put_u8(&large, 'a');
    }
    buf_put_str(&large, "\"}");
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    assert_int_equal(vworld_send(v, "POST", "/verify", NULL, bytes_of_buf(&large), &answer, NULL),
                     200);
    buf_put_u8(&large, ' ');
    assert_int_equal(vworld_send(v, "POST", "/verify", NULL, bytes_of_buf(&large), &answer, NULL),
                     413);
}

static void metrics_count_verdicts(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    json_decref(vworld_verify(v, body));
    json_decref(vworld_verify(v, "{}"));
    DSTACK_AUTO(buf) dstack_buf text = {0};
    vworld_send(v, "GET", "/metrics", NULL, (dstack_bytes){0}, &text, NULL);
    assert_non_null(
        strstr(buf_text(&text), "dstack_verifier_requests_total{outcome=\"valid\"} 1\n"));
    assert_non_null(
        strstr(buf_text(&text), "dstack_verifier_requests_total{outcome=\"refused\"} 1\n"));
}

static void sec_13_without_its_root_simulated_evidence_is_refused(void **state) {
    verifier_world *v = *state;
    char text[300];
    snprintf(text, sizeof text,
             "address: 'unix:%s/v.sock'\nrate: 0\nattestation: {collateral: "
             "['%s/sim/collateral.json'], urls: {pccs: []}}\n",
             v->w.dir, v->w.dir);
    world_write(&v->w, "kms.yaml", text);
    vworld_run(v);
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    DSTACK_AUTO(json) json_t *answer = vworld_verify(v, body);
    assert_false(json_is_true(json_object_get(answer, "is_valid")));
    assert_false(flag_at(answer, "quote_verified"));
}

static void sec_19_a_pinned_root_needs_insecure_dev(void **state) {
    verifier_world *v = *state;
    const char *const plain[] = {"dstack-verifier", "--config", v->w.config, NULL};
    assert_int_equal(vworld_command(v, plain), 2);
    char text[300];
    snprintf(text, sizeof text, "attestation: {root_ca: {tdx: '%s/sim/root.der'}}\n", v->w.dir);
    world_write(&v->w, "kms.yaml", text);
    const char *const insecure[] = {"dstack-verifier", "--config", v->w.config, "--insecure-dev",
                                    NULL};
    assert_int_equal(vworld_command(v, insecure), 2);
    static const char *const bad[] = {"port: 0\n", "unknown: 1\n", "attestation: {url: x}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        world_write(&v->w, "kms.yaml", bad[i]);
        const char *const check[] = {"dstack-verifier", "--config", v->w.config, "--check-config",
                                     NULL};
        assert_int_equal(vworld_command(v, check), 2);
    }
    world_write(&v->w, "kms.yaml", "port: 8081\n");
    const char *const print[] = {"dstack-verifier", "--config", v->w.config, "--print-config",
                                 NULL};
    assert_int_equal(vworld_command(v, print), 0);
    DSTACK_AUTO(buf) dstack_buf shown = {0};
    load_file(world_path(&v->w, "stdout"), &shown);
    assert_non_null(strstr(buf_text(&shown), "port: 8081"));
}

static void one_shot_gives_the_verdict_as_exit_status_and_file(void **state) {
    verifier_world *v = *state;
    DSTACK_AUTO(str) char *body = vworld_request(v, "x", "");
    world_write(&v->w, "request.json", body);
    char file[100], root[100], collateral[100];
    snprintf(file, sizeof file, "%s/request.json", v->w.dir);
    snprintf(root, sizeof root, "%s/sim/root.der", v->w.dir);
    snprintf(collateral, sizeof collateral, "%s/sim/collateral.json", v->w.dir);
    const char *const good[] = {"dstack-verifier", "--verify", file, "--root", root,
                                "--collateral",    collateral, NULL};
    assert_int_equal(vworld_command(v, good), 0);
    DSTACK_AUTO(json) json_t *line = load_json(world_path(&v->w, "stdout"));
    DSTACK_AUTO(json)
    json_t *written = load_json(world_path(&v->w, "request.json.verification.json"));
    assert_true(json_equal(line, written));
    assert_true(json_is_true(json_object_get(line, "is_valid")));
    /* collateral is in date for ten years: later than that it is not */
    const char *const late[] = {"dstack-verifier", "--verify", file,    "--root",     root,
                                "--collateral",    collateral, "--now", "4000000000", NULL};
    assert_int_equal(vworld_command(v, late), 1);
    unlink(world_path(&v->w, "request.json.verification.json"));
    world_write(&v->w, "request.json", "{}");
    assert_int_equal(vworld_command(v, good), 1);
    assert_int_not_equal(access(world_path(&v->w, "request.json.verification.json"), F_OK), 0);
    const char *const missing[] = {"dstack-verifier", "--verify", "/nonexistent", NULL};
    assert_int_equal(vworld_command(v, missing), 1);
    DSTACK_AUTO(json) json_t *none = load_json(world_path(&v->w, "stdout"));
    assert_non_null(
        strstr(text_at(none, "reason", NULL), "Internal error: Failed to read file /nonexistent"));
}

/* ---- attestation results -------------------------------------------------------------------------
 */

static void get_token(verifier_world *v, const char *body, dstack_buf *token, dstack_buf *keys) {
    char type[80];
    int status = vworld_send(v, "POST", "/ear", NULL, bytes_of_str(body), token, type);
    if (status != 200) {
        fail_msg("%d %s", status, buf_text(token));
    }
    assert_string_equal(type, "application/eat+jwt");
    assert_int_equal(
        vworld_send(v, "GET", "/.well-known/jwks.json", NULL, (dstack_bytes){0}, keys, type), 200);
    assert_string_equal(type, "application/jwk-set+json");
}

static json_t *read_token(const dstack_buf *token, const dstack_buf *keys) {
    DSTACK_AUTO(buf) dstack_buf claims = {0};
    dstack_error err = {0};
    assert_ok(
        dstack_ear_verify(bytes_of_buf(token), bytes_of_buf(keys), clock_unix(), &claims, &err),
        err);
    json_t *value = json_parse(bytes_of_buf(&claims), SIZE_MAX, "claims", &err);
    assert_non_null(value);
    return value;
}

static const json_t *submod(const json_t *claims) {
    return json_object_get(json_object_get(claims, "submods"), "cpu0");
}

static int64_t vector_of(const json_t *claims, const char *name) {
    const json_t *vector = json_object_get(submod(claims), "ear.trustworthiness-vector");
    return json_integer_value(json_object_get(vector, name));
}

static void another_library_reads_our_attestation_results(void **state) {
    verifier_world *v = *state;
    vworld_configure(v, "ear: {key_file: ear.key, issuer: 'https://verifier.test'}\n");
    vworld_run(v);
    DSTACK_AUTO(str)
    char *body = vworld_request(v, "12345678", ",\"nonce\":\"3132333435363738\"");
    DSTACK_AUTO(buf) dstack_buf token = {0}, keys = {0};
    get_token(v, body, &token, &keys);
    world_write(&v->w, "token", buf_text(&token));
    world_write(&v->w, "jwks.json", buf_text(&keys));
    char command[400];
    snprintf(
        command, sizeof command,
        "/usr/bin/python3 tests/integration/ear_pyjwt.py %s/token %s/jwks.json > %s/claims.json",
        v->w.dir, v->w.dir, v->w.dir);
    int status = system(command);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77 && getenv("CI") == NULL) {
        print_message("SKIP: PyJWT is absent\n");
        skip();
    }
    assert_int_equal(status, 0);
    DSTACK_AUTO(json) json_t *claims = load_json(world_path(&v->w, "claims.json"));
    assert_string_equal(text_at(claims, "eat_profile", NULL), "tag:github.com,2023:veraison/ear");
    assert_string_equal(text_at(claims, "iss", NULL), "https://verifier.test");
    assert_string_equal(text_at(claims, "eat_nonce", NULL), "MTIzNDU2Nzg");
    assert_string_equal(text_at(claims, "ear.verifier-id", "developer"), "dstack");
    assert_string_equal(text_at(submod(claims), "ear.appraisal-policy-id", NULL),
                        "dstack:verification");
    /* a simulated machine is never affirmed */
    assert_string_equal(text_at(submod(claims), "ear.status", NULL), "contraindicated");
    assert_int_equal(vector_of(claims, "hardware"), 97);
    assert_true(json_is_true(json_object_get(claims, "ear.dstack.insecure_dev")));
    const json_t *app =
        json_object_get(json_object_get(submod(claims), "ear.dstack.claims"), "app_id");
    assert_string_equal(text_at(app, "value", NULL), v->w.app_id);
    assert_string_equal(text_at(app, "anchor", NULL), "measured");
    /* ours reads the same */
    DSTACK_AUTO(json) json_t *ours = read_token(&token, &keys);
    assert_true(json_equal(ours, claims));
    struct stat info;
    assert_int_equal(stat(world_path(&v->w, "ear.key"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void a_nonce_that_the_evidence_does_not_bind_is_not_echoed(void **state) {
    verifier_world *v = *state;
    vworld_run(v);
    DSTACK_AUTO(str)
    char *body = vworld_request(v, "other", ",\"nonce\":\"3132333435363738\"");
    DSTACK_AUTO(buf) dstack_buf token = {0}, keys = {0};
    get_token(v, body, &token, &keys);
    DSTACK_AUTO(json) json_t *claims = read_token(&token, &keys);
    assert_null(json_object_get(claims, "eat_nonce"));
    assert_string_equal(text_at(submod(claims), "ear.status", NULL), "contraindicated");
    assert_int_equal(vector_of(claims, "hardware"), 99);
    expect_status(v, "POST", "/ear", NULL, "{\"attestation\":\"ff\"}", 422,
                  "text/html; charset=utf-8");
}

static void sec_18_a_signing_key_that_others_can_read_is_not_used(void **state) {
    verifier_world *v = *state;
    vworld_configure(v, "ear: {key_file: ear.key}\n");
    vworld_run(v);
    DSTACK_AUTO(buf) dstack_buf first = {0}, second = {0};
    vworld_send(v, "GET", "/.well-known/jwks.json", NULL, (dstack_bytes){0}, &first, NULL);
    world_kill(&v->w, SIGTERM);
    http_client_free(v->client);
    vworld_run(v); /* the key outlives the process */
    vworld_send(v, "GET", "/.well-known/jwks.json", NULL, (dstack_bytes){0}, &second, NULL);
    assert_true(bytes_equal(bytes_of_buf(&first), bytes_of_buf(&second)));
    world_kill(&v->w, SIGTERM);
    assert_int_equal(chmod(world_path(&v->w, "ear.key"), 0644), 0);
    const char *const start[] = {"dstack-verifier", "--config", v->w.config, "--insecure-dev",
                                 NULL};
    assert_int_equal(vworld_command(v, start), 1);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    verifier_program = argv[1];
#define CASE(name) cmocka_unit_test_setup_teardown(name, vworld_setup, vworld_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_guest_is_verified_and_every_claim_names_its_anchor),
        CASE(sec_26_a_minted_image_hash_is_self_asserted_until_an_image_vouches),
        CASE(a_policy_decides_over_true_evidence_and_is_read_again),
        CASE(many_ask_while_the_policy_changes),
        CASE(sec_35_freshness_rests_on_a_stated_source_of_time),
        CASE(what_was_expected_of_report_data_is_demanded),
        CASE(evidence_that_was_touched_is_refused),
        CASE(answers_at_the_http_level_are_the_references),
        CASE(metrics_count_verdicts),
        CASE(sec_13_without_its_root_simulated_evidence_is_refused),
        CASE(sec_19_a_pinned_root_needs_insecure_dev),
        CASE(another_library_reads_our_attestation_results),
        CASE(a_nonce_that_the_evidence_does_not_bind_is_not_echoed),
        CASE(sec_18_a_signing_key_that_others_can_read_is_not_used),
        CASE(one_shot_gives_the_verdict_as_exit_status_and_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
