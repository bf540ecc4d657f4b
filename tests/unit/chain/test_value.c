/* Addresses, words, quantities and data as text. */
#include "check.h"

#include "chain/value.h"

static void addresses_are_written_with_their_checksum(void **state) {
    /* The examples of EIP-55. */
    static const char *const examples[] = {
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        chain_address address;
        char text[CHAIN_ADDRESS_TEXT];
        dstack_error err = {0};
        assert_ok(chain_address_parse(examples[i], &address, &err), err);
        chain_address_text(&address, text);
        assert_string_equal(text, examples[i]);
    }
}

static void an_address_of_one_case_needs_no_checksum(void **state) {
    chain_address a, b;
    dstack_error err = {0};
    assert_ok(chain_address_parse("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", &a, &err), err);
    assert_ok(chain_address_parse("5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED", &b, &err), err);
    assert_memory_equal(&a, &b, sizeof a);
}

static void a_mistyped_address_is_refused(void **state) {
    static const char *const bad[] = {"",
                                      "0x",
                                      "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
                                      "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
                                      "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd",
                                      "0x5gAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        chain_address address;
        assert_int_equal(chain_address_parse(bad[i], &address, NULL), DSTACK_E_FORMAT);
    }
}

static void quantities_have_one_form(void **state) {
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0x0", 0}, {"0x1", 1}, {"0x7a69", 31337}, {"0xffffffffffffffff", UINT64_MAX}};
    static const char *const bad[] = {"",     "0x",   "0",   "1",    "0x00",
                                      "0x01", "0X1",  "-1",  "0x-1", "0x10000000000000000",
                                      "0xg",  " 0x1", "0x1 "};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t value = 7;
        dstack_error err = {0};
        assert_ok(chain_quantity_parse(good[i].text, &value, &err), err);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t value;
        assert_int_equal(chain_quantity_parse(bad[i], &value, NULL), DSTACK_E_FORMAT);
    }
}

static void data_needs_its_prefix_and_whole_bytes(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(chain_data_parse("0x00fFa5", &out, &err), err);
    assert_hex(bytes_of_buf(&out), "00ffa5");
    assert_int_equal(chain_data_parse("00ff", &out, NULL), DSTACK_E_FORMAT);
    assert_int_equal(chain_data_parse("0x0", &out, NULL), DSTACK_E_FORMAT);
    assert_int_equal(chain_data_parse("", &out, NULL), DSTACK_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_written_with_their_checksum),
        cmocka_unit_test(an_address_of_one_case_needs_no_checksum),
        cmocka_unit_test(a_mistyped_address_is_refused),
        cmocka_unit_test(quantities_have_one_form),
        cmocka_unit_test(data_needs_its_prefix_and_whole_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
