/* dstack-kms with its policy on a real chain: three nodes, two of which must say the same. */
#include "kms_calls.h"

#include "chain_world.h"
#include "settings.h"

#define NODES 3

typedef struct chained {
    world *world;
    evm chain;
    lying_node nodes[NODES];
    chain_address app;
    char compose_hash[67];
} chained;

static char *hex0x(const char *hex, char out[67]) {
    snprintf(out, 67, "0x%s", hex);
    return out;
}

/* What the KMS says it is: what an operator allows on the chain. */
static json_t *print_identity(const world *w) {
    char command[400];
    DSTACK_AUTO(buf) dstack_buf text = {0};
    snprintf(command, sizeof command, "'%s' --config '%s' --insecure-dev --print-identity 2>>'%s'",
             kms_program, w->config, w->log);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, out)) > 0;) {
        buf_put(&text, part, n);
    }
    assert_int_equal(pclose(out), 0);
    dstack_error err = {0};
    json_t *identity = json_parse(bytes_of_buf(&text), 65536, "identity", &err);
    assert_non_null(identity);
    return identity;
}

static void allow_on_chain(chained *c, const json_t *identity, const char *name,
                           const char *signature) {
    char word[67];
    evm_set_word(&c->chain, &c->chain.kms, signature,
                 hex0x(json_string_value(json_object_get(identity, name)), word));
}

static void configure(chained *c, const char *block) {
    char contract[CHAIN_ADDRESS_TEXT];
    DSTACK_AUTO(buf) dstack_buf auth = {0};
    chain_address_text(&c->chain.kms, contract);
    buf_put_fmt(&auth,
                "{type: chain, chain: {contract: '%s', chain_id: 31337, quorum: 2, urls: ['%s', "
                "'%s', '%s'], block: %s, cache: 0s, timeout: 20s}}",
                contract, c->nodes[0].url, c->nodes[1].url, c->nodes[2].url, block);
    world_configure_with(c->world, buf_text(&auth), "auto_bootstrap_domain: localhost", "");
}

static int setup(void **state) {
    chained *c = calloc(1, sizeof *c);
    dstack_error err = {0};
    evm_start(&c->chain);
    for (size_t i = 0; i < NODES; i++) {
        lying_start(&c->nodes[i], &c->chain);
    }
    void *w = NULL;
    world_setup(&w);
    c->world = w;
    hex0x(c->world->compose_hash, c->compose_hash);
    configure(c, "latest");
    DSTACK_AUTO(json) json_t *identity = print_identity(c->world);
    allow_on_chain(c, identity, "osImageHash", "addOsImageHash(bytes32)");
    allow_on_chain(c, identity, "mrAggregated", "addKmsAggregatedMr(bytes32)");
    allow_on_chain(c, identity, "deviceId", "addKmsDevice(bytes32)");
    assert_ok(chain_address_parse(c->world->app_id, &c->app, &err), err);
    evm_app_at(&c->chain, &c->app);
    evm_set_word(&c->chain, &c->app, "addComposeHash(bytes32)", c->compose_hash);
    evm_set_bool(&c->chain, &c->app, "setAllowAnyDevice(bool)", true);
    chain_abi_value gateway = CHAIN_ABI_OF_BYTES(bytes_of_str("0x1234"));
    evm_send(&c->chain, &c->chain.owner, &c->chain.kms, "setGatewayAppId(string)", &gateway, 1);
    *state = c;
    return 0;
}

static int teardown(void **state) {
    chained *c = *state;
    void *w = c->world;
    world_teardown(&w);
    for (size_t i = 0; i < NODES; i++) {
        lying_stop(&c->nodes[i]);
    }
    evm_stop(&c->chain);
    free(c);
    return 0;
}

static void all_nodes(chained *c, lie what) {
    for (size_t i = 0; i < NODES; i++) {
        c->nodes[i].lie = what;
    }
}

static void refused(chained *c, const char *reason) {
    expect_refusal(c->world, c->world->guest, c->world->image.vm_config, reason);
}

static void given(chained *c, dstack_app_keys *keys) {
    ask_keys(c->world, keys);
}

