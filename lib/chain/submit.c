#include "chain/submit.h"

#include <inttypes.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

/* Of a block's gas; a call that needs more could never be included. */
#define GAS_MAX 30000000
/* For whoever makes the block, where the node has no opinion. */
#define USUAL_PRIORITY_FEE 1000000000

int chain_submit_check_id(chain_node *node, uint64_t chain_id, dstack_error *err) {
    uint64_t found = 0;
    int rc = chain_node_chain_id(node, &found, err);
    if (rc == 0 && found != chain_id) {
        rc = error_set(err, DSTACK_E_STATE, "%s is on chain %" PRIu64 ", not on %" PRIu64,
                       chain_node_name(node), found, chain_id);
    }
    return rc;
}

static int ask_quantity(chain_node *node, const char *method, json_t *params, uint64_t *out,
                        dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    int rc = chain_node_ask(node, method, params, &result, err);
    if (rc == 0 && !json_is_string(result)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: %s: not a quantity", chain_node_name(node),
                       method);
    }
    return rc != 0 ? rc : chain_quantity_parse(json_string_value(result), out, err);
}

/* What eth_estimateGas takes. */
static json_t *call_json(const chain_address *from, const chain_transaction *t, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    char sender[CHAIN_ADDRESS_TEXT], to[CHAIN_ADDRESS_TEXT], value[20];
    chain_address_text(from, sender);
    chain_address_text(&t->to, to);
    snprintf(value, sizeof value, "0x%" PRIx64, t->value);
    chain_data_put(&data, t->data);
    json_t *call =
        json_pack("{s:s,s:s,s:s}", "from", sender, "data", buf_text(&data), "value", value);
    if (call == NULL || (!t->creates && json_object_set_new(call, "to", json_string(to)) != 0)) {
        json_decref(call);
        call = NULL;
        error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return call;
}

static int find_fees(chain_node *node, uint64_t fee_limit, chain_transaction *t,
                     dstack_error *err) {
    DSTACK_AUTO(json) json_t *block = NULL;
    const char *text;
    uint64_t base = 0;
    int rc =
        chain_node_ask(node, "eth_getBlockByNumber", json_pack("[s,b]", "latest", 0), &block, err);
    rc = rc != 0 ? rc : json_need_str(block, "baseFeePerGas", &text, err);
    rc = rc != 0 ? rc : chain_quantity_parse(text, &base, err);
    if (rc == 0 && ask_quantity(node, "eth_maxPriorityFeePerGas", NULL, &t->priority_fee, NULL)) {
        t->priority_fee = USUAL_PRIORITY_FEE;
    }
    if (rc == 0 && (base > UINT64_MAX / 4 || t->priority_fee > UINT64_MAX / 4 ||
                    2 * base + t->priority_fee > fee_limit)) {
        rc = error_set(err, DSTACK_E_LIMIT,
                       "the chain asks %" PRIu64 " + %" PRIu64
                       " wei per gas, and twice the first may come to more than the limit of "
                       "%" PRIu64,
                       base, t->priority_fee, fee_limit);
    }
    t->max_fee = 2 * base + t->priority_fee;
    return rc;
}

int chain_submit_prepare(chain_node *node, const chain_address *from, uint64_t fee_limit,
                         chain_transaction *t, dstack_error *err) {
    char sender[CHAIN_ADDRESS_TEXT];
    uint64_t gas = 0;
    chain_address_text(from, sender);
    json_t *call = call_json(from, t, err);
    if (call == NULL) {
        return DSTACK_E_MEMORY;
    }
    int rc = ask_quantity(node, "eth_estimateGas", json_pack("[o]", call), &gas, err);
    rc = rc != 0 ? rc
                 : ask_quantity(node, "eth_getTransactionCount",
                                json_pack("[s,s]", sender, "pending"), &t->nonce, err);
    rc = rc != 0 ? rc : find_fees(node, fee_limit, t, err);
    if (rc == 0 && gas > GAS_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "%s: %" PRIu64 " gas is more than a block holds",
                       chain_node_name(node), gas);
    }
    t->gas_limit = gas + gas / 5; /* state may change before the block: some room */
    return rc;
}

