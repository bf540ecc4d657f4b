/* Who may call which method of dstack-kms: the tables of all three listeners, walked with every class
 * of caller. */
#include "kms_calls.h"

/* ---- callers ----------------------------------------------------------------------------------
 */

typedef struct answer {
    int status; /* HTTP, or a negative status of ours when there was no answer */
    char text[700];
} answer;

typedef struct caller {
    const char *name;
    shown certificate;
    const char *header; /* NULL: none */
} caller;

static void ask_as(const world *w, const char *base, const caller *c, const char *path,
                   answer *out) {
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    http_client_config config = {.url = base, .trust = HTTP_CLIENT_TRUST_NONE};
    call_certificate(w, c->certificate, &key, &pem);
    if (c->certificate != SHOW_NOTHING) {
        config.certificate_pem = bytes_of_buf(&pem);
        config.key_pem = bytes_of(dstack_secret_peek(key), dstack_secret_len(key));
    }
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &err);
    assert_non_null(client);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {
        .method = "POST", .path = path, .headers = c->header, .body = bytes_of_str("{}")};
    int rc = http_client_send(client, &request, &response, &err);
    out->status = rc != 0 ? rc : response.status;
    snprintf(out->text, sizeof out->text, "%s", rc != 0 ? err.message : buf_text(&response.body));
}

#define TOKEN "correct horse battery staple"

static const caller callers[] = {
    {"nobody", SHOW_NOTHING, NULL},
    {"bare certificate", SHOW_BARE, NULL},
    {"attested", SHOW_EVIDENCE, NULL},
    {"wrong token", SHOW_NOTHING, "Authorization: Bearer correct horse battery\r\n"},
    {"token", SHOW_NOTHING, "Authorization: Bearer " TOKEN "\r\n"},
    {"token and evidence", SHOW_EVIDENCE, "Authorization: Bearer " TOKEN "\r\n"},
};
enum { CALLERS = sizeof callers / sizeof callers[0] };

/* Whether a caller with this token and certificate gets as far as the method's own checks. */
static bool admits(rpc_caller wanted, bool token, bool evidence) {
    switch (wanted) {
    case RPC_CALLER_ANYONE:
    case RPC_CALLER_CUSTOM:
        return true;
    case RPC_CALLER_ATTESTED:
        return evidence;
    case RPC_CALLER_TOKEN:
        return token;
    case RPC_CALLER_TOKEN_ATTESTED:
        return token && evidence;
    default:
        return false;
    }
}

/* The KMS with its admin listener, on TLS; returns where that is. */
static void run_with_admin(world *w, char admin[64]) {
    DSTACK_AUTO(buf) dstack_buf log = {0};
    world_write(w, "admin-token", TOKEN "\n");
    world_configure(w, "  admin: {enabled: true, port: 0, tls: true, auth_token_file: "
                       "admin-token}\n");
    world_run(w);
    load_file(w->log, &log);
    const char *line = strstr(buf_text(&log), "msg=\"admin listener\"");
    line = line != NULL ? line : strstr(buf_text(&log), "admin listener");
    const char *port = strstr(line, "port=") + 5;
    snprintf(admin, 64, "https://localhost:%lu", strtoul(port + (*port == '"'), NULL, 10));
}

static void walk(const world *w, const rpc_service *service, const char *base, bool tokens_count) {
    for (size_t i = 0; i < service->method_count; i++) {
        const rpc_method *method = &service->methods[i];
        for (size_t c = 0; c < CALLERS; c++) {
            answer got;
            char path[96];
            snprintf(path, sizeof path, "/prpc/%s%s?json", service->prefix, method->name);
            ask_as(w, base, &callers[c], path, &got);
            bool token = tokens_count && strncmp(callers[c].name, "token", 5) == 0;
            bool evidence = callers[c].certificate == SHOW_EVIDENCE;
            bool refused = got.status == 401 ||
                           strstr(got.text, "No attestation provided") != NULL ||
                           got.status == DSTACK_E_NETWORK;
            /* a certificate that carries no evidence does not even finish the handshake */
            bool expected =
                callers[c].certificate != SHOW_BARE && admits(method->caller, token, evidence);
            if (refused == expected || (got.status < 0 && got.status != DSTACK_E_NETWORK)) {
                fail_msg("%s (%s) called by %s: %d %s", method->name,
                         rpc_caller_name(method->caller), callers[c].name, got.status, got.text);
            }
            bool key = strstr(got.text, "_key\":\"") != NULL || strstr(got.text, "PRIVATE") != NULL;
            assert_true(!refused || !key);
        }
    }
}

