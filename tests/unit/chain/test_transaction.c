/* RLP and signed transactions, against vectors that ethers made (transactions.mjs). */
#include "check.h"

#include "chain/rlp.h"
#include "chain/submit.h"
#include "chain/transaction.h"
#include "crypto/hash.h"

#define VECTORS "tests/unit/chain/transactions.json"

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL) {
        fail_msg("no text %s", key);
    }
    return text;
}

static uint64_t decimal_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value)
                                  : strtoull(text_of(object, key), NULL, 10);
}

static void put_data(dstack_buf *out, const char *text) {
    dstack_error err = {0};
    assert_ok(chain_data_parse(text, out, &err), err);
}

static void put_item(dstack_buf *out, const char *hex) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    put_data(&bytes, hex);
    rlp_put_bytes(out, bytes_of_buf(&bytes));
}

static void encode_vector(const json_t *vector, dstack_buf *out) {
    const json_t *list = json_object_get(vector, "list"), *item;
    size_t i;
    if (list != NULL) {
        DSTACK_AUTO(buf) dstack_buf items = {0};
        json_array_foreach(list, i, item) {
            put_item(&items, json_string_value(item));
        }
        rlp_put_list(out, &items);
    } else if (json_object_get(vector, "byte") != NULL) {
        DSTACK_AUTO(buf) dstack_buf bytes = {0};
        for (uint64_t n = decimal_of(vector, "count"); n > 0; n--) {
            put_data(&bytes, text_of(vector, "byte"));
        }
        rlp_put_bytes(out, bytes_of_buf(&bytes));
    } else {
        put_item(out, text_of(vector, "bytes"));
    }
}

static void rlp_is_what_ethers_writes(void **state) {
    DSTACK_AUTO(json) json_t *vectors = load_json(VECTORS);
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(vectors, "rlp"), i, vector) {
        DSTACK_AUTO(buf) dstack_buf encoded = {0};
        encode_vector(vector, &encoded);
        if (json_object_get(vector, "keccak") != NULL) {
            uint8_t hash[HASH_KECCAK256_SIZE];
            hash_keccak256(bytes_of_buf(&encoded), hash);
            assert_hex(bytes_of(hash, sizeof hash), text_of(vector, "keccak") + 2);
        } else {
            assert_hex(bytes_of_buf(&encoded), text_of(vector, "encoded") + 2);
        }
    }
    assert_true(i > 10);
}

static void numbers_have_no_leading_zeros(void **state) {
    static const struct {
        uint64_t value;
        const char *hex;
    } cases[] = {{0, "80"},     {1, "01"},       {127, "7f"},
                 {128, "8180"}, {256, "820100"}, {UINT64_MAX, "88ffffffffffffffff"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        rlp_put_uint(&out, cases[i].value);
        assert_hex(bytes_of_buf(&out), cases[i].hex);
    }
    DSTACK_AUTO(buf) dstack_buf out = {0};
    rlp_put_number(&out, bytes_of("\0\0\1\2", 4));
    rlp_put_number(&out, bytes_of("\0\0", 2));
    assert_hex(bytes_of_buf(&out), "82010280");
}

static void check_transaction(const json_t *vector) {
    DSTACK_AUTO(buf) dstack_buf key = {0}, data = {0}, raw = {0};
    dstack_error err = {0};
    chain_address from, created;
    chain_word hash;
    char text[CHAIN_ADDRESS_TEXT];
    put_data(&key, text_of(vector, "key"));
    put_data(&data, text_of(vector, "data"));
    chain_transaction t = {
        .chain_id = decimal_of(vector, "chain_id"),
        .nonce = decimal_of(vector, "nonce"),
        .priority_fee = decimal_of(vector, "priority_fee"),
        .max_fee = decimal_of(vector, "max_fee"),
        .gas_limit = decimal_of(vector, "gas_limit"),
        .creates = json_is_null(json_object_get(vector, "to")),
        .value = decimal_of(vector, "value"),
        .data = bytes_of_buf(&data),
    };
    if (!t.creates) {
        assert_ok(chain_address_parse(text_of(vector, "to"), &t.to, &err), err);
    }
    assert_ok(chain_key_address(key.data, &from, &err), err);
    chain_address_text(&from, text);
    assert_string_equal(text, text_of(vector, "from"));
    assert_ok(chain_transaction_sign(&t, key.data, &raw, &hash, &err), err);
    assert_hex(bytes_of_buf(&raw), text_of(vector, "raw") + 2);
    assert_hex(bytes_of(hash.bytes, sizeof hash.bytes), text_of(vector, "hash") + 2);
    chain_created_address(&from, t.nonce, &created);
    chain_address_text(&created, text);
    assert_string_equal(text, text_of(vector, "created"));
}

static void signed_transactions_are_what_ethers_signs(void **state) {
    DSTACK_AUTO(json) json_t *vectors = load_json(VECTORS);
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(vectors, "transactions"), i, vector) {
        check_transaction(vector);
    }
    assert_true(i >= 10);
}

