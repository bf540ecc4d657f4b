/* The contracts' question and answer. */
#include "check.h"

#include "chain/abi.h"
#include "chain/boot_info.h"

static json_t *boot_info(void) {
    json_t *info = json_object();
    static const struct {
        const char *name;
        const char *text;
    } members[] = {
        {"teeVariant", "dstack-tdx"},
        {"mrAggregated", "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1"},
        {"osImageHash", "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"},
        {"mrSystem", "f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1"},
        {"appId", "7551551551551551551551551551551551551551"},
        {"composeHash", "e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1"},
        {"instanceId", "5151515151515151515151515151515151515151"},
        {"deviceId", "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"},
        {"tcbStatus", "UpToDate"},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_object_set_new(info, members[i].name, json_string(members[i].text));
    }
    json_object_set_new(info, "advisoryIds", json_array());
    return info;
}

#define WORD(hex) hex hex hex hex hex hex hex hex
#define PAD12 "000000000000000000000000"
#define NUMBER(hex) "00000000000000000000000000000000000000000000000000000000" hex

static void an_app_is_asked_about_in_the_words_of_its_contract(void **state) {
    DSTACK_AUTO(json) json_t *info = boot_info();
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    json_array_append_new(json_object_get(info, "advisoryIds"), json_string("INTEL-SA-1"));
    assert_ok(chain_boot_info_encode(false, info, &out, &err), err);
    assert_hex(bytes_of_buf(&out), "1e079198" NUMBER("00000020") PAD12
               "7551551551551551551551551551551551551551" WORD("e1e1e1e1") PAD12
               "5151515151515151515151515151515151515151" WORD("d1d1d1d1") WORD("b1b1b1b1")
                   WORD("f1f1f1f1") WORD("a1a1a1a1") NUMBER("00000120") NUMBER("00000160")
                       NUMBER("00000008") "5570546f446174650000000000000000000000000000000000000000"
                                          "00000000" NUMBER("00000001") NUMBER("00000020")
                                              NUMBER("0000000a") "494e54454c2d53412d310000000000000"
                                                                 "0000000000000000000000000000000");
    buf_reset(&out);
    assert_ok(chain_boot_info_encode(true, info, &out, &err), err);
    assert_memory_equal(out.data, "\xe0\x67\xec\x9d", 4);
}

static void short_hex_is_padded_and_its_prefix_dropped(void **state) {
    DSTACK_AUTO(json) json_t *info = boot_info();
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    json_object_set_new(info, "instanceId", json_string(""));
    json_object_set_new(info, "osImageHash", json_string("0x123"));
    json_object_del(info, "mrSystem");
    assert_ok(chain_boot_info_encode(false, info, &out, &err), err);
    chain_abi_reader r = chain_abi_read(bytes_of(out.data + 4, out.len - 4));
    chain_abi_reader t = chain_abi_get_tuple(&r);
    (void)chain_abi_get_address(&t);
    (void)chain_abi_get_word(&t);
    chain_address instance = chain_abi_get_address(&t);
    assert_true(bytes_are_zero(bytes_of(instance.bytes, sizeof instance.bytes)));
    (void)chain_abi_get_word(&t);
    (void)chain_abi_get_word(&t);
    assert_int_equal(chain_abi_get_uint(&t), 0);
    assert_int_equal(chain_abi_get_uint(&t), 0x123);
    assert_true(chain_abi_ok(&t));
}

