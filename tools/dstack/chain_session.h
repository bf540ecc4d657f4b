/* What the commands of `dstack chain` share: the node, the key, and how calls reach the chain. */
#ifndef DSTACK_CLI_CHAIN_SESSION_H
#define DSTACK_CLI_CHAIN_SESSION_H

#include "base/auto.h"
#include "chain/chain.h"
#include "chain/submit.h"
#include "cli.h"

/* Options of commands that only read. */
#define CHAIN_READ_OPTIONS                                                                         \
    {"rpc", 0, "URL", "RPC node of the chain"}, {"chain-id", 0, "N", "the chain it must be on"}, { \
        "timeout", 0, "SECONDS", "wait so long for a block or an answer (default 180)"             \
    }
/* Options of commands that make transactions. */
#define CHAIN_WRITE_OPTIONS                                                                        \
    CHAIN_READ_OPTIONS, {"key", 0, "FILE", "private key of the sender, in a file of mode 0600"},   \
        {"max-fee", 0, "GWEI", "refuse to pay more per gas (default 500)"}, {                      \
        "confirmations", 0, "N", "blocks that must hold the transaction (default 1)"               \
    }
/* Options of commands that call contracts, which may also be called by their owner's own means. */
#define CHAIN_CALL_OPTIONS                                                                         \
    CHAIN_WRITE_OPTIONS, {"calldata", 0, NULL, "print the calls instead of sending them"},         \
        {"timelock", 0, "ADDRESS", "schedule the call with the timelock that owns the contract"},  \
        {"delay", 0, "SECONDS", "with --timelock: until it may be executed"},                      \
        {"salt", 0, "HEX", "with --timelock: 32 bytes that make equal calls distinct"}, {          \
        "execute", 0, NULL, "with --timelock: execute what was scheduled before"                   \
    }

struct chain_session {
    struct cli *cli;
    chain_node *node; /* NULL with --calldata */
    uint64_t chain_id;
    int64_t timeout_ms;
    dstack_secret *key; /* NULL when only reading */
    chain_address from;
    uint64_t fee_limit; /* wei per gas */
    int64_t confirmations;
};

void chain_session_clear(struct chain_session *s);
DSTACK_AUTO_DEFINE_CLEAR(chain_session, struct chain_session, chain_session_clear)

/* Opens the node that --rpc names and holds it to --chain-id. */
int chain_session_open_read(struct cli *cli, struct chain_session *s, dstack_error *err);
/* The same, and the key of --key. With --calldata nothing is opened. */
int chain_session_open_write(struct cli *cli, struct chain_session *s, dstack_error *err);

/* Reads a private key: 64 hex digits in a file that only its owner can read. NULL on failure. */
dstack_secret *chain_key_read(const char *path, dstack_error *err);

struct chain_step {
    const char *what; /* "addComposeHash": for people */
    chain_address to;
    bool creates;
    dstack_buf data;
};
#define CHAIN_STEPS_MAX 4
struct chain_steps {
    struct chain_step steps[CHAIN_STEPS_MAX];
    size_t count;
};
void chain_steps_clear(struct chain_steps *steps);
DSTACK_AUTO_DEFINE_CLEAR(chain_steps, struct chain_steps, chain_steps_clear)

/* Adds a call: signature "name(types)", values in step with it. */
int chain_steps_add(struct chain_steps *steps, const chain_address *to, const char *signature,
                    const chain_abi_value *values, size_t count, dstack_error *err);

/* Sends one step and waits until it is in a block, and as deep as --confirmations asks. A reverted
 * one is an error. */
int chain_session_send(struct chain_session *s, const struct chain_step *step,
                       chain_receipt *receipt, dstack_error *err);
/* What a receipt says, for output: transaction, block, gas and events. NULL on failure. */
json_t *chain_receipt_json(const chain_receipt *receipt, dstack_error *err);

/* Does all steps in order and prints what became of them; with --calldata prints the calls, with
 * --timelock they go through it. */
int chain_session_perform(struct chain_session *s, const struct chain_steps *steps,
                          dstack_error *err);

/* An address option that is needed, or may be absent (*given says). */
int chain_option_address(struct cli *cli, const char *name, chain_address *out, bool *given,
                         dstack_error *err);
int chain_need_address(struct cli *cli, const char *name, chain_address *out, dstack_error *err);

#endif
