/* One RPC node of an EVM chain (Ethereum JSON-RPC over HTTP). A node is never trusted alone: its
 * word is one of several in reader.h. Safe to share among threads. */
#ifndef CHAIN_NODE_H
#define CHAIN_NODE_H

#include <jansson.h>

#include "base/auto.h"
#include "chain/value.h"

typedef struct chain_node chain_node;

typedef struct chain_node_config {
    const char *url;   /* http, https, or unix:<path>; may hold an access key, so it isn't shown */
    int timeout_ms;    /* of one question, 0: 5000 */
    unsigned attempts; /* 0: 2; again only where the network failed before an answer came */
    size_t answer_limit; /* bytes, 0: 1 MiB */
    dstack_bytes ca_pem; /* the only certificate authorities to trust; empty: the machine's */
} chain_node_config;

/* DSTACK_E_ARGUMENT for a bad URL or certificate. Nothing is asked yet. */
chain_node *chain_node_new(const chain_node_config *config, dstack_error *err);
void chain_node_free(chain_node *node);
DSTACK_AUTO_DEFINE(chain_node, chain_node, chain_node_free)
/* Scheme and host, without the path: for logs and pages. */
const char *chain_node_name(const chain_node *node);

typedef struct chain_question {
    const char *method;
    json_t *params; /* an array, taken over; NULL: none */
} chain_question;

/* Asks one thing. *result is the caller's (json_decref). DSTACK_E_PEER with the node's message for
 * an error of its own (a revert's reason is decoded), DSTACK_E_FORMAT for an answer that is none,
 * DSTACK_E_NETWORK, _TIMEOUT, _LIMIT. Errors start with the node's name. */
int chain_node_ask(chain_node *node, const char *method, json_t *params, json_t **result,
                   dstack_error *err);
/* Asks several things in one exchange, CHAIN_BATCH_MAX at most. results[i] answers questions[i]; on
 * failure of any, all are NULL. */
#define CHAIN_BATCH_MAX 16
int chain_node_ask_all(chain_node *node, const chain_question *questions, size_t count,
                       json_t **results, dstack_error *err);

/* eth_chainId */
int chain_node_chain_id(chain_node *node, uint64_t *out, dstack_error *err);

typedef struct chain_block {
    uint64_t number;
    uint64_t timestamp; /* UNIX time in seconds */
    chain_word hash;
} chain_block;

/* From the result of eth_getBlockByNumber. DSTACK_E_NOT_FOUND for null: the node hasn't it. */
int chain_block_parse(const json_t *value, chain_block *out, dstack_error *err);
/* tag: "latest", "finalized", "safe" or a quantity. */
int chain_node_block(chain_node *node, const char *tag, chain_block *out, dstack_error *err);
/* eth_call at a tag ("latest", ...); appends what it returned. */
int chain_node_call(chain_node *node, const chain_address *to, dstack_bytes calldata,
                    const char *tag, dstack_buf *out, dstack_error *err);

#endif