static void what_the_reference_refuses_is_refused(void **state) {
    static const struct {
        const char *name;
        const char *json; /* NULL: left out */
    } cases[] = {
        {"appId", NULL},
        {"composeHash", NULL},
        {"instanceId", NULL},
        {"deviceId", NULL},
        {"mrAggregated", NULL},
        {"osImageHash", NULL},
        {"appId", "\"755155155155155155155155155155155155155155\""},
        {"deviceId", "\"" WORD("d1d1d1d1") WORD("d1d1d1d1") "\""},
        {"composeHash", "\"e1e1zz\""},
        {"composeHash", "7"},
        {"mrSystem", "false"},
        {"tcbStatus", "1"},
        {"advisoryIds", "\"none\""},
        {"advisoryIds", "[1]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(json) json_t *info = boot_info();
        DSTACK_AUTO(buf) dstack_buf out = {0};
        dstack_error err = {0};
        char text[100];
        json_object_del(info, cases[i].name);
        if (cases[i].json != NULL) {
            json_object_set_new(info, cases[i].name,
                                json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        }
        assert_int_equal(chain_boot_info_encode(false, info, &out, &err), DSTACK_E_FORMAT);
        snprintf(text, sizeof text, "invalid authorization request: %s", cases[i].name);
        assert_string_equal(err.message, text);
    }
}

static void long_texts_and_lists_are_refused(void **state) {
    char long_text[300];
    memset(long_text, 'x', sizeof long_text);
    for (size_t len = 128; len <= 129; len++) {
        DSTACK_AUTO(json) json_t *info = boot_info();
        DSTACK_AUTO(buf) dstack_buf out = {0};
        json_object_set_new(info, "tcbStatus", json_stringn(long_text, len));
        assert_int_equal(chain_boot_info_encode(false, info, &out, NULL),
                         len == 128 ? 0 : DSTACK_E_FORMAT);
    }
    for (size_t len = 256; len <= 257; len++) {
        DSTACK_AUTO(json) json_t *info = boot_info();
        DSTACK_AUTO(buf) dstack_buf out = {0};
        json_array_append_new(json_object_get(info, "advisoryIds"), json_stringn(long_text, len));
        assert_int_equal(chain_boot_info_encode(false, info, &out, NULL),
                         len == 256 ? 0 : DSTACK_E_FORMAT);
    }
    for (size_t count = 128; count <= 129; count++) {
        DSTACK_AUTO(json) json_t *info = boot_info();
        DSTACK_AUTO(buf) dstack_buf out = {0};
        for (size_t i = 0; i < count; i++) {
            json_array_append_new(json_object_get(info, "advisoryIds"), json_string("a"));
        }
        assert_int_equal(chain_boot_info_encode(false, info, &out, NULL),
                         count == 128 ? 0 : DSTACK_E_FORMAT);
    }
}

static void put_answer(dstack_buf *out, bool allowed, const char *reason) {
    chain_abi_value values[] = {CHAIN_ABI_OF_BOOL(allowed),
                                CHAIN_ABI_OF_BYTES(bytes_of_str(reason))};
    buf_reset(out);
    assert_int_equal(chain_abi_encode(values, 2, out, NULL), 0);
}

static void a_decision_is_read_and_its_reason_is_one_line(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    bool allowed;
    char reason[16];
    put_answer(&out, true, "");
    assert_ok(chain_boot_info_answer(bytes_of_buf(&out), &allowed, reason, 16, &err), err);
    assert_true(allowed);
    assert_string_equal(reason, "");
    put_answer(&out, false, "a\nb\x1b[0m \xc3\xa4");
    assert_ok(chain_boot_info_answer(bytes_of_buf(&out), &allowed, reason, 16, &err), err);
    assert_false(allowed);
    assert_string_equal(reason, "a?b?[0m \xc3\xa4");
    put_answer(&out, false, "fifteen bytes \xc3\xa4");
    assert_ok(chain_boot_info_answer(bytes_of_buf(&out), &allowed, reason, 16, &err), err);
    assert_string_equal(reason, "fifteen bytes ");
    put_answer(&out, false, "bad \xff\xfe");
    assert_ok(chain_boot_info_answer(bytes_of_buf(&out), &allowed, reason, 16, &err), err);
    assert_string_equal(reason, "bad ??");
}

static void what_is_no_decision_is_never_an_allowance(void **state) {
    dstack_error err = {0};
    bool allowed = true;
    char reason[16];
    assert_int_equal(chain_boot_info_answer(bytes_of("", 0), &allowed, reason, 16, &err),
                     DSTACK_E_FORMAT);
    assert_false(allowed);
    assert_string_equal(err.message, "0 bytes that the contract returned are no decision");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    put_answer(&out, true, "x");
    for (size_t len = 0; len < out.len; len++) {
        allowed = true;
        assert_int_equal(
            chain_boot_info_answer(bytes_of(out.data, len), &allowed, reason, 16, &err),
            DSTACK_E_FORMAT);
        assert_false(allowed);
    }
}

/* ---- the recorded calls -----------------------------------------------------------------------
 */

static void compare_call(const json_t *call) {
    const json_t *info = json_object_get(call, "bootInfo");
    const char *calldata = json_string_value(json_object_get(call, "calldata"));
    DSTACK_AUTO(buf) dstack_buf out = {0}, returned = {0};
    dstack_error err = {0};
    bool kms = strcmp(json_string_value(json_object_get(call, "function")), "isKmsAllowed") == 0;
    assert_ok(chain_boot_info_encode(kms, info, &out, &err), err);
    assert_hex(bytes_of_buf(&out), calldata + 2);
    bool allowed;
    char reason[200];
    assert_ok(
        chain_data_parse(json_string_value(json_object_get(call, "returndata")), &returned, &err),
        err);
    assert_ok(chain_boot_info_answer(bytes_of_buf(&returned), &allowed, reason, 200, &err), err);
    assert_int_equal(allowed, json_is_true(json_object_get(call, "isAllowed")));
    assert_string_equal(reason, json_string_value(json_object_get(call, "reason")));
}

static void the_recorded_calls_encode_and_read_the_same(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "governance/abi-calls.json");
    size_t compared = 0, i;
    json_t *call;
    json_array_foreach(json_object_get(data, "calls"), i, call) {
        if (json_object_get(call, "bootInfo") != NULL) {
            compare_call(call);
            compared++;
        }
    }
    assert_int_equal(compared, 13);
}

static void the_recorded_set_up_calls_encode_the_same(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "governance/abi-calls.json");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    chain_address owner, implementation;
    chain_word device, compose;
    memset(device.bytes, 0xd1, sizeof device.bytes);
    memset(compose.bytes, 0xe1, sizeof compose.bytes);
    assert_ok(chain_address_parse("f39fd6e51aad88f6f4ce6ab8827279cfffb92266", &owner, &err), err);
    const char *text = json_string_value(json_object_get(data, "appImplementation"));
    assert_ok(chain_address_parse(text, &implementation, &err), err);
    chain_abi_value two[] = {CHAIN_ABI_OF_ADDRESS(&owner), CHAIN_ABI_OF_ADDRESS(&implementation)};
    assert_ok(chain_abi_encode_call("initialize(address,address)", two, 2, &out, &err), err);
    assert_hex(bytes_of_buf(&out),
               json_string_value(json_object_get(data, "initialize_calldata")) + 2);
    buf_reset(&out);
    chain_abi_value six[] = {CHAIN_ABI_OF_ADDRESS(&owner), CHAIN_ABI_OF_BOOL(false),
                             CHAIN_ABI_OF_BOOL(true),      CHAIN_ABI_OF_BOOL(false),
                             CHAIN_ABI_OF_WORD(&device),   CHAIN_ABI_OF_WORD(&compose)};
    const char *wanted = json_string_value(json_object_get(data, "deployAndRegisterApp_calldata"));
    assert_ok(chain_abi_encode_call("deployAndRegisterApp(address,bool,bool,bool,bytes32,bytes32)",
                                    six, 6, &out, &err),
              err);
    assert_hex(bytes_of_buf(&out), wanted + 2);
}