static void keys_follow_the_contracts(void **state) {
    chained *c = *state;
    char word[67];
    world_run(c->world);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    given(c, &keys);
    assert_string_equal(keys.gateway_app_id, "0x1234");

    evm_set_word(&c->chain, &c->app, "removeComposeHash(bytes32)", c->compose_hash);
    refused(c, "App not allowed: Boot denied: Compose hash not allowed");
    evm_set_word(&c->chain, &c->app, "addComposeHash(bytes32)", c->compose_hash);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    given(c, &again);
    assert_true(dstack_secret_equal(keys.disk_crypt_key, again.disk_crypt_key));

    evm_set_bool(&c->chain, &c->app, "setAllowAnyDevice(bool)", false);
    refused(c, "App not allowed: Boot denied: Device not allowed");
    evm_set_bool(&c->chain, &c->app, "setAllowAnyDevice(bool)", true);

    hex0x(c->world->image.image.os_image_hash, word);
    evm_set_word(&c->chain, &c->chain.kms, "removeOsImageHash(bytes32)", word);
    refused(c, "KMS self authorization failed: KMS is not allowed: OS image is not allowed");
    evm_set_word(&c->chain, &c->chain.kms, "addOsImageHash(bytes32)", word);

    char text[CHAIN_ADDRESS_TEXT];
    chain_address_text(&c->app, text);
    DSTACK_AUTO(json) json_t *before = evm_ask(&c->chain, "evm_snapshot", NULL);
    evm_do(&c->chain, "anvil_setCode", json_pack("[s,s]", text, "0x"));
    refused(c, "App not allowed: Boot denied: App not deployed or invalid address");
    DSTACK_AUTO(app_keys) dstack_app_keys last = {0};
    evm_do(&c->chain, "evm_revert", json_pack("[O]", before));
    evm_mine(&c->chain, 2);
    given(c, &last);
}

static const char other_manifest[] =
    "{\"manifest_version\":2,\"name\":\"other\",\"runner\":\"docker-compose\","
    "\"docker_compose_file\":\"services: {}\\n\",\"key_provider\":\"kms\"}";

static void an_unregistered_app_and_another_kms_are_refused(void **state) {
    chained *c = *state;
    DSTACK_AUTO(json) json_t *identity = print_identity(c->world);
    char word[67];
    world_run(c->world);
    hex0x(json_string_value(json_object_get(identity, "deviceId")), word);
    evm_set_word(&c->chain, &c->chain.kms, "removeKmsDevice(bytes32)", word);
    refused(c, "KMS is not allowed: KMS is not allowed to boot on this device");
    evm_set_word(&c->chain, &c->chain.kms, "addKmsDevice(bytes32)", word);
    hex0x(json_string_value(json_object_get(identity, "mrAggregated")), word);
    evm_set_word(&c->chain, &c->chain.kms, "removeKmsAggregatedMr(bytes32)", word);
    refused(c, "KMS is not allowed: Aggregated MR not allowed");
    evm_set_word(&c->chain, &c->chain.kms, "addKmsAggregatedMr(bytes32)", word);
    world_tee tee = {0};
    world_tee_start(c->world, &tee, "second-tee", &c->world->image.measured, c->world->keys);
    workload *stranger = world_workload(c->world, &tee, c->world->keys, other_manifest,
                                        c->world->image.vm_config, "stranger");
    expect_refusal(c->world, stranger, c->world->image.vm_config,
                   "App not allowed: Boot denied: App not registered");
    workload_free(stranger);
    world_tee_stop(&tee);
}

static void meta_page_and_metrics_tell_of_the_chain(void **state) {
    chained *c = *state;
    char contract[CHAIN_ADDRESS_TEXT], implementation[CHAIN_ADDRESS_TEXT], says[120];
    chain_address_text(&c->chain.kms, contract);
    chain_address_text(&c->chain.app_implementation, implementation);
    world_run(c->world);
    snprintf(says, sizeof says, "\"kms_contract_address\":\"%s\"", contract);
    world_post(c->world, "/prpc/GetMeta?json", "null", 200, says);
    snprintf(says, sizeof says, "\"app_auth_implementation\":\"%s\"", implementation);
    world_post(c->world, "/prpc/GetMeta?json", "null", 200, says);
    world_post(c->world, "/prpc/GetMeta?json", "null", 200, "\"chain_id\":31337");
    world_post(c->world, "/prpc/GetMeta?json", "null", 200, "\"gateway_app_id\":\"0x1234\"");
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(
        &(http_client_config){.url = c->world->url, .trust = HTTP_CLIENT_TRUST_NONE}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = "GET", .path = "/metrics"};
    assert_ok(http_client_send(client, &request, &response, &err), err);
    const char *text = buf_text(&response.body);
    snprintf(says, sizeof says, "dstack_kms_policy_block_number %llu\n",
             (unsigned long long)evm_height(&c->chain));
    assert_non_null(strstr(text, says));
    assert_non_null(strstr(text, "dstack_kms_policy_node_usable{node=\"2\"} 1\n"));
    /* What is known is told while the nodes are away. */
    all_nodes(c, CLOSES);
    world_post(c->world, "/prpc/GetMeta?json", "null", 200, "\"ca_cert\":");
}

