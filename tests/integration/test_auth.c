/* dstack-auth as a process: both policies, every wrong input, and our KMS asking it. */
#include "kms_calls.h"

#include <sys/prctl.h>

#include "chain_world.h"

static const char *auth_program;

typedef struct answering {
    char dir[64];
    char config[96];
    char log[96];
    pid_t pid;
    unsigned port;
    char url[64];
} answering;

static char *in_dir(const answering *a, const char *name) {
    static char paths[8][160];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 160, "%s/%s", a->dir, name);
    return path;
}

static void write_in(const answering *a, const char *name, const char *text) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(in_dir(a, name), bytes_of_str(text), 0600, &err), err);
}

static pid_t spawn(const answering *a, bool insecure) {
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a test fails */
        int log = open(a->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, STDERR_FILENO);
        execl(auth_program, "dstack-auth", "--config", a->config,
              insecure ? "--insecure-dev" : NULL, NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static void run(answering *a, const char *policy) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (a->dir[0] == 0) {
        strcpy(a->dir, "/tmp/dstack-auth-XXXXXX");
        assert_non_null(mkdtemp(a->dir));
    }
    snprintf(a->config, sizeof a->config, "%s/auth.yaml", a->dir);
    snprintf(a->log, sizeof a->log, "%s/log", a->dir);
    buf_put_fmt(&text, "port: 0\nrate: 1000\nburst: 1000\n%s", policy);
    write_in(a, "auth.yaml", buf_text(&text));
    unlink(a->log);
    a->pid = spawn(a, false);
    for (int i = 0; i < 2000 && (a->port = world_find_port(a->log, "status=\"serving")) == 0; i++) {
        usleep(5000);
    }
    assert_true(a->port != 0);
    snprintf(a->url, sizeof a->url, "http://127.0.0.1:%u", a->port);
}

static void end(answering *a) {
    char command[160];
    int status;
    kill(a->pid, SIGTERM);
    assert_int_equal(waitpid(a->pid, &status, 0), a->pid);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    snprintf(command, sizeof command, "rm -r '%s'", a->dir);
    assert_int_equal(system(command), 0);
}

/* Sends a request; the body of the answer is appended. */
static int ask(const answering *a, const char *method, const char *path, const char *body,
               dstack_buf *out) {
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(&(http_client_config){.url = a->url}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = method,
                                   .path = path,
                                   .content_type = "application/json",
                                   .body = bytes_of_str(body)};
    assert_ok(http_client_send(client, &request, &response, &err), err);
    buf_reset(out);
    buf_put_bytes(out, bytes_of_buf(&response.body));
    return response.status;
}

static void expect(const answering *a, const char *method, const char *path, const char *body,
                   int status, const char *says) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    int got = ask(a, method, path, body, &out);
    if (got != status || strstr(buf_text(&out), says) == NULL) {
        fail_msg("%s %s %s: %d %s, expected %d %s", method, path, body, got, buf_text(&out), status,
                 says);
    }
}

#define X32(x) x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x
#define ID20(x) x x x x x x x x x x x x x x x x x x x x

/* A boot info with one member in another form; change NULL: as it should be. */
static char *boot_info(const char *app, const char *member, const char *change) {
    static char text[70000];
    DSTACK_AUTO(json)
    json_t *info =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:[]}", "teeVariant", "dstack-tdx",
                  "mrAggregated", X32("b1"), "osImageHash", X32("a1"), "mrSystem", X32("f1"),
                  "appId", app, "composeHash", X32("e1"), "instanceId", ID20("51"), "deviceId",
                  X32("d1"), "keyProviderInfo", "", "tcbStatus", "UpToDate", "advisoryIds");
    if (member != NULL) {
        json_object_del(info, member);
        if (change != NULL) {
            json_object_set_new(info, member, json_loads(change, JSON_DECODE_ANY, NULL));
        }
    }
    char *dump = json_dumps(info, JSON_COMPACT);
    snprintf(text, sizeof text, "%s", dump);
    free(dump);
    return text;
}

static const char allow_list[] = "gatewayAppId: '0x" ID20("77") "'\nosImages: ['" X32(
    "a1") "']\n"
          "kms: {mrAggregated: ['" X32("b1") "'], devices: ['" X32(
              "d1") "']}\n"
                    "apps:\n  '" ID20("aa") "': {composeHashes: ['" X32("e1") "'], devices: ['" X32(
                        "d1") "']}\n";
