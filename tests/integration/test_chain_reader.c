/* Several nodes of a real chain, some of which lie: when their word is taken, and when not. */
#include "chain_world.h"

#include "chain/boot_info.h"
#include "chain/reader.h"

#define NODES 3

typedef struct reader_world {
    evm chain;
    lying_node nodes[NODES];
    const char *urls[NODES];
    json_t *snapshot;
    unsigned events[3];
    chain_block seen;
} reader_world;

static void note_event(void *user, chain_event event, const char *node, const char *text) {
    (void)node;
    (void)text;
    ((reader_world *)user)->events[event]++;
}

static void note_seen(void *user, const chain_block *block) {
    ((reader_world *)user)->seen = *block;
}

static int setup_chain(void **state) {
    reader_world *w = calloc(1, sizeof *w);
    evm_start(&w->chain);
    for (size_t i = 0; i < NODES; i++) {
        lying_start(&w->nodes[i], &w->chain);
        w->urls[i] = w->nodes[i].url;
    }
    evm_mine(&w->chain, 100);
    *state = w;
    return 0;
}

static int teardown_chain(void **state) {
    reader_world *w = *state;
    for (size_t i = 0; i < NODES; i++) {
        lying_stop(&w->nodes[i]);
    }
    evm_stop(&w->chain);
    free(w);
    return 0;
}

/* Every test begins on the chain as it was set up, with honest nodes. */
static int setup(void **state) {
    reader_world *w = *state;
    for (size_t i = 0; i < NODES; i++) {
        w->nodes[i].lie = TRUTH;
    }
    memset(w->events, 0, sizeof w->events);
    w->snapshot = evm_ask(&w->chain, "evm_snapshot", NULL);
    return 0;
}

static int teardown(void **state) {
    reader_world *w = *state;
    if (w->snapshot != NULL) {
        evm_do(&w->chain, "evm_revert", json_pack("[o]", w->snapshot));
        w->snapshot = NULL;
    }
    return 0;
}

static chain_reader *reader_of(reader_world *w, size_t nodes, unsigned quorum, const char *tag) {
    dstack_error err = {0};
    chain_reader_config config = {.urls = w->urls,
                                  .url_count = nodes,
                                  .quorum = quorum,
                                  .chain_id = 31337,
                                  .tag = tag,
                                  .timeout_ms = 20000,
                                  .on_event = note_event,
                                  .on_seen = note_seen,
                                  .user = w};
    chain_reader *reader = chain_reader_new(&config, &err);
    if (reader == NULL) {
        fail_msg("%s", err.message);
    }
    return reader;
}

static const char image_a[] = "0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/* Asks whether an image is allowed: `allowedOsImages(bytes32)`. */
static int ask_image(reader_world *w, chain_reader *reader, bool *allowed, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf calldata = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    chain_word image;
    assert_int_equal(chain_word_parse(image_a, &image, NULL), 0);
    chain_abi_value value = CHAIN_ABI_OF_WORD(&image);
    assert_int_equal(chain_abi_encode_call("allowedOsImages(bytes32)", &value, 1, &calldata, NULL),
                     0);
    chain_call call = {&w->chain.kms, bytes_of_buf(&calldata)};
    *allowed = false;
    int rc = chain_reader_call(reader, &call, 1, clock_unix(), &answers, err);
    if (rc == 0) {
        chain_abi_reader r = chain_abi_read(bytes_of_buf(&answers.results[0]));
        *allowed = chain_abi_get_bool(&r);
        assert_true(chain_abi_ok(&r));
    }
    return rc;
}

static void expect(reader_world *w, chain_reader *reader, bool allowed) {
    dstack_error err = {0};
    bool is;
    assert_ok(ask_image(w, reader, &is, &err), err);
    assert_int_equal(is, allowed);
}

static void expect_error(reader_world *w, chain_reader *reader, int status, const char *says) {
    dstack_error err = {0};
    bool allowed;
    int rc = ask_image(w, reader, &allowed, &err);
    if (rc != status || strstr(err.message, says) == NULL) {
        fail_msg("expected %d \"%s\", got %d \"%s\"", status, says, rc, err.message);
    }
    assert_false(allowed);
}

static void what_all_nodes_say_is_taken(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 0, "latest");
    expect(w, reader, false);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    expect(w, reader, true);
    evm_set_word(&w->chain, &w->chain.kms, "removeOsImageHash(bytes32)", image_a);
    expect(w, reader, false);
    assert_int_equal(w->seen.number, evm_height(&w->chain));
}

