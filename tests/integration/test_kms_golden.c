/* Requests and answers recorded from the reference KMS, sent to ours. */
#include "kms_calls.h"

#include "base/json.h"
#include "crypto/ecdsa.h"
#include "service/http.h"

#define GOLDEN SHARED_DATA "kms/rpc-golden.json"

/* ---- the webhook that the reference was recorded with ------------------------------------------
 */

typedef struct policy {
    http_server *server;
    char url[64];
    const char *app_reason; /* NULL: apps are allowed */
    const char *kms_reason;
    dstack_buf app_body; /* last question */
} policy;

static void answer_policy(http_request *request, http_response *response, void *user) {
    policy *p = user;
    const char *path = http_request_path(request);
    bool app = strcmp(path, "/bootAuth/app") == 0;
    const char *reason = app ? p->app_reason : p->kms_reason;
    DSTACK_AUTO(json) json_t *answer = NULL;
    if (app || strcmp(path, "/bootAuth/kms") == 0) {
        if (app) {
            buf_reset(&p->app_body);
            buf_put_bytes(&p->app_body, http_request_body(request));
        }
        answer = json_pack("{s:b,s:s,s:s}", "isAllowed", reason == NULL, "gatewayAppId",
                           "0x75537828f2ce51be7289709686A69CbFDbB714F1", "reason",
                           reason != NULL ? reason : "");
    } else {
        answer = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s}", "status", "ok", "kmsContractAddr",
                           "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0", "ethRpcUrl",
                           "http://127.0.0.1:8545", "gatewayAppId",
                           "0x75537828f2ce51be7289709686A69CbFDbB714F1", "chainId", 31337,
                           "appImplementation", "0x5FbDB2315678afecb367f032d93F642f64180aa3");
    }
    http_response_json(response, 200, answer);
}

static void policy_start(policy *p) {
    static const http_route routes[] = {{"*", "/**", answer_policy, NULL, 0, 0}};
    dstack_error err = {0};
    p->server = http_server_new(&(http_server_config){.name = "policy", .workers = 1});
    assert_ok(http_server_listen(p->server,
                                 &(http_listener_config){.name = "policy",
                                                         .address = "127.0.0.1:0",
                                                         .routes = routes,
                                                         .route_count = 1,
                                                         .user = p},
                                 &err),
              err);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u", http_server_port(p->server, "policy"));
}

static void policy_stop(policy *p) {
    http_server_free(p->server);
    dstack_buf_clear(&p->app_body);
}

/* ---- the guest that the reference was recorded with --------------------------------------------
 */

typedef struct golden {
    world *w;
    policy policy;
    dstack_tee *tee;
    dstack_event_log *events;
    world b;          /* waits for set-up */
    unsigned set_up;  /* its port */
    dstack_buf token; /* and token */
} golden;

DSTACK_AUTO_DEFINE_CLEAR(report, dstack_tee_report, dstack_tee_report_clear)
DSTACK_AUTO_DEFINE(log, dstack_event_log, dstack_event_log_free)

static void measure(golden *g, const char *name, const char *hex) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf payload = {0};
    uint8_t digest[DSTACK_REGISTER_SIZE];
    put_hex(&payload, hex);
    assert_ok(dstack_runtime_event_digest(name, bytes_of_buf(&payload), 1, digest, &err), err);
    assert_ok(dstack_tee_extend(g->tee, DSTACK_RUNTIME_REGISTER, digest, name, &err), err);
    assert_ok(dstack_event_log_add_runtime(g->events, name, bytes_of_buf(&payload), 1, &err), err);
}

static void guest_start(golden *g) {
    dstack_error err = {0};
    dstack_tee_options options = {.sim_root = sim_keys_root(g->w->keys)};
    world_tee_stop(&g->w->guest_tee);
    world_tee_start(g->w, &g->w->guest_tee, "golden-tee", &g->w->image.measured, g->w->keys);
    assert_ok(dstack_tee_open(g->w->guest_tee.url, &options, &g->tee, &err), err);
    g->events = dstack_event_log_new();
    measure(g, "system-preparing", "");
    measure(g, "app-id", "5bb4ff9a3837357f19dc176407a5709c62eb6c56");
    measure(g, "compose-hash", "e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1");
    measure(g, "instance-id", "1691ed1b47506cad7d08834668691d88246f5b1f");
    measure(g, "boot-mr-done", "");
    assert_ok(dstack_event_log_fill_digests(g->events, &err), err);
}