static void a_broken_quorum_releases_nothing(void **state) {
    chained *c = *state;
    world_run(c->world);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    given(c, &keys);
    static const struct {
        lie lie;
        const char *says;
    } cases[] = {
        {CLOSES, "2 of 3 chain nodes are needed, 1 can be used"},
        {OTHER_CHAIN, "is on chain 1, not 31337"},
        {HUGE_LENGTH, "2 of 3 chain nodes are needed, 1 can be used"},
        {SHORT_OF_LENGTH, "2 of 3 chain nodes are needed, 1 can be used"},
        {SERVER_ERROR, "HTTP status 503"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(app_keys) dstack_app_keys more = {0};
        c->nodes[0].lie = cases[i].lie;
        given(c, &more);
        c->nodes[1].lie = cases[i].lie;
        refused(c, cases[i].says);
        all_nodes(c, TRUTH);
    }
    evm_set_word(&c->chain, &c->app, "removeComposeHash(bytes32)", c->compose_hash);
    c->nodes[0].lie = SAYS_YES;
    refused(c, "Boot denied: Compose hash not allowed");
    c->nodes[1].lie = CLOSES;
    refused(c, "disagree about what the contract says");
}

static void sec_30_a_revocation_hidden_from_the_kms_stops_it(void **state) {
    chained *c = *state;
    world_run(c->world);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    given(c, &keys);
    unsigned before = (unsigned)evm_height(&c->chain);
    evm_set_word(&c->chain, &c->app, "removeComposeHash(bytes32)", c->compose_hash);
    refused(c, "Compose hash not allowed");
    for (size_t i = 0; i < NODES; i++) {
        c->nodes[i].limit = before;
    }
    all_nodes(c, BEHIND);
    refused(c, "behind block");
    /* Nor does a restart make it forget. */
    world_kill(c->world, SIGKILL);
    world_run(c->world);
    refused(c, "behind block");
    all_nodes(c, TRUTH);
    refused(c, "Compose hash not allowed");
}

static void sec_30_no_key_is_released_on_a_stale_policy(void **state) {
    chained *c = *state;
    world_run(c->world);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    given(c, &keys);
    all_nodes(c, HOUR_OLD);
    evm_mine(&c->chain, 1);
    refused(c, "the policy is stale: block");
    evm_mine(&c->chain, 1);
    all_nodes(c, TRUTH);
    DSTACK_AUTO(app_keys) dstack_app_keys again = {0};
    given(c, &again);
}

static void sec_30_a_reorganised_final_block_stops_the_kms(void **state) {
    chained *c = *state;
    configure(c, "finalized");
    evm_mine(&c->chain, 100);
    world_run(c->world);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    DSTACK_AUTO(json) json_t *fork = evm_ask(&c->chain, "evm_snapshot", NULL);
    evm_mine(&c->chain, 200);
    given(c, &keys);
    evm_do(&c->chain, "evm_revert", json_pack("[O]", fork));
    evm_mine(&c->chain, 300);
    refused(c, "finalized block");
    world_kill(c->world, SIGKILL);
    world_run(c->world);
    refused(c, "finalized block");
}

static void settings_that_trust_too_much_are_refused(void **state) {
    static const struct {
        const char *chain, *says;
        bool insecure;
    } cases[] = {
        {"contract: '0x12', chain_id: 1, urls: ['https://a']", "contract", true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', urls: ['https://a']", "chain_id",
         true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1", "chain nodes",
         true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1, quorum: 1, urls: "
         "['https://a', 'https://b']",
         "more than half", true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1, block: pending, "
         "urls: ['https://a', 'https://b']",
         "block tag", true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1, max_age: never, "
         "urls: ['https://a', 'https://b']",
         "max_age", true},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1, urls: "
         "['https://a']",
         "the word of one node", false},
        {"contract: '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0', chain_id: 1, urls: "
         "['https://a', 'http://b']",
         "plain http", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        dstack_error err = {0};
        buf_put_fmt(&text,
                    "core:\n  tee: {url: tdx, manifest: x}\n  auth_api: {type: chain, "
                    "chain: {%s}}\n",
                    cases[i].chain);
        DSTACK_AUTO(config)
        service_config *config = config_parse(bytes_of_buf(&text), NULL, kms_description.keys,
                                              kms_description.key_count, &err);
        assert_non_null(config);
        int rc = kms_description.check(config, cases[i].insecure, &err);
        if (rc == 0 || strstr(err.message, cases[i].says) == NULL) {
            fail_msg("case %zu: %d %s", i, rc, err.message);
        }
        assert_int_equal(rc, cases[i].insecure ? DSTACK_E_FORMAT : DSTACK_E_INSECURE);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_follow_the_contracts, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unregistered_app_and_another_kms_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(meta_page_and_metrics_tell_of_the_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_quorum_releases_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(sec_30_a_revocation_hidden_from_the_kms_stops_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sec_30_no_key_is_released_on_a_stale_policy, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sec_30_a_reorganised_final_block_stops_the_kms, setup,
                                        teardown),
        cmocka_unit_test(settings_that_trust_too_much_are_refused),
    };
    if (argc < 2) {
        return 2;
    }
    kms_program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