static void a_transaction_without_chain_or_with_too_small_a_fee_is_not_signed(void **state) {
    uint8_t key[K256_SECRET_SIZE] = {1}, none[K256_SECRET_SIZE] = {0};
    chain_transaction t = {.chain_id = 1, .priority_fee = 2, .max_fee = 2};
    chain_word hash;
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    assert_ok(chain_transaction_sign(&t, key, &raw, &hash, &err), err);
    assert_int_equal(chain_transaction_sign(&t, none, &raw, &hash, NULL), DSTACK_E_CRYPTO);
    t.max_fee = 1;
    assert_int_equal(chain_transaction_sign(&t, key, &raw, &hash, NULL), DSTACK_E_ARGUMENT);
    t = (chain_transaction){.chain_id = 0};
    assert_int_equal(chain_transaction_sign(&t, key, &raw, &hash, NULL), DSTACK_E_ARGUMENT);
}

static json_t *receipt_json(void) {
    static const char text[] =
        "{\"transactionHash\":"
        "\"0x1111111111111111111111111111111111111111111111111111111111111111\","
        "\"blockHash\":\"0x2222222222222222222222222222222222222222222222222222222222222222\","
        "\"blockNumber\":\"0x10\",\"gasUsed\":\"0x5208\",\"status\":\"0x1\","
        "\"contractAddress\":\"0x5FbDB2315678afecb367f032d93F642f64180aa3\",\"logs\":[]}";
    return json_parse(bytes_of_str(text), sizeof text, "receipt", NULL);
}

static void a_receipt_is_read(void **state) {
    DSTACK_AUTO(json) json_t *value = receipt_json();
    DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
    dstack_error err = {0};
    assert_ok(chain_receipt_parse(value, &receipt, &err), err);
    assert_true(receipt.succeeded && receipt.creates);
    assert_int_equal(receipt.block_number, 16);
    assert_int_equal(receipt.gas_used, 21000);
    assert_hex(bytes_of(receipt.contract.bytes, 20), "5fbdb2315678afecb367f032d93f642f64180aa3");
}

static void a_receipt_that_is_none_is_refused(void **state) {
    static const char *const broken[][2] = {
        {"transactionHash", "0x11"},
        {"blockHash", ""},
        {"blockNumber", "16"},
        {"gasUsed", "0x"},
        {"status", "0x2"},
        {"status", "yes"},
        {"logs", "[]"},
        {"contractAddress", "0x1"},
    };
    chain_receipt receipt;
    assert_int_equal(chain_receipt_parse(json_null(), &receipt, NULL), DSTACK_E_NOT_FOUND);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        DSTACK_AUTO(json) json_t *value = receipt_json();
        json_object_set_new(value, broken[i][0], json_string(broken[i][1]));
        assert_int_equal(chain_receipt_parse(value, &receipt, NULL), DSTACK_E_FORMAT);
        json_object_del(value, broken[i][0]);
        if (strcmp(broken[i][0], "contractAddress") != 0) {
            assert_true(chain_receipt_parse(value, &receipt, NULL) < 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rlp_is_what_ethers_writes),
        cmocka_unit_test(numbers_have_no_leading_zeros),
        cmocka_unit_test(signed_transactions_are_what_ethers_signs),
        cmocka_unit_test(a_transaction_without_chain_or_with_too_small_a_fee_is_not_signed),
        cmocka_unit_test(a_receipt_is_read),
        cmocka_unit_test(a_receipt_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