static void a_change_counts_once_it_is_final(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, NULL);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    expect(w, reader, false);
    evm_mine(&w->chain, 200);
    expect(w, reader, true);
    chain_block final;
    dstack_error err = {0};
    assert_ok(chain_node_block(w->chain.node, "finalized", &final, &err), err);
    assert_true(final.number == w->seen.number && final.number < evm_height(&w->chain));
}

static void confirmations_read_behind_the_tag(void **state) {
    reader_world *w = *state;
    dstack_error err = {0};
    chain_reader_config config = {
        .urls = w->urls, .url_count = 1, .chain_id = 31337, .tag = "latest", .confirmations = 3};
    DSTACK_AUTO(chain_reader) chain_reader *reader = chain_reader_new(&config, &err);
    assert_non_null(reader);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    expect(w, reader, false);
    evm_mine(&w->chain, 2);
    expect(w, reader, false);
    evm_mine(&w->chain, 1);
    expect(w, reader, true);
}

static void a_liar_is_outvoted_and_noted(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    w->nodes[1].lie = SAYS_YES;
    expect(w, reader, false);
    assert_int_equal(w->events[CHAIN_EVENT_DISSENT], 1);
    w->nodes[1].lie = OTHER_HASHES;
    expect(w, reader, false);
    assert_int_equal(w->events[CHAIN_EVENT_DISSENT], 2);
    chain_reader_state s;
    chain_reader_get_state(reader, &s);
    assert_int_equal(s.dissents, 2);
}

static void nodes_that_disagree_give_no_answer(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *all = reader_of(w, 3, 3, "latest");
    DSTACK_AUTO(chain_reader) chain_reader *pair = reader_of(w, 2, 2, "latest");
    w->nodes[1].lie = SAYS_YES;
    expect_error(w, all, DSTACK_E_PEER, "disagree about what the contract says");
    expect_error(w, pair, DSTACK_E_PEER, "disagree about what the contract says");
    w->nodes[1].lie = OTHER_HASHES;
    expect_error(w, pair, DSTACK_E_PEER, "disagree about block");
    w->nodes[1].lie = HOUR_OLD;
    expect_error(w, pair, DSTACK_E_PEER, "disagree about block");
}

static void a_node_of_another_chain_does_not_count(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    w->nodes[0].lie = OTHER_CHAIN;
    expect(w, reader, false);
    w->nodes[1].lie = OTHER_CHAIN;
    expect_error(w, reader, DSTACK_E_NETWORK, "is on chain 1, not 31337");
}

static void nodes_that_fail_are_made_up_for_by_others(void **state) {
    static const struct {
        lie lie;
        const char *says;
    } cases[] = {
        {CLOSES, "chain nodes are needed, 1 can be used"},
        {SHORT_OF_LENGTH, "chain nodes are needed, 1 can be used"},
        {HUGE_LENGTH, "chain nodes are needed, 1 can be used"},
        {NO_JSON, "chain nodes are needed, 1 can be used"},
        {OTHER_QUESTIONS, "that was not asked"},
        {SERVER_ERROR, "HTTP status 503"},
    };
    reader_world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
        w->nodes[0].lie = TRUTH;
        w->nodes[1].lie = cases[i].lie;
        expect(w, reader, false);
        w->nodes[0].lie = cases[i].lie;
        expect_error(w, reader, DSTACK_E_NETWORK, cases[i].says);
        w->nodes[0].lie = TRUTH;
        expect(w, reader, false);
    }
}

static void a_silent_node_is_waited_for_once(void **state) {
    reader_world *w = *state;
    dstack_error err = {0};
    chain_reader_config config = {.urls = w->urls,
                                  .url_count = 3,
                                  .quorum = 2,
                                  .chain_id = 31337,
                                  .tag = "latest",
                                  .timeout_ms = 3000};
    DSTACK_AUTO(chain_reader) chain_reader *reader = chain_reader_new(&config, &err);
    w->nodes[2].lie = SILENT;
    unsigned before = w->nodes[2].asked;
    for (int i = 0; i < 5; i++) {
        expect(w, reader, false);
    }
    assert_int_equal(w->nodes[2].asked - before, 1);
    chain_reader_state s;
    chain_reader_get_state(reader, &s);
    assert_int_equal(s.nodes[2].failures, 1);
    assert_true(s.nodes[2].trouble[0] != 0);
    assert_true(s.nodes[0].trouble[0] == 0);
}

static void a_lagging_node_does_not_count(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    w->nodes[1].limit = (unsigned)evm_height(&w->chain);
    w->nodes[1].lie = BEHIND;
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    expect(w, reader, true);
    assert_int_equal(w->seen.number, evm_height(&w->chain));
}