static void sec_11_each_caller_class_reaches_only_its_methods(void **state) {
    world *w = *state;
    char admin[64];
    run_with_admin(w, admin);
    walk(w, &kms_rpc_service, w->url, false);
    walk(w, &kms_admin_service, admin, true);
}

static void sec_11_an_app_does_not_get_what_is_for_a_kms(void **state) {
    world *w = *state;
    char admin[64];
    answer got;
    run_with_admin(w, admin);
    ask_as(w, w->url, &callers[2], "/prpc/GetKmsKey?json", &got);
    assert_int_equal(got.status, 400);
    assert_non_null(strstr(got.text, "\"error\": \"Boot denied: aggregated MR not allowed\""));
    ask_as(w, admin, &callers[5], "/prpc/Admin.GetKmsKey?json", &got);
    assert_int_equal(got.status, 400);
    assert_non_null(strstr(got.text, "\"error\": \"Boot denied: aggregated MR not allowed\""));
}

/* ---- certificates that are no good ------------------------------------------------------------
 */

typedef struct bad_certificate {
    const char *what;
    int64_t begins, ends; /* seconds from now */
    bool foreign;         /* evidence that binds another key */
    const char *reason;   /* of the answer; NULL: the handshake fails */
} bad_certificate;

static void show(const world *w, const bad_certificate *c, answer *out) {
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *other = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0}, spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(&key, &err), err);
    assert_ok(dstack_cert_key_new(&other, &err), err);
    assert_ok(dstack_cert_key_public(c->foreign ? other : key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    assert_ok(workload_attest(w->guest, report_data, &evidence, &err), err);
    dstack_cert_spec spec = {.subject = "caller",
                             .client_auth = true,
                             .not_before = clock_unix() + c->begins,
                             .not_after = clock_unix() + c->ends,
                             .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, key, &pem, &err), err);
    http_client_config config = {.url = w->url,
                                 .trust = HTTP_CLIENT_TRUST_NONE,
                                 .certificate_pem = bytes_of_buf(&pem),
                                 .key_pem =
                                     bytes_of(dstack_secret_peek(key), dstack_secret_len(key))};
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &err);
    assert_non_null(client);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = "POST",
                                   .path = "/prpc/GetAppKey?json",
                                   .body = bytes_of_str("{\"api_version\":1}")};
    int rc = http_client_send(client, &request, &response, &err);
    out->status = rc != 0 ? rc : response.status;
    snprintf(out->text, sizeof out->text, "%s", rc != 0 ? err.message : buf_text(&response.body));
}

static void sec_25_certificates_that_are_old_early_or_forged_are_refused(void **state) {
    world *w = *state;
    static const bad_certificate cases[] = {
        {"good", -60, 600, false, "ca_cert"},
        {"expired", -7200, -3600, false, NULL},
        {"early", 3600, 7200, false, NULL},
        {"evidence of another key", -60, 600, true, "\"error\": \"invalid quote: "},
    };
    world_run(w);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer got;
        show(w, &cases[i], &got);
        bool fits = cases[i].reason != NULL ? got.status == (i == 0 ? 200 : 400) &&
                                                  strstr(got.text, cases[i].reason) != NULL
                                            : got.status == DSTACK_E_NETWORK;
        if (!fits) {
            fail_msg("%s: %d %s", cases[i].what, got.status, got.text);
        }
    }
}

