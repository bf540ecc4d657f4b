/* Bringing a transaction onto the chain: what it must say, handing it over, and what became of it. */
#ifndef CHAIN_SUBMIT_H
#define CHAIN_SUBMIT_H

#include "chain/node.h"
#include "chain/transaction.h"

/* The node must be on this chain: DSTACK_E_STATE otherwise. */
int chain_submit_check_id(chain_node *node, uint64_t chain_id, dstack_error *err);

/* Fills nonce, fees and gas_limit of a transaction whose other fields are set. The node tries the
 * call for that: one that would revert fails here, with its reason and at no cost (DSTACK_E_PEER).
 * The maximum fee leaves room for the base fee to double. DSTACK_E_LIMIT when it is above
 * fee_limit (wei per gas). */
int chain_submit_prepare(chain_node *node, const chain_address *from, uint64_t fee_limit,
                         chain_transaction *transaction, dstack_error *err);

/* Hands over what chain_transaction_sign made. The node must name it by the same hash. */
int chain_submit_raw(chain_node *node, dstack_bytes raw, const chain_word *hash, dstack_error *err);

typedef struct chain_receipt {
    chain_word transaction;
    uint64_t block_number;
    chain_word block_hash;
    uint64_t gas_used;
    bool succeeded;
    bool creates;
    chain_address contract; /* when it creates one */
    json_t *logs;           /* array */
} chain_receipt;

void chain_receipt_clear(chain_receipt *receipt);
DSTACK_AUTO_DEFINE_CLEAR(chain_receipt, chain_receipt, chain_receipt_clear)

/* From the result of eth_getTransactionReceipt. DSTACK_E_NOT_FOUND for null: not in a block yet. */
int chain_receipt_parse(const json_t *value, chain_receipt *out, dstack_error *err);
/* Asks for it. The answer must be about this transaction. */
int chain_receipt_get(chain_node *node, const chain_word *transaction, chain_receipt *out,
                      dstack_error *err);

#endif