#define FILE_POLICY "policy: {type: file, file: {path: allow.yaml}}\n"

static void file_start(answering *a) {
    strcpy(a->dir, "/tmp/dstack-auth-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    write_in(a, "allow.yaml", allow_list);
    run(a, FILE_POLICY);
}

static void a_file_decides_and_is_read_again_when_it_changes(void **state) {
    answering a = {0};
    file_start(&a);
    const char *app = ID20("aa");
    expect(&a, "POST", "/bootAuth/app", boot_info(app, NULL, NULL), 200,
           "{\"isAllowed\":true,\"reason\":\"\",\"gatewayAppId\":\"0x" ID20(
               "77") "\",\"policyTime\":");
    expect(&a, "POST", "/bootAuth/kms", boot_info(app, NULL, NULL), 200, "\"isAllowed\":true");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("ab"), NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"app not registered\"");
    static const struct {
        const char *kind, *member, *change, *reason;
    } refusals[] = {
        {"app", "tcbStatus", "\"OutOfDate\"", "TCB status is not allowed"},
        {"app", "advisoryIds", "[\"INTEL-SA-00001\"]", "advisory ID is not allowed"},
        {"app", "osImageHash", "\"" X32("a2") "\"", "OS image is not allowed"},
        {"app", "composeHash", "\"" X32("e2") "\"", "compose hash not allowed"},
        {"app", "deviceId", "\"" X32("d2") "\"", "app is not allowed to boot on this device"},
        {"kms", "mrAggregated", "\"" X32("b2") "\"", "aggregated MR not allowed"},
        {"kms", "deviceId", "\"" X32("d2") "\"", "KMS is not allowed to boot on this device"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        char path[40], says[120];
        snprintf(path, sizeof path, "/bootAuth/%s", refusals[i].kind);
        snprintf(says, sizeof says, "{\"isAllowed\":false,\"reason\":\"%s\"", refusals[i].reason);
        expect(&a, "POST", path, boot_info(app, refusals[i].member, refusals[i].change), 200, says);
    }
    write_in(&a, "allow.yaml", "apps: {}\n");
    expect(&a, "POST", "/bootAuth/app", boot_info(app, NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"OS image is not allowed\"");
    write_in(&a, "allow.yaml", "apps: [nonsense\n");
    expect(&a, "POST", "/bootAuth/app", boot_info(app, NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"authorization backend unavailable\","
           "\"gatewayAppId\":\"\"}");
    expect(&a, "GET", "/", "", 500,
           "{\"status\":\"error\",\"message\":\"authorization backend unavailable\"}");
    expect(&a, "GET", "/ready", "", 503, "no policy");
    expect(&a, "GET", "/health", "", 200, "OK");
    write_in(&a, "allow.yaml", allow_list);
    expect(&a, "POST", "/bootAuth/app", boot_info(app, NULL, NULL), 200, "\"isAllowed\":true");
    expect(&a, "GET", "/ready", "", 200, "OK");
    end(&a);
}

static void what_is_told_has_the_reference_s_form(void **state) {
    answering a = {0};
    file_start(&a);
    expect(&a, "GET", "/", "", 200,
           "{\"status\":\"ok\",\"kmsContractAddr\":\"0x0000000000000000000000000000000000000000\","
           "\"gatewayAppId\":\"0x" ID20("77") "\",\"chainId\":0,\"appAuthImplementation\":"
                                              "\"0x0000000000000000000000000000000000000000\","
                                              "\"appImplementation\":"
                                              "\"0x0000000000000000000000000000000000000000\"}");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("aa"), NULL, NULL), 200,
           "\"isAllowed\":true");
    expect(&a, "GET", "/metrics", "", 200,
           "dstack_auth_decisions_total{kind=\"app\",result=\"allowed\"} 1\n");
    end(&a);
}

static void wrong_input_is_refused_and_says_how(void **state) {
    static const char invalid[] = "{\"isAllowed\":false,\"reason\":\"invalid authorization "
                                  "request\",\"gatewayAppId\":\"\"}";
    static const struct {
        const char *member, *change;
    } cases[] = {
        {"mrAggregated", NULL},
        {"osImageHash", NULL},
        {"appId", NULL},
        {"composeHash", NULL},
        {"instanceId", NULL},
        {"deviceId", NULL},
        {"deviceId", "\"" X32("d1") X32("d1") "\""},
        {"appId", "\"" ID20("aa") "aa\""},
        {"composeHash", "\"zz\""},
        {"composeHash", "17"},
        {"tcbStatus", "[]"},
        {"advisoryIds", "{}"},
        {"advisoryIds", "[1]"},
    };
    answering a = {0};
    file_start(&a);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *body = boot_info(ID20("aa"), cases[i].member, cases[i].change);
        expect(&a, "POST", "/bootAuth/app", body, 400, invalid);
        expect(&a, "POST", "/bootAuth/kms", body, 400, invalid);
    }
    expect(&a, "POST", "/bootAuth/app", "{\"mrAggregated\":\"0x12\"}", 400, invalid);
    expect(&a, "POST", "/bootAuth/app", "[]", 400, invalid);
    static const char *const not_json[] = {
        "nojson", "", "{\"appId\":", "{} {}", "{\"appId\":\"a\",\"appId\":\"b\"}", "\xff"};
    for (size_t i = 0; i < sizeof not_json / sizeof not_json[0]; i++) {
        expect(&a, "POST", "/bootAuth/app", not_json[i], 500,
               "{\"status\":\"error\",\"message\":\"authorization backend unavailable\"}");
    }
    expect(&a, "POST", "/bootAuth/nope", "{}", 404,
           "{\"message\":\"Route POST:/bootAuth/nope not found\",\"error\":\"Not Found\","
           "\"statusCode\":404}");
    expect(&a, "GET", "/bootAuth/app", "", 404, "Route GET:/bootAuth/app not found");
    static char huge[300 << 10];
    memset(huge, ' ', sizeof huge - 1);
    expect(&a, "POST", "/bootAuth/app", huge, 413, "");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("aa"), NULL, NULL), 200,
           "\"isAllowed\":true");
    end(&a);
}

