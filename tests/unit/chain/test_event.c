/* Logs of the contracts, as JSON-RPC gives them. */
#include "check.h"

#include "chain/event.h"

#define TRANSACTION "0x1111111111111111111111111111111111111111111111111111111111111111"
#define HASH "0xe1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1"
#define CONTRACT "0x75537828f2ce51be7289709686A69CbFDbB714F1"

static json_t *log_of(const char *data, size_t topic_count, const char *const *topics) {
    json_t *list = json_array();
    for (size_t i = 0; i < topic_count; i++) {
        json_array_append_new(list, json_string(topics[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "blockNumber", "0x7", "logIndex", "0x2",
                     "transactionHash", TRANSACTION, "address", CONTRACT, "data", data, "topics",
                     list);
}

/* The topics are those that the contracts' own tests hold the compiled contracts to. */
static const char *const added[] = {
    "0xfecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af"};
static const char *const changed[] = {
    "0x341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375",
    "0x000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x56bdf4352a9ceb1ba8f5c68066725c095e69c1d3f8a437290f0ac1da8fb4e19c", HASH};

static void an_event_has_its_name_and_values(void **state) {
    DSTACK_AUTO(json) json_t *log = log_of(HASH, 1, added), *event = NULL;
    dstack_error err = {0};
    assert_ok(chain_event_parse(log, &event, &err), err);
    DSTACK_AUTO(json)
    json_t *expected = json_pack("{s:i, s:i, s:s, s:s, s:s, s:{s:s}}", "block", 7, "index", 2,
                                 "transaction", TRANSACTION, "contract", CONTRACT, "event",
                                 "ComposeHashAdded", "values", "composeHash", HASH);
    assert_true(json_equal(event, expected));
}

static void a_change_of_policy_names_the_policy(void **state) {
    DSTACK_AUTO(json)
    json_t *log = log_of("0x0000000000000000000000000000000000000000000000000000000000000001", 4,
                         changed),
           *event = NULL;
    dstack_error err = {0};
    assert_ok(chain_event_parse(log, &event, &err), err);
    DSTACK_AUTO(json)
    json_t *expected =
        json_pack("{s:s, s:s, s:s, s:b}", "actor", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                  "policy", "compose-hash", "value", HASH, "enabled", 1);
    assert_true(json_equal(json_object_get(event, "values"), expected));
}

static void an_event_of_other_contracts_is_unknown(void **state) {
    static const char *const topics[] = {HASH};
    DSTACK_AUTO(json) json_t *log = log_of("0x1234", 1, topics), *event = NULL;
    DSTACK_AUTO(json) json_t *anonymous = log_of("0x", 0, NULL), *second = NULL;
    dstack_error err = {0};
    assert_ok(chain_event_parse(log, &event, &err), err);
    assert_string_equal(json_string_value(json_object_get(event, "event")), "unknown");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(event, "values"), "data")), "0x1234");
    assert_ok(chain_event_parse(anonymous, &second, &err), err);
    assert_string_equal(json_string_value(json_object_get(second, "event")), "unknown");
}

static void a_known_event_of_another_form_is_refused(void **state) {
    static const char one[] = "0x0000000000000000000000000000000000000000000000000000000000000001";
    static const char two[] = "0x0000000000000000000000000000000000000000000000000000000000000002";
    const struct {
        const char *data;
        size_t count;
        const char *const *topics;
    } bad[] = {
        {"0x", 1, added},     /* no value */
        {"0x1234", 1, added}, /* a short one */
        {HASH, 2, changed},   /* too few topics */
        {two, 4, changed},    /* no truth value */
        {"0x", 4, changed},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        DSTACK_AUTO(json) json_t *log = log_of(bad[i].data, bad[i].count, bad[i].topics);
        json_t *event = NULL;
        assert_int_equal(chain_event_parse(log, &event, NULL), DSTACK_E_FORMAT);
        assert_null(event);
    }
    DSTACK_AUTO(json) json_t *good = log_of(one, 4, changed), *event = NULL;
    assert_int_equal(chain_event_parse(good, &event, NULL), 0);
}

static void what_is_no_log_is_refused(void **state) {
    static const char *const broken[][2] = {
        {"blockNumber", "7"},
        {"logIndex", "0x"},
        {"transactionHash", "0x11"},
        {"address", "0x1111"},
        {"data", "1234"},
        {"data", "0x123"},
        {"topics", "none"},
        {"blockNumber", "0xffffffffffffffff"},
    };
    json_t *event = NULL;
    DSTACK_AUTO(json) json_t *list = json_array();
    assert_int_equal(chain_event_parse(list, &event, NULL), DSTACK_E_FORMAT);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        DSTACK_AUTO(json) json_t *log = log_of(HASH, 1, added);
        json_object_set_new(log, broken[i][0], json_string(broken[i][1]));
        assert_true(chain_event_parse(log, &event, NULL) < 0);
        json_object_del(log, broken[i][0]);
        assert_true(chain_event_parse(log, &event, NULL) < 0);
        assert_null(event);
    }
}

static void five_topics_are_refused(void **state) {
    static const char *const topics[] = {HASH, HASH, HASH, HASH, HASH};
    DSTACK_AUTO(json) json_t *log = log_of("0x", 5, topics);
    json_t *event = NULL;
    assert_int_equal(chain_event_parse(log, &event, NULL), DSTACK_E_FORMAT);
}

/* Every log recorded from the reference's contracts is of a known event. */
static void recorded_logs_are_known(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *recorded = load_json(SHARED_DATA "governance/event-logs.json");
    json_t *log;
    size_t i;
    json_array_foreach(json_object_get(recorded, "logs"), i, log) {
        DSTACK_AUTO(json) json_t *event = NULL;
        dstack_error err = {0};
        json_object_set_new(log, "blockNumber", json_string("0x1"));
        json_object_set_new(log, "logIndex", json_string("0x0"));
        json_object_set_new(log, "transactionHash", json_string(TRANSACTION));
        assert_ok(chain_event_parse(log, &event, &err), err);
        assert_string_not_equal(json_string_value(json_object_get(event, "event")), "unknown");
    }
    assert_int_equal(i, 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_has_its_name_and_values),
        cmocka_unit_test(a_change_of_policy_names_the_policy),
        cmocka_unit_test(an_event_of_other_contracts_is_unknown),
        cmocka_unit_test(a_known_event_of_another_form_is_refused),
        cmocka_unit_test(what_is_no_log_is_refused),
        cmocka_unit_test(five_topics_are_refused),
        cmocka_unit_test(recorded_logs_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