static void sec_30_a_view_of_the_chain_that_goes_back_is_refused(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    unsigned allowed_at = (unsigned)evm_height(&w->chain);
    evm_set_word(&w->chain, &w->chain.kms, "removeOsImageHash(bytes32)", image_a);
    expect(w, reader, false);
    for (size_t i = 0; i < NODES; i++) {
        w->nodes[i].limit = allowed_at;
        w->nodes[i].lie = BEHIND;
    }
    expect_error(w, reader, DSTACK_E_STATE, "behind block");
    /* Without what was seen before, the old view would be believed: that is why it is kept. */
    DSTACK_AUTO(chain_reader) chain_reader *forgetful = reader_of(w, 3, 2, "latest");
    expect(w, forgetful, true);
}

static void sec_30_a_policy_older_than_its_limit_allows_nothing(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    for (size_t i = 0; i < NODES; i++) {
        w->nodes[i].lie = HOUR_OLD;
    }
    expect_error(w, reader, DSTACK_E_STATE, "the policy is stale: block");
    for (size_t i = 0; i < NODES; i++) {
        w->nodes[i].lie = TOMORROW;
    }
    DSTACK_AUTO(chain_reader) chain_reader *other = reader_of(w, 3, 2, "latest");
    expect_error(w, other, DSTACK_E_STATE, "ahead of time");
}

static void sec_30_what_is_cached_ages_too(void **state) {
    reader_world *w = *state;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf calldata = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    chain_reader_config config = {.urls = w->urls,
                                  .url_count = 3,
                                  .chain_id = 31337,
                                  .tag = "latest",
                                  .max_age = 600,
                                  .cache_ms = 3600000};
    DSTACK_AUTO(chain_reader) chain_reader *reader = chain_reader_new(&config, &err);
    evm_mine(&w->chain, 1);
    assert_int_equal(chain_abi_encode_call("gatewayAppId()", NULL, 0, &calldata, NULL), 0);
    chain_call call = {&w->chain.kms, bytes_of_buf(&calldata)};
    int64_t now = clock_unix();
    assert_ok(chain_reader_call(reader, &call, 1, now, &answers, &err), err);
    unsigned asked = w->nodes[0].asked;
    assert_ok(chain_reader_call(reader, &call, 1, now + 300, &answers, &err), err);
    assert_int_equal(w->nodes[0].asked, asked);
    assert_int_equal(chain_reader_call(reader, &call, 1, now + 700, &answers, &err),
                     DSTACK_E_STATE);
    assert_non_null(strstr(err.message, "the policy is stale"));
    assert_int_equal(answers.results[0].len, 0);
}

static void a_reorganisation_before_finality_is_followed(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    DSTACK_AUTO(json) json_t *fork = evm_ask(&w->chain, "evm_snapshot", NULL);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    expect(w, reader, true);
    evm_do(&w->chain, "evm_revert", json_pack("[O]", fork));
    expect_error(w, reader, DSTACK_E_STATE, "behind block");
    evm_mine(&w->chain, 3);
    expect(w, reader, false);
    assert_int_equal(w->events[CHAIN_EVENT_REORG], 1);
    expect(w, reader, false);
    assert_int_equal(w->events[CHAIN_EVENT_REORG], 1);
}

static void sec_30_a_replaced_finalized_block_stops_everything(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, NULL);
    DSTACK_AUTO(json) json_t *fork = evm_ask(&w->chain, "evm_snapshot", NULL);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    evm_mine(&w->chain, 200);
    expect(w, reader, true);
    evm_do(&w->chain, "evm_revert", json_pack("[O]", fork));
    evm_mine(&w->chain, 400);
    expect_error(w, reader, DSTACK_E_STATE, "finalized block");
    expect_error(w, reader, DSTACK_E_STATE, "finalized block");
    assert_true(w->events[CHAIN_EVENT_REORG] > 0);
}

static void a_reorganisation_under_a_kept_head_is_noticed(void **state) {
    reader_world *w = *state;
    dstack_error err = {0};
    chain_reader_config config = {
        .urls = w->urls, .url_count = 3, .chain_id = 31337, .tag = "latest", .cache_ms = 3600000};
    DSTACK_AUTO(chain_reader) chain_reader *reader = chain_reader_new(&config, &err);
    DSTACK_AUTO(json) json_t *fork = evm_ask(&w->chain, "evm_snapshot", NULL);
    evm_set_word(&w->chain, &w->chain.kms, "addOsImageHash(bytes32)", image_a);
    DSTACK_AUTO(buf) dstack_buf calldata = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    assert_int_equal(chain_abi_encode_call("gatewayAppId()", NULL, 0, &calldata, NULL), 0);
    chain_call call = {&w->chain.kms, bytes_of_buf(&calldata)};
    assert_ok(chain_reader_call(reader, &call, 1, clock_unix(), &answers, &err), err);
    evm_do(&w->chain, "evm_revert", json_pack("[O]", fork));
    evm_mine(&w->chain, 5);
    /* Not in the cache: the nodes are asked at the kept head, which is no block of theirs now. */
    expect(w, reader, false);
    chain_reader_state s;
    chain_reader_get_state(reader, &s);
    assert_int_equal(s.reorgs, 1);
    assert_int_equal(s.block.number, evm_height(&w->chain));
}