static void a_flood_is_held_off(void **state) {
    answering a = {0};
    strcpy(a.dir, "/tmp/dstack-auth-XXXXXX");
    assert_non_null(mkdtemp(a.dir));
    write_in(&a, "allow.yaml", allow_list);
    run(&a, FILE_POLICY);
    kill(a.pid, SIGTERM);
    waitpid(a.pid, NULL, 0);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(a.config, &text);
    char *rate = strstr((char *)buf_text(&text), "rate: 1000\nburst: 1000");
    memcpy(rate, "rate: 0001\nburst: 0002", 22);
    write_in(&a, "auth.yaml", (const char *)text.data);
    unlink(a.log);
    a.pid = spawn(&a, false);
    for (a.port = 0; (a.port = world_find_port(a.log, "status=\"serving")) == 0;) {
        usleep(5000);
    }
    snprintf(a.url, sizeof a.url, "http://127.0.0.1:%u", a.port);
    unsigned held = 0;
    for (int i = 0; i < 50; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        int status = ask(&a, "POST", "/bootAuth/app", boot_info(ID20("aa"), NULL, NULL), &out);
        held += status == 429;
        assert_true(status == 429 || status == 200);
        assert_true(status == 200 || strstr(buf_text(&out), "\"isAllowed\":false") != NULL);
    }
    assert_true(held > 0);
    expect(&a, "GET", "/health", "", 200, "OK");
    end(&a);
}