static void guest_certificate(golden *g, dstack_secret **key, dstack_buf *pem) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(report) dstack_tee_report report = {0};
    DSTACK_AUTO(log) dstack_event_log *log = NULL;
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(key, &err), err);
    assert_ok(dstack_cert_key_public(*key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    assert_ok(dstack_tee_evidence(g->tee, report_data, &report, &err), err);
    assert_ok(dstack_event_log_parse_ccel(bytes_of_buf(&report.boot_log), &log, &err), err);
    assert_ok(dstack_event_log_append(log, g->events, &err), err);
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&report.quote), log, g->events,
                                         g->w->image.vm_config, &evidence, &err),
              err);
    dstack_cert_spec spec = {.subject = "RA-TLS TEMP Cert",
                             .client_auth = true,
                             .not_after = clock_unix() + 600,
                             .attestation = evidence};
    assert_ok(dstack_cert_self_signed(&spec, *key, pem, &err), err);
}

/* ---- roots of the recording -------------------------------------------------------------------
 */

static void write_pem(const world *w, const char *name, const char *scalar_hex) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf scalar = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *pem = NULL;
    put_hex(&scalar, scalar_hex);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of_buf(&scalar), &err), err);
    assert_ok(ecdsa_private_pem(key, &pem, &err), err);
    assert_ok(file_write_new(world_path(w, name),
                             bytes_of(dstack_secret_peek(pem), dstack_secret_len(pem)), 0600, &err),
              err);
}

