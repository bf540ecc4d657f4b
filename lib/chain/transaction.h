/* Transactions with the fee market (EIP-1559), signed here: a key never goes to a node. */
#ifndef CHAIN_TRANSACTION_H
#define CHAIN_TRANSACTION_H

#include "chain/value.h"
#include "crypto/k256.h"

typedef struct chain_transaction {
    uint64_t chain_id; /* part of what is signed: the transaction holds on no other chain */
    uint64_t nonce;
    uint64_t priority_fee; /* wei per gas for whoever makes the block */
    uint64_t max_fee;      /* wei per gas in all, at least priority_fee */
    uint64_t gas_limit;
    bool creates; /* a contract; `to` does not count then */
    chain_address to;
    uint64_t value; /* wei */
    dstack_bytes data;
} chain_transaction;

/* Appends the signed transaction as eth_sendRawTransaction takes it; *hash is its name on the chain.
 * DSTACK_E_ARGUMENT for a chain id of 0 or a max_fee below priority_fee, DSTACK_E_CRYPTO for a key
 * that is none. */
int chain_transaction_sign(const chain_transaction *transaction,
                           const uint8_t secret[K256_SECRET_SIZE], dstack_buf *raw,
                           chain_word *hash, dstack_error *err);

/* The account of a key: the last 20 bytes of the hash of its public key. DSTACK_E_CRYPTO for a key
 * that is none. */
int chain_key_address(const uint8_t secret[K256_SECRET_SIZE], chain_address *out,
                      dstack_error *err);

/* Where the contract comes to lie that `sender` creates by its transaction number `nonce`. */
void chain_created_address(const chain_address *sender, uint64_t nonce, chain_address *out);

#endif