static int exit_of(const char *config, bool insecure) {
    answering a = {0};
    char command[160];
    int status;
    strcpy(a.dir, "/tmp/dstack-auth-XXXXXX");
    assert_non_null(mkdtemp(a.dir));
    snprintf(a.config, sizeof a.config, "%s/auth.yaml", a.dir);
    snprintf(a.log, sizeof a.log, "%s/log", a.dir);
    write_in(&a, "auth.yaml", config);
    pid_t pid = spawn(&a, insecure);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    snprintf(command, sizeof command, "rm -r '%s'", a.dir);
    assert_int_equal(system(command), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_wrong_configuration_does_not_start(void **state) {
    assert_int_equal(exit_of("port: 70000\n", false), 2);
    assert_int_equal(exit_of("nope: 1\n", false), 2);
    assert_int_equal(exit_of("workers: 0\n", false), 2);
    assert_int_equal(exit_of("policy: {type: dev}\n", true), 2);
    assert_int_equal(exit_of("policy: {type: webhook}\n", true), 2);
    assert_int_equal(exit_of("tls: {certificate: a.pem}\n", false), 2);
    assert_int_equal(exit_of("policy: {type: chain}\n", false), 2);
    assert_int_equal(exit_of("policy: {type: chain, chain: {contract: '" ID20(
                                 "9f") "', chain_id: 1, urls: ['https://one.example']}}\n",
                             false),
                     2);
    assert_int_equal(exit_of("tls: {certificate: a.pem, key: b.pem}\n", false), 1);
}

/* ---- on a chain -------------------------------------------------------------------------------
 */

static void set_up_contracts(evm *e, const chain_address *app) {
    evm_set_word(e, &e->kms, "addOsImageHash(bytes32)", "0x" X32("a1"));
    evm_set_word(e, &e->kms, "addKmsAggregatedMr(bytes32)", "0x" X32("b1"));
    evm_set_word(e, &e->kms, "addKmsDevice(bytes32)", "0x" X32("c1"));
    evm_app_at(e, app);
    evm_set_word(e, app, "addComposeHash(bytes32)", "0x" X32("e1"));
    evm_set_word(e, app, "addDevice(bytes32)", "0x" X32("d1"));
    chain_abi_value gateway = CHAIN_ABI_OF_BYTES(bytes_of_str("0x" ID20("77")));
    evm_send(e, &e->owner, &e->kms, "setGatewayAppId(string)", &gateway, 1);
}

static void run_on_chain(answering *a, const evm *e, const char *url) {
    char contract[CHAIN_ADDRESS_TEXT], policy[400];
    chain_address_text(&e->kms, contract);
    snprintf(policy, sizeof policy,
             "policy: {type: chain, chain: {contract: '%s', chain_id: 31337, urls: ['%s'], block: "
             "latest, cache: 0s, timeout: 20s}}\n",
             contract, url);
    run(a, policy);
}

static void a_contract_decides(void **state) {
    evm chain;
    lying_node node;
    answering a = {0};
    chain_address app;
    evm_start(&chain);
    lying_start(&node, &chain);
    assert_int_equal(chain_address_parse("0x" ID20("a7"), &app, NULL), 0);
    set_up_contracts(&chain, &app);
    run_on_chain(&a, &chain, node.url);
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("a7"), NULL, NULL), 200,
           "{\"isAllowed\":true,\"reason\":\"\",\"gatewayAppId\":\"0x" ID20("77") "\",");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("a7"), NULL, NULL), 200, "\"blockHash\":");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("a7"), "composeHash", "\"" X32("e9") "\""),
           200, "{\"isAllowed\":false,\"reason\":\"Compose hash not allowed\"");
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("99"), NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"App not registered\"");
    expect(&a, "POST", "/bootAuth/kms", boot_info(ID20("a7"), NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"KMS is not allowed to boot on this device\"");
    expect(&a, "POST", "/bootAuth/kms", boot_info(ID20("a7"), "deviceId", "\"" X32("c1") "\""), 200,
           "\"isAllowed\":true");
    char says[200], contract[CHAIN_ADDRESS_TEXT], implementation[CHAIN_ADDRESS_TEXT];
    chain_address_text(&chain.kms, contract);
    chain_address_text(&chain.app_implementation, implementation);
    snprintf(says, sizeof says,
             "{\"status\":\"ok\",\"kmsContractAddr\":\"%s\",\"ethRpcUrl\":\"%s\",", contract,
             node.url);
    expect(&a, "GET", "/", "", 200, says);
    snprintf(says, sizeof says,
             "\"chainId\":31337,\"appAuthImplementation\":\"%s\",\"appImplementation\":\"%s\"}",
             implementation, implementation);
    expect(&a, "GET", "/", "", 200, says);
    node.lie = CLOSES;
    expect(&a, "POST", "/bootAuth/app", boot_info(ID20("a7"), NULL, NULL), 200,
           "{\"isAllowed\":false,\"reason\":\"authorization backend unavailable\","
           "\"gatewayAppId\":\"\"}");
    expect(&a, "GET", "/", "", 500,
           "{\"status\":\"error\",\"message\":\"authorization backend unavailable\"}");
    node.lie = TRUTH;
    expect(&a, "GET", "/metrics", "", 200,
           "dstack_auth_decisions_total{kind=\"app\",result=\"error\"} 1\n");
    end(&a);
    lying_stop(&node);
    evm_stop(&chain);
}