static void a_contract_that_reverts_gives_no_answer(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    DSTACK_AUTO(buf) dstack_buf calldata = {0};
    DSTACK_AUTO(chain_answers) chain_answers answers = {0};
    dstack_error err = {0};
    chain_address nobody = {{0}};
    chain_abi_value value = CHAIN_ABI_OF_ADDRESS(&nobody);
    assert_int_equal(chain_abi_encode_call("registerApp(address)", &value, 1, &calldata, NULL), 0);
    chain_call call = {&w->chain.kms, bytes_of_buf(&calldata)};
    assert_int_equal(chain_reader_call(reader, &call, 1, clock_unix(), &answers, &err),
                     DSTACK_E_PEER);
    assert_string_equal(err.message,
                        "the contract gave no answer: execution reverted: Invalid app ID");
}

static void what_cannot_be_a_quorum_is_refused(void **state) {
    static const char *const urls[] = {"http://127.0.0.1:1", "http://127.0.0.1:2",
                                       "http://127.0.0.1:3", "http://127.0.0.1:4"};
    static const char *const twice[] = {"http://127.0.0.1:1", "http://127.0.0.1:1"};
    const struct {
        chain_reader_config config;
        const char *says;
    } cases[] = {
        {{.urls = urls, .url_count = 0, .chain_id = 1}, "1 to 16"},
        {{.urls = urls, .url_count = 4, .quorum = 2, .chain_id = 1}, "more than half"},
        {{.urls = urls, .url_count = 4, .quorum = 5, .chain_id = 1}, "more than half"},
        {{.urls = urls, .url_count = 4, .quorum = 3, .chain_id = 0}, "chain id"},
        {{.urls = urls, .url_count = 1, .chain_id = 1, .tag = "pending"}, "block tag"},
        {{.urls = twice, .url_count = 2, .chain_id = 1}, "the same"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        assert_null(chain_reader_new(&cases[i].config, &err));
        assert_int_equal(err.status, DSTACK_E_ARGUMENT);
        if (strstr(err.message, cases[i].says) == NULL) {
            fail_msg("%s", err.message);
        }
    }
}

typedef struct asking {
    reader_world *world;
    chain_reader *reader;
    unsigned good;
} asking;

static void *ask_often(void *user) {
    asking *a = user;
    for (int i = 0; i < 5; i++) {
        bool allowed;
        a->good += ask_image(a->world, a->reader, &allowed, NULL) == 0 && !allowed;
    }
    return NULL;
}

static void many_threads_may_ask_at_once(void **state) {
    reader_world *w = *state;
    DSTACK_AUTO(chain_reader) chain_reader *reader = reader_of(w, 3, 2, "latest");
    asking all[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        all[i].world = w;
        all[i].reader = reader;
        all[i].good = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &all[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(all[i].good, 5);
    }
}

#define CHAIN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CHAIN_TEST(what_all_nodes_say_is_taken),
        CHAIN_TEST(a_change_counts_once_it_is_final),
        CHAIN_TEST(confirmations_read_behind_the_tag),
        CHAIN_TEST(a_liar_is_outvoted_and_noted),
        CHAIN_TEST(nodes_that_disagree_give_no_answer),
        CHAIN_TEST(a_node_of_another_chain_does_not_count),
        CHAIN_TEST(nodes_that_fail_are_made_up_for_by_others),
        CHAIN_TEST(a_silent_node_is_waited_for_once),
        CHAIN_TEST(a_lagging_node_does_not_count),
        CHAIN_TEST(sec_30_a_view_of_the_chain_that_goes_back_is_refused),
        CHAIN_TEST(sec_30_a_policy_older_than_its_limit_allows_nothing),
        CHAIN_TEST(sec_30_what_is_cached_ages_too),
        CHAIN_TEST(a_reorganisation_before_finality_is_followed),
        CHAIN_TEST(sec_30_a_replaced_finalized_block_stops_everything),
        CHAIN_TEST(a_reorganisation_under_a_kept_head_is_noticed),
        CHAIN_TEST(a_contract_that_reverts_gives_no_answer),
        CHAIN_TEST(what_cannot_be_a_quorum_is_refused),
        CHAIN_TEST(many_threads_may_ask_at_once),
    };
    return cmocka_run_group_tests(tests, setup_chain, teardown_chain);
}
