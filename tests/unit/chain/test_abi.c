/* Encoding of calls, decoding of results. */
#include "check.h"

#include "chain/abi.h"

#define W(digits) "00000000000000000000000000000000000000000000000000000000000000" digits

/* The examples of the Solidity documentation, "Contract ABI Specification", sections "Examples" and
 * "Use of Dynamic Types". */
static void the_examples_of_the_specification_encode_as_it_says(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    chain_abi_value numbers[] = {CHAIN_ABI_OF_UINT(1), CHAIN_ABI_OF_UINT(2), CHAIN_ABI_OF_UINT(3)};
    chain_abi_value sam[] = {CHAIN_ABI_OF_BYTES(bytes_of_str("dave")),
                             CHAIN_ABI_OF_BOOL(true),
                             {.type = CHAIN_ABI_ARRAY, .items = numbers, .count = 3}};
    assert_ok(chain_abi_encode_call("sam(bytes,bool,uint256[])", sam, 3, &out, &err), err);
    assert_hex(bytes_of_buf(&out),
               "a5643bf2" W("60") W("01") W("a0") W(
                   "04") "6461766500000000000000000000000000000000000000000000000000000000" W("03")
                   W("01") W("02") W("03"));

    buf_reset(&out);
    chain_abi_value few[] = {CHAIN_ABI_OF_UINT(0x456), CHAIN_ABI_OF_UINT(0x789)};
    chain_abi_value f[] = {CHAIN_ABI_OF_UINT(0x123),
                           {.type = CHAIN_ABI_ARRAY, .items = few, .count = 2},
                           {.type = CHAIN_ABI_FIXED, .bytes = bytes_of("1234567890", 10)},
                           CHAIN_ABI_OF_BYTES(bytes_of_str("Hello, world!"))};
    assert_ok(chain_abi_encode_call("f(uint256,uint32[],bytes10,bytes)", f, 4, &out, &err), err);
    assert_hex(
        bytes_of_buf(&out),
        "8be65246"
        "0000000000000000000000000000000000000000000000000000000000000123" W(
            "80") "3132333435363738393000000000000000000000000000000000000000000000" W("e0")
            W("02") "0000000000000000000000000000000000000000000000000000000000000456"
                    "0000000000000000000000000000000000000000000000000000000000000789" W(
                        "0d") "48656c6c6f2c20776f726c642100000000000000000000000000000000000000");
}

static void a_flat_tuple_lies_in_the_head_and_another_in_the_tail(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    chain_abi_value flat[] = {CHAIN_ABI_OF_UINT(1), CHAIN_ABI_OF_UINT(2)};
    chain_abi_value loose[] = {CHAIN_ABI_OF_UINT(3), CHAIN_ABI_OF_BYTES(bytes_of_str(""))};
    chain_abi_value all[] = {{.type = CHAIN_ABI_TUPLE, .items = flat, .count = 2},
                             {.type = CHAIN_ABI_TUPLE, .items = loose, .count = 2}};
    assert_ok(chain_abi_encode(all, 2, &out, &err), err);
    assert_hex(bytes_of_buf(&out), W("01") W("02") W("60") W("03") W("40") W("00"));
}