/* Every member of the recorded answer must be in ours, but for the port of the node. */
static void compare_exchange(const answering *a, const json_t *exchange) {
    const json_t *request = json_object_get(exchange, "request"), *member;
    const json_t *response = json_object_get(exchange, "response");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    const char *path = json_string_value(json_object_get(request, "path"));
    int status = ask(a, json_string_value(json_object_get(request, "method")), path,
                     json_string_value(json_object_get(request, "body")), &out);
    assert_int_equal(status, json_integer_value(json_object_get(response, "status")));
    DSTACK_AUTO(json) json_t *ours = json_parse(bytes_of_buf(&out), 65536, "answer", &err);
    DSTACK_AUTO(json)
    json_t *theirs = json_parse(bytes_of_str(json_string_value(json_object_get(response, "body"))),
                                65536, "answer", &err);
    assert_true(ours != NULL && json_object_size(theirs) > 0);
    const char *name;
    json_object_foreach((json_t *)theirs, name, member) {
        if (strcmp(name, "ethRpcUrl") != 0 && !json_equal(member, json_object_get(ours, name))) {
            fail_msg("%s: %s differs in %s", path, name, buf_text(&out));
        }
    }
}

static void the_recorded_exchanges_are_answered_alike(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "governance/auth-eth-http.json");
    evm chain;
    lying_node node;
    answering a = {0};
    chain_address app;
    size_t i;
    json_t *exchange;
    assert_int_equal(chain_address_parse("75537828f2ce51be7289709686a69cbfdbb714f1", &app, NULL),
                     0);
    evm_start(&chain);
    lying_start(&node, &chain);
    set_up_contracts(&chain, &app);
    char text[CHAIN_ADDRESS_TEXT];
    chain_address_text(&app, text);
    chain_abi_value gateway = CHAIN_ABI_OF_BYTES(bytes_of_str(text));
    evm_send(&chain, &chain.owner, &chain.kms, "setGatewayAppId(string)", &gateway, 1);
    run_on_chain(&a, &chain, node.url);
    json_array_foreach(json_object_get(data, "exchanges"), i, exchange) {
        node.lie = json_object_get(exchange, "note") != NULL ? CLOSES : TRUTH;
        compare_exchange(&a, exchange);
    }
    assert_int_equal(i, 11);
    end(&a);
    lying_stop(&node);
    evm_stop(&chain);
}

/* ---- asked by our KMS -------------------------------------------------------------------------
 */

static void our_kms_asks_it(void **state) {
    void *opened = NULL;
    answering a = {0};
    world_setup(&opened);
    world *w = opened;
    DSTACK_AUTO(buf) dstack_buf list = {0}, webhook = {0};
    load_file(world_path(w, "allow.yaml"), &list);
    strcpy(a.dir, "/tmp/dstack-auth-XXXXXX");
    assert_non_null(mkdtemp(a.dir));
    write_in(&a, "allow.yaml", buf_text(&list));
    run(&a, FILE_POLICY);
    buf_put_fmt(&webhook, "{type: webhook, webhook: {url: '%s', max_age: 1h}}", a.url);
    world_configure_with(w, buf_text(&webhook), "auto_bootstrap_domain: localhost", "");
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    write_in(&a, "allow.yaml", "apps: {}\n");
    expect_refusal(w, w->guest, w->image.vm_config,
                   "KMS self authorization failed: KMS is not allowed: ");
    write_in(&a, "allow.yaml", buf_text(&list));
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    ask_keys(w, &again);
    assert_true(dstack_secret_equal(keys.k256_key, again.k256_key));
    world_post(w, "/prpc/GetMeta?json", "null", 200, "\"chain_id\":0");
    world_teardown(&opened);
    end(&a);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_decides_and_is_read_again_when_it_changes),
        cmocka_unit_test(what_is_told_has_the_reference_s_form),
        cmocka_unit_test(wrong_input_is_refused_and_says_how),
        cmocka_unit_test(a_flood_is_held_off),
        cmocka_unit_test(a_wrong_configuration_does_not_start),
        cmocka_unit_test(our_kms_asks_it),
        cmocka_unit_test(a_contract_decides),
        cmocka_unit_test(the_recorded_exchanges_are_answered_alike),
    };
    if (argc < 3) {
        return 2;
    }
    auth_program = argv[1];
    kms_program = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