/* The names of the contracts' events, and the topic 0 that each one's hash gives. */
static void the_recorded_logs_have_the_topics_and_data_of_their_events(void **state) {
    static const char *const events[] = {
        "AppRegistered(address)",
        "AppDeployedViaFactory(address,address)",
        "KmsAggregatedMrAdded(bytes32)",
        "KmsDeviceAdded(bytes32)",
        "OsImageHashAdded(bytes32)",
        "OsImageHashRemoved(bytes32)",
        "KmsInfoSet(bytes)",
        "GatewayAppIdSet(string)",
        "PolicyChanged(address,bytes32,bytes32,bool)",
        "ComposeHashAdded(bytes32)",
        "ComposeHashRemoved(bytes32)",
        "DeviceAdded(bytes32)",
        "AllowAnyDeviceSet(bool)",
        "RequireTcbUpToDateSet(bool)",
        "Initialized(uint64)",
        "OwnershipTransferred(address,address)",
        "Upgraded(address)",
    };
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "governance/event-logs.json");
    size_t i;
    json_t *log;
    json_array_foreach(json_object_get(data, "logs"), i, log) {
        chain_word topic, wanted;
        const char *name = NULL;
        dstack_error err = {0};
        const char *text = json_string_value(json_array_get(json_object_get(log, "topics"), 0));
        assert_ok(chain_word_parse(text, &wanted, &err), err);
        for (size_t k = 0; k < sizeof events / sizeof events[0]; k++) {
            chain_abi_topic(events[k], &topic);
            name = memcmp(&topic, &wanted, sizeof topic) == 0 ? events[k] : name;
        }
        if (name == NULL) {
            fail_msg("topic %s is of no event we know", text);
        }
        DSTACK_AUTO(buf) dstack_buf content = {0};
        assert_ok(chain_data_parse(json_string_value(json_object_get(log, "data")), &content, &err),
                  err);
        chain_abi_reader r = chain_abi_read(bytes_of_buf(&content));
        if (strcmp(name, "GatewayAppIdSet(string)") == 0) {
            char gateway[100];
            assert_ok(chain_text_answer(bytes_of_buf(&content), gateway, sizeof gateway, &err),
                      err);
            assert_string_equal(gateway, json_string_value(json_object_get(data, "app")));
        } else if (strstr(name, "(bool)") != NULL || strstr(name, "PolicyChanged") != NULL) {
            (void)chain_abi_get_bool(&r);
            assert_true(chain_abi_ok(&r));
        }
    }
    assert_true(i > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_is_asked_about_in_the_words_of_its_contract),
        cmocka_unit_test(short_hex_is_padded_and_its_prefix_dropped),
        cmocka_unit_test(what_the_reference_refuses_is_refused),
        cmocka_unit_test(long_texts_and_lists_are_refused),
        cmocka_unit_test(a_decision_is_read_and_its_reason_is_one_line),
        cmocka_unit_test(what_is_no_decision_is_never_an_allowance),
        cmocka_unit_test(the_recorded_calls_encode_and_read_the_same),
        cmocka_unit_test(the_recorded_set_up_calls_encode_the_same),
        cmocka_unit_test(the_recorded_logs_have_the_topics_and_data_of_their_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