int chain_submit_raw(chain_node *node, dstack_bytes raw, const chain_word *hash,
                     dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(json) json_t *result = NULL;
    chain_word named;
    chain_data_put(&text, raw);
    int rc = buf_check(&text, err);
    rc = rc != 0 ? rc
                 : chain_node_ask(node, "eth_sendRawTransaction", json_pack("[s]", buf_text(&text)),
                                  &result, err);
    if (rc == 0 && (chain_word_parse(json_is_string(result) ? json_string_value(result) : "",
                                     &named, NULL) != 0 ||
                    memcmp(named.bytes, hash->bytes, sizeof named.bytes) != 0)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s names the transaction by another hash",
                       chain_node_name(node));
    }
    return rc;
}

void chain_receipt_clear(chain_receipt *receipt) {
    json_decref(receipt->logs);
    *receipt = (chain_receipt){0};
}

static int need_quantity(const json_t *value, const char *key, uint64_t *out, dstack_error *err) {
    const char *text;
    int rc = json_need_str(value, key, &text, err);
    return rc != 0 ? rc : chain_quantity_parse(text, out, err);
}

static int need_word(const json_t *value, const char *key, chain_word *out, dstack_error *err) {
    const char *text;
    int rc = json_need_str(value, key, &text, err);
    return rc != 0 ? rc : chain_word_parse(text, out, err);
}

int chain_receipt_parse(const json_t *value, chain_receipt *out, dstack_error *err) {
    const char *contract;
    json_t *logs;
    uint64_t status = 0;
    *out = (chain_receipt){0};
    if (value == NULL || json_is_null(value)) {
        return error_set(err, DSTACK_E_NOT_FOUND, "the transaction is in no block yet");
    }
    int rc = need_word(value, "transactionHash", &out->transaction, err);
    rc = rc != 0 ? rc : need_quantity(value, "blockNumber", &out->block_number, err);
    rc = rc != 0 ? rc : need_word(value, "blockHash", &out->block_hash, err);
    rc = rc != 0 ? rc : need_quantity(value, "gasUsed", &out->gas_used, err);
    rc = rc != 0 ? rc : need_quantity(value, "status", &status, err);
    rc = rc != 0 ? rc : json_str_or(value, "contractAddress", "", &contract, err);
    rc = rc != 0 ? rc : json_need_array(value, "logs", &logs, err);
    if (rc == 0 && status > 1) {
        rc = error_set(err, DSTACK_E_FORMAT, "status is neither 0 nor 1");
    }
    if (rc == 0 && contract[0] != 0) {
        out->creates = true;
        rc = chain_address_parse(contract, &out->contract, err);
    }
    if (rc == 0) {
        out->succeeded = status == 1;
        out->logs = json_incref(logs);
    }
    return rc != 0 ? error_prefix(err, rc, "receipt") : 0;
}

int chain_receipt_get(chain_node *node, const chain_word *transaction, chain_receipt *out,
                      dstack_error *err) {
    DSTACK_AUTO(json) json_t *result = NULL;
    char text[CHAIN_WORD_TEXT];
    *out = (chain_receipt){0};
    chain_word_text(transaction, text);
    int rc =
        chain_node_ask(node, "eth_getTransactionReceipt", json_pack("[s]", text), &result, err);
    rc = rc != 0 ? rc : chain_receipt_parse(result, out, err);
    if (rc == 0 && memcmp(out->transaction.bytes, transaction->bytes, CHAIN_WORD_SIZE) != 0) {
        chain_receipt_clear(out);
        rc = error_set(err, DSTACK_E_FORMAT, "%s: receipt of another transaction",
                       chain_node_name(node));
    }
    return rc;
}