static void golden_start(golden *g) {
    world *w = g->w;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf k256 = {0};
    char auth[160];
    policy_start(&g->policy);
    guest_start(g);
    assert_ok(file_make_dirs(world_path(w, "certs"), 0700, &err), err);
    write_pem(w, "certs/root-ca.key",
              "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1");
    write_pem(w, "certs/tmp-ca.key",
              "0909090909090909090909090909090909090909090909090909090909090909");
    write_pem(w, "certs/rpc.key",
              "0707070707070707070707070707070707070707070707070707070707070707");
    put_hex(&k256, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    assert_ok(file_write_new(world_path(w, "certs/root-k256.key"), bytes_of_buf(&k256), 0600, &err),
              err);
    world_write(w, "certs/insecure-dev", "1");
    snprintf(auth, sizeof auth, "{type: webhook, webhook: {url: '%s'}}", g->policy.url);
    world_configure_with(w, auth, "auto_bootstrap_domain: localhost", "");
    world_run(w);
    world_second(w, &g->b, world_kms_manifest);
    world_configure_with(&g->b, auth, "enabled: true", "  site_name: testsite\n");
    g->b.pid = world_spawn(&g->b, true);
    g->set_up = world_wait_port(&g->b, "set-up listener");
    load_file(world_path(&g->b, "certs/setup-token"), &g->token);
}

static void golden_end(golden *g) {
    world_second_end(&g->b);
    dstack_event_log_free(g->events);
    dstack_tee_close(g->tee);
    policy_stop(&g->policy);
    dstack_buf_clear(&g->token);
}

/* ---- what each exchange needs, and where our answer differs by decision ------------------------
 */

typedef enum how {
    PLAIN,
    ATTESTED,
    DENIED,     /* attested, and the webhook says "Compose hash not allowed" */
    KMS_DENIED, /* the webhook refuses the KMS itself: "Aggregated MR not allowed" */
    SUPERSEDED, /* status and text are newer than the recording: see `instead` */
    ELSEWHERE,  /* needs other machines: test_kms_onboard has most of them */
} how;

static const struct {
    const char *name;
    how how;
    int status;          /* of SUPERSEDED */
    const char *instead; /* text that the answer must hold instead of the recorded one */
} table[] = {
    {"GetMeta", PLAIN, 0, NULL},
    {"GetAppEnvEncryptPubKey", PLAIN, 0, NULL},
    {"GetAppEnvEncryptPubKey by GET", PLAIN, 0, NULL},
    {"env key, short app id", PLAIN, 0, NULL},
    {"GetAppKey, attested client certificate", ATTESTED, 0, NULL},
    {"GetAppKey, no client certificate", PLAIN, 0, NULL},
    /* the handshake fails: test_kms_callers */
    {"GetAppKey, client certificate without attestation", ELSEWHERE, 0, NULL},
    {"GetAppKey, version", ATTESTED, 0, NULL},
    /* the text after the last colon is the JSON parser's own */
    {"GetAppKey, bad vm_config", ATTESTED, 0, "App not allowed: "},
    {"GetKmsKey, attested", ATTESTED, 0, NULL},
    {"GetKmsKey, no client certificate", PLAIN, 0, NULL},
    {"SignCert, version", PLAIN, 0, NULL},
    {"SignCert, bad csr", PLAIN, 0, "Failed to parse csr: "},
    {"unknown method", SUPERSEDED, 404, "Service not found: Nope"},
    {"GetAppKey denied by webhook (reason Compose hash not allowed)", DENIED, 0, NULL},
    {"GetAppEnvEncryptPubKey protobuf", PLAIN, 0, NULL},
    {"GetAppKey protobuf, attested", ATTESTED, 0, NULL},
    {"attestation info", PLAIN, 0, NULL},
    {"bootstrap denied", KMS_DENIED, 0, NULL},
    {"bad domain", PLAIN, 0, NULL},
    {"bootstrap", PLAIN, 0, NULL},
    {"bootstrap twice", PLAIN, 0, NULL},
    {"onboard after bootstrap", PLAIN, 0, NULL},
    {"onboard from unattested KMS", ELSEWHERE, 0, NULL},
    {"onboard from a KMS whose own policy check fails", ELSEWHERE, 0, NULL},
    {"onboard ok", ELSEWHERE, 0, NULL},
    {"finish", PLAIN, 0, NULL},
};

/* Members whose values are of the time, of random keys, or of the machine. */
static const char *const varying[] = {
    "ca_cert",   "timestamp",     "signature_v1", "ca_pubkey",     "attestation",
    "device_id", "mr_aggregated", "ppid",         "os_image_hash", "bootstrap_info"};

static bool varies(const char *exchange, const char *member) {
    if (strcmp(member, "k256_pubkey") == 0) {
        return strcmp(exchange, "bootstrap") == 0;
    }
    for (size_t i = 0; i < sizeof varying / sizeof varying[0]; i++) {
        if (strcmp(member, varying[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Every recorded member is there, in the recorded order and kind, with the recorded value. */
static void compare(const char *name, const char *recorded, const char *found) {
    if (strcmp(recorded, found) == 0) {
        return;
    }
    json_error_t at;
    DSTACK_AUTO(json) json_t *wanted = json_loads(recorded, JSON_DECODE_ANY, &at);
    DSTACK_AUTO(json) json_t *have = json_loads(found, JSON_DECODE_ANY, &at);
    if (!json_is_object(wanted) || !json_is_object(have) ||
        json_object_get(wanted, "error") != NULL) {
        fail_msg("%s: recorded %s, found %s", name, recorded, found);
    }
    void *next = json_object_iter(have);
    const char *member;
    json_t *value;
    json_object_foreach(wanted, member, value) {
        const json_t *ours = json_object_get(have, member);
        if (next == NULL || strcmp(json_object_iter_key(next), member) != 0) {
            fail_msg("%s: member %s is not in its place: %s", name, member, found);
        }
        next = json_object_iter_next(have, next);
        bool same_kind =
            json_typeof(ours) == json_typeof(value) || strcmp(member, "bootstrap_info") == 0;
        if (!same_kind || (!varies(name, member) && !json_equal(value, ours))) {
            fail_msg("%s: %s differs: %s", name, member, found);
        }
    }
}

/* The same for protobuf: all of it where nothing varies, else all fields but those that do. */
static void compare_protobuf(const char *name, const json_t *exchange, dstack_bytes found) {
    const char *hex = json_string_value(json_object_get(exchange, "response_hex"));
    bool env = strstr(name, "EnvEncrypt") != NULL;
    const ProtobufCMessageDescriptor *descriptor =
        env ? &kms__public_key_response__descriptor : &kms__app_key_response__descriptor;
    DSTACK_AUTO(buf) dstack_buf recorded = {0}, wanted = {0}, have = {0};
    ProtobufCMessage *one = NULL, *two = NULL;
    dstack_error err = {0};
    put_hex(&recorded, hex);
    assert_ok(rpc_message_from_protobuf(descriptor, bytes_of_buf(&recorded), &one, &err), err);
    assert_ok(rpc_message_from_protobuf(descriptor, found, &two, &err), err);
    assert_ok(rpc_message_to_json(one, &wanted, &err), err);
    assert_ok(rpc_message_to_json(two, &have, &err), err);
    compare(name, buf_text(&wanted), buf_text(&have));
    rpc_free_message(one);
    rpc_free_message(two);
}

static void replay(golden *g, size_t row, const json_t *exchange) {
    const char *name = table[row].name;
    bool main = strcmp(json_string_value(json_object_get(exchange, "listener")), "main") == 0;
    const char *hex = json_string_value(json_object_get(exchange, "request_hex"));
    const char *body = json_string_value(json_object_get(exchange, "request_body"));
    dstack_error err = {0};
    char base[64], header[120];
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0}, bytes = {0};
    snprintf(base, sizeof base, main ? "https://localhost:%u" : "http://127.0.0.1:%u",
             main ? g->w->port : g->set_up);
    snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", buf_text(&g->token));
    http_client_config config = {.url = base, .trust = HTTP_CLIENT_TRUST_NONE};
    if (table[row].how == ATTESTED || table[row].how == DENIED) {
        guest_certificate(g, &key, &pem);
        config.certificate_pem = bytes_of_buf(&pem);
        config.key_pem = bytes_of(dstack_secret_peek(key), dstack_secret_len(key));
    }
    if (hex != NULL) {
        put_hex(&bytes, hex);
    } else {
        buf_put_str(&bytes, body);
    }
    g->policy.app_reason = table[row].how == DENIED ? "Compose hash not allowed" : NULL;
    g->policy.kms_reason = table[row].how == KMS_DENIED ? "Aggregated MR not allowed" : NULL;
    DSTACK_AUTO(http_client) http_client *client = http_client_new(&config, &err);
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    http_client_request request = {.method = json_string_value(json_object_get(exchange, "method")),
                                   .path = json_string_value(json_object_get(exchange, "path")),
                                   .content_type =
                                       json_string_value(json_object_get(exchange, "content_type")),
                                   .headers = main ? NULL : header,
                                   .body = bytes_of_buf(&bytes)};
    assert_ok(http_client_send(client, &request, &answer, &err), err);
    int status = (int)json_integer_value(json_object_get(exchange, "status"));
    status = table[row].how == SUPERSEDED ? table[row].status : status;
    if (answer.status != status) {
        fail_msg("%s: status %d, recorded %d: %s", name, answer.status, status,
                 buf_text(&answer.body));
    }
    if (table[row].instead != NULL) {
        if (strstr(buf_text(&answer.body), table[row].instead) == NULL) {
            fail_msg("%s: %s", name, buf_text(&answer.body));
        }
    } else if (hex != NULL) {
        compare_protobuf(name, exchange, bytes_of_buf(&answer.body));
    } else {
        compare(name, json_string_value(json_object_get(exchange, "response_body")),
                buf_text(&answer.body));
    }
}

static size_t row_of(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return i;
        }
    }
    fail_msg("exchange \"%s\" is not in the table", name);
    return 0;
}

static void replay_all(golden *g, const json_t *exchanges, const char *only) {
    size_t i;
    json_t *exchange;
    json_array_foreach(exchanges, i, exchange) {
        const char *name = json_string_value(json_object_get(exchange, "name"));
        size_t row = row_of(name);
        bool early = strcmp(name, "bad domain") == 0;
        if (table[row].how != ELSEWHERE && early == (only != NULL)) {
            replay(g, row, exchange);
        }
    }
}

/* The question to the policy has the members that the reference's has, in the same order. */
static void compare_question(golden *g, const json_t *recorded) {
    json_error_t at;
    const char *text = json_string_value(json_object_get(recorded, "body"));
    DSTACK_AUTO(json) json_t *wanted = json_loads(text, 0, &at);
    DSTACK_AUTO(json) json_t *have = json_loads(buf_text(&g->policy.app_body), 0, &at);
    static const char *const equal[] = {"teeVariant", "appId",       "composeHash",    "instanceId",
                                        "tcbStatus",  "advisoryIds", "keyProviderInfo"};
    void *a = json_object_iter(wanted), *b = json_object_iter(have);
    for (; a != NULL && b != NULL;
         a = json_object_iter_next(wanted, a), b = json_object_iter_next(have, b)) {
        assert_string_equal(json_object_iter_key(a), json_object_iter_key(b));
    }
    assert_true(a == NULL && b == NULL);
    for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++) {
        assert_true(json_equal(json_object_get(wanted, equal[i]), json_object_get(have, equal[i])));
    }
}

static void every_recorded_exchange_is_answered_as_the_reference_does(void **state) {
    if (access(GOLDEN, R_OK) != 0) {
        print_message("skipped: %s is not here\n", GOLDEN);
        skip();
    }
    golden g = {.w = *state};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    load_file(GOLDEN, &text);
    DSTACK_AUTO(json) json_t *all = json_parse(bytes_of_buf(&text), text.len, "golden", &err);
    assert_non_null(all);
    const json_t *exchanges = json_object_get(all, "exchanges");
    golden_start(&g);
    /* names are judged before anything else; later in the recording there are keys already */
    replay_all(&g, exchanges, "bad domain");
    replay_all(&g, exchanges, NULL);
    compare_question(&g, json_array_get(json_object_get(all, "webhook_requests_sent_by_kms"), 0));
    golden_end(&g);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KMS_TEST(every_recorded_exchange_is_answered_as_the_reference_does),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