static void values_of_a_wrong_size_or_depth_are_not_encoded(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    chain_abi_value bad[] = {{.type = CHAIN_ABI_ADDRESS, .bytes = bytes_of("short", 5)},
                             {.type = CHAIN_ABI_WORD, .bytes = bytes_of("short", 5)}};
    chain_abi_value deep[8];
    for (size_t i = 0; i < 7; i++) {
        deep[i] = (chain_abi_value){.type = CHAIN_ABI_ARRAY, .items = &deep[i + 1], .count = 1};
    }
    deep[7] = CHAIN_ABI_OF_UINT(1);
    assert_int_equal(chain_abi_encode(&bad[0], 1, &out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(chain_abi_encode(&bad[1], 1, &out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(chain_abi_encode(&deep[0], 1, &out, NULL), DSTACK_E_ARGUMENT);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool reads_answer(const char *hex, bool *allowed, char *reason) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    put_hex(&data, hex);
    chain_abi_reader r = chain_abi_read(bytes_of_buf(&data));
    *allowed = chain_abi_get_bool(&r);
    dstack_bytes text = chain_abi_get_bytes(&r);
    snprintf(reason, 64, "%.*s", (int)text.len, text.data != NULL ? (const char *)text.data : "");
    return chain_abi_ok(&r);
}

static void a_flag_and_a_text_are_read(void **state) {
    bool allowed;
    char reason[64];
    assert_true(reads_answer(W("01") W("40") W("00"), &allowed, reason));
    assert_true(allowed);
    assert_string_equal(reason, "");
    assert_true(reads_answer(
        W("00") W("40") W("02") "6e6f000000000000000000000000000000000000000000000000000000000000",
        &allowed, reason));
    assert_false(allowed);
    assert_string_equal(reason, "no");
}

static void what_is_cut_off_out_of_bounds_or_not_canonical_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        W("01"),
        W("01") W("40"),
        /* a bool of 2, or with anything before its last byte */
        W("02") W("40") W("00"),
        "0100000000000000000000000000000000000000000000000000000000000001" W("40") W("00"),
        /* offsets and lengths beyond the end, up to those that would wrap around */
        W("01") W("61") W("00"),
        W("01") W("40") W("01"),
        W("01") "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" W("00"),
        W("01") "000000000000000000000000000000000000000000000000ffffffffffffffe0" W("00"),
        W("01") W("40") "000000000000000000000000000000000000000000000000ffffffffffffffff",
        W("01") W("40") "0000000000000000000000000000000000000000000000000000000100000000",
        /* padding that is missing, or not zeros */
        W("00") W("40") W("02") "6e6f",
        W("00") W("40") W("02") "6e6f000000000000000000000000000000000000000000000000000000000001",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bool allowed;
        char reason[64];
        if (reads_answer(bad[i], &allowed, reason)) {
            fail_msg("case %zu was read", i);
        }
    }
}

static void an_array_says_no_more_items_than_it_has(void **state) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    size_t count;
    put_hex(&data, W("20") W("02") W("05") W("06"));
    chain_abi_reader r = chain_abi_read(bytes_of_buf(&data));
    chain_abi_reader items = chain_abi_get_array(&r, &count);
    assert_int_equal(count, 2);
    assert_int_equal(chain_abi_get_uint(&items), 5);
    assert_int_equal(chain_abi_get_uint(&items), 6);
    assert_true(chain_abi_ok(&items) && chain_abi_ok(&r));
    (void)chain_abi_get_uint(&items);
    assert_false(chain_abi_ok(&items));
    chain_abi_join(&r, &items);
    assert_false(chain_abi_ok(&r));

    buf_reset(&data);
    put_hex(&data, W("20") W("03") W("05") W("06"));
    r = chain_abi_read(bytes_of_buf(&data));
    (void)chain_abi_get_array(&r, &count);
    assert_int_equal(count, 0);
    assert_false(chain_abi_ok(&r));
}

static void offsets_that_lead_in_circles_end(void **state) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    put_hex(&data, W("00"));
    chain_abi_reader r = chain_abi_read(bytes_of_buf(&data));
    unsigned steps = 0;
    for (; chain_abi_ok(&r) && steps < 100; steps++) {
        r = chain_abi_get_tuple(&r);
    }
    assert_int_equal(steps, CHAIN_ABI_DEPTH + 1);
}

static void what_is_encoded_reads_back(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    chain_address address = {{1, 2, 3}};
    chain_word word = {{0xff, 4}};
    chain_abi_value inner[] = {CHAIN_ABI_OF_ADDRESS(&address), CHAIN_ABI_OF_WORD(&word),
                               CHAIN_ABI_OF_BYTES(bytes_of_str("text of more than one word, see"))};
    chain_abi_value all[] = {CHAIN_ABI_OF_UINT(UINT64_MAX),
                             {.type = CHAIN_ABI_TUPLE, .items = inner, .count = 3}};
    assert_ok(chain_abi_encode(all, 2, &out, &err), err);
    chain_abi_reader r = chain_abi_read(bytes_of_buf(&out));
    assert_true(chain_abi_get_uint(&r) == UINT64_MAX);
    chain_abi_reader tuple = chain_abi_get_tuple(&r);
    chain_address got = chain_abi_get_address(&tuple);
    chain_word got_word = chain_abi_get_word(&tuple);
    assert_memory_equal(&got, &address, sizeof got);
    assert_memory_equal(&got_word, &word, sizeof word);
    assert_true(bytes_equal_str(chain_abi_get_bytes(&tuple), "text of more than one word, see"));
    assert_true(chain_abi_ok(&tuple) && chain_abi_ok(&r));
}

static void a_revert_is_told_in_words(void **state) {
    static const struct {
        const char *data;
        const char *text;
    } cases[] = {
        {"08c379a0" W("20")
             W("02") "6e6f000000000000000000000000000000000000000000000000000000000000",
         "no"},
        {"08c379a0" W("20")
             W("02") "6e0a000000000000000000000000000000000000000000000000000000000000",
         "n?"},
        {"118cdaa7" W("01"), "OwnableUnauthorizedAccount(address)"},
        {"f92ee8a9", "InvalidInitialization()"},
        {"08c379a0", "0x08c379a0"},
        {"01020304", "0x01020304"},
        {"", "no reason given"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf data = {0};
        char text[200];
        put_hex(&data, cases[i].data);
        chain_abi_revert_text(bytes_of_buf(&data), text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_specification_encode_as_it_says),
        cmocka_unit_test(a_flat_tuple_lies_in_the_head_and_another_in_the_tail),
        cmocka_unit_test(values_of_a_wrong_size_or_depth_are_not_encoded),
        cmocka_unit_test(a_flag_and_a_text_are_read),
        cmocka_unit_test(what_is_cut_off_out_of_bounds_or_not_canonical_is_refused),
        cmocka_unit_test(an_array_says_no_more_items_than_it_has),
        cmocka_unit_test(offsets_that_lead_in_circles_end),
        cmocka_unit_test(what_is_encoded_reads_back),
        cmocka_unit_test(a_revert_is_told_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