/* Whose keys they are, the evidence says, not the question. */
static void sec_04_an_app_cannot_ask_for_the_keys_of_another(void **state) {
    world *w = *state;
    dstack_error err = {0};
    world_tee tee = {0};
    static const char other_manifest[] =
        "{\"manifest_version\":2,\"name\":\"other\",\"runner\":\"docker-compose\","
        "\"docker_compose_file\":\"services: {}\\n\",\"key_provider\":\"kms\"}";
    char other_hash[65], other_id[41], apps[500];
    world_tee_start(w, &tee, "other-tee", &w->image.measured, w->keys);
    workload *other = world_workload(w, &tee, w->keys, other_manifest, w->image.vm_config, "other");
    world_hash(other_manifest, other_hash);
    hex_encode(workload_app_id(other), other_id);
    world_run(w);
    /* not registered: nothing, whatever it says of itself */
    expect_refusal(w, other, w->image.vm_config,
                   "App not allowed: Boot denied: app not registered");
    snprintf(apps, sizeof apps,
             "apps:\n  '%s': {composeHashes: ['%s'], allowAnyDevice: true}\n"
             "  '%s': {composeHashes: ['%s'], allowAnyDevice: true}\n",
             w->app_id, w->compose_hash, other_id, other_hash);
    world_allow(w, w->image.image.os_image_hash, apps);
    DSTACK_AUTO(app_keys) dstack_app_keys mine = {0};
    DSTACK_AUTO(app_keys) dstack_app_keys theirs = {0};
    ask_keys(w, &mine);
    DSTACK_AUTO(kms) dstack_kms *client = world_client(w, other);
    assert_ok(dstack_kms_app_keys(client, w->image.vm_config, &theirs, &err), err);
    assert_false(dstack_secret_equal(mine.k256_key, theirs.k256_key));
    assert_false(dstack_secret_equal(mine.disk_crypt_key, theirs.disk_crypt_key));
    assert_false(dstack_secret_equal(mine.env_crypt_key, theirs.env_crypt_key));
    /* the other app's code under this app's id is not allowed by its owner */
    snprintf(apps, sizeof apps, "apps:\n  '%s': {composeHashes: ['%s'], allowAnyDevice: true}\n",
             other_id, w->compose_hash);
    world_allow(w, w->image.image.os_image_hash, apps);
    expect_refusal(w, other, w->image.vm_config,
                   "App not allowed: Boot denied: compose hash not allowed");
    workload_free(other);
    world_tee_stop(&tee);
}

/* ---- the admin's token ------------------------------------------------------------------------
 */

static void sec_10_the_admin_token_is_asked_for_on_every_path(void **state) {
    world *w = *state;
    char admin[64];
    run_with_admin(w, admin);
    static const struct {
        const char *header;
        bool right;
    } cases[] = {
        {NULL, false},
        {"X-Admin-Token: " TOKEN "\r\n", true},
        {"X-Admin-Token: correct\r\n", false},
        {"X-Admin-Token: " TOKEN "x\r\n", false},
        /* a wrong value there does not keep another header from being looked at */
        {"X-Admin-Token: wrong\r\nAuthorization: Bearer " TOKEN "\r\n", true},
        {"Authorization: " TOKEN "\r\n", false},
        {"Authorization: Bearer\r\n", false},
        {"Authorization: Bearer \r\n", false},
        /* base64 of "admin:<token>", "<token>:", "admin:wrong", ":", and what is none */
        {"Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==\r\n", true},
        {"Authorization: Basic Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZTo=\r\n", true},
        {"Authorization: Basic YWRtaW46d3Jvbmc=\r\n", false},
        {"Authorization: Basic Og==\r\n", false},
        {"Authorization: Basic ====\r\n", false},
    };
    static const char *const paths[] = {"/prpc/ClearImageCache?json", "/prpc/Admin.Nope?json",
                                        "/elsewhere", "/"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
            caller c = {"", SHOW_NOTHING, cases[i].header};
            answer got;
            ask_as(w, admin, &c, paths[p], &got);
            int expected = !cases[i].right ? 401 : p == 0 ? 200 : 404;
            if (got.status != expected || (expected == 401 && got.text[0] != 0)) {
                fail_msg("%s with %s: %d %s", paths[p], cases[i].header, got.status, got.text);
            }
        }
    }
    /* one that others can read is no secret, and none is no listener */
    world_kill(w, SIGTERM);
    assert_int_equal(chmod(world_path(w, "admin-token"), 0644), 0);
    assert_int_equal(exit_status(w, true), 1);
    world_configure(w, "  admin: {enabled: true}\n");
    assert_int_equal(exit_status(w, true), 2);
}

static void sec_08_cache_names_stay_below_their_folder(void **state) {
    world *w = *state;
    char admin[64];
    run_with_admin(w, admin);
    world_kill(w, SIGTERM);
    world_configure(w, "  admin: {enabled: true, port: 0, auth_token_file: admin-token}\n"
                       "  image: {cache_dir: cache}\n");
    dstack_error err = {0};
    assert_ok(file_make_dirs(world_path(w, "cache/images/ab12/deep"), 0700, &err), err);
    assert_ok(file_make_dirs(world_path(w, "cache/images/cd34"), 0700, &err), err);
    assert_ok(file_make_dirs(world_path(w, "cache/measurements"), 0700, &err), err);
    world_write(w, "cache/images/ab12/deep/file", "x");
    world_write(w, "cache/measurements/ef56.json", "{}");
    world_write(w, "kept", "x");
    assert_int_equal(symlink(w->dir, world_path(w, "cache/images/ab12/out")), 0);
    world_run(w);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    const char *port = strstr(strstr(buf_text(&log), "admin listener"), "port=") + 5;
    unsigned number = (unsigned)strtoul(port + (*port == '"'), NULL, 10);
    static const char *const bad[] = {"..", "../..", "ab12/..", "/etc", "ab12\\u0000", "0xab", " "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[80];
        snprintf(body, sizeof body, "{\"image_hash\":\"%s\"}", bad[i]);
        setup_post(number, "/prpc/ClearImageCache?json", body, TOKEN, 400, "error");
    }
    setup_post(number, "/prpc/ClearImageCache?json", "{\"config_hash\":\"../x\"}", TOKEN, 400,
               "failed to clear measurement cache: invalid cache key");
    setup_post(number, "/prpc/ClearImageCache?json", "{\"image_hash\":\"ab12\"}", TOKEN, 200,
               "null");
    assert_int_not_equal(access(world_path(w, "cache/images/ab12"), F_OK), 0);
    assert_int_equal(access(world_path(w, "cache/images/cd34"), F_OK), 0);
    assert_int_equal(access(world_path(w, "kept"), F_OK), 0);
    setup_post(number, "/prpc/ClearImageCache?json",
               "{\"image_hash\":\"all\",\"config_hash\":\"ef56\"}", TOKEN, 200, "null");
    assert_int_not_equal(access(world_path(w, "cache/images"), F_OK), 0);
    assert_int_not_equal(access(world_path(w, "cache/measurements/ef56.json"), F_OK), 0);
    /* nothing named, nothing missing that matters */
    setup_post(number, "/prpc/ClearImageCache?json", "{}", TOKEN, 200, "null");
    setup_post(number, "/prpc/ClearImageCache?json", "{\"image_hash\":\"ab12\"}", TOKEN, 200,
               "null");
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(sec_11_each_caller_class_reaches_only_its_methods),
        KMS_TEST(sec_11_an_app_does_not_get_what_is_for_a_kms),
        KMS_TEST(sec_25_certificates_that_are_old_early_or_forged_are_refused),
        KMS_TEST(sec_04_an_app_cannot_ask_for_the_keys_of_another),
        KMS_TEST(sec_10_the_admin_token_is_asked_for_on_every_path),
        KMS_TEST(sec_08_cache_names_stay_below_their_folder),
        KMS_TEST(sec_14_public_methods_are_rate_limited),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
