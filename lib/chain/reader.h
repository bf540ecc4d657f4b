/* Reads contracts through several RPC nodes none of which is trusted: a result counts only when
 * `quorum` of them give the same one, at the same block of the pinned chain, recent enough. Anything
 * less is an error, never an answer. Safe to share among threads. */
#ifndef CHAIN_READER_H
#define CHAIN_READER_H

#include "chain/node.h"

#define CHAIN_NODES_MAX 16
#define CHAIN_CALLS_MAX 4

typedef struct chain_reader chain_reader;

typedef enum chain_event {
    CHAIN_EVENT_NODE,    /* a node failed, or is on another chain */
    CHAIN_EVENT_DISSENT, /* a node said something else than the quorum, at the same block */
    CHAIN_EVENT_REORG,   /* a block that was read from has been replaced */
} chain_event;

typedef struct chain_reader_config {
    const char *const *urls;
    size_t url_count; /* 1 to CHAIN_NODES_MAX */
    /* 0: all. More than half of the nodes, so that no two quorums can say different things. */
    unsigned quorum;
    uint64_t chain_id;      /* nodes of any other chain do not count */
    const char *tag;        /* NULL: "finalized"; "safe" or "latest" */
    unsigned confirmations; /* reads that many blocks behind the tag */
    int64_t max_age;        /* seconds that the block read at may be old, 0: 1200 */
    int cache_ms;           /* how long a head and what was read at it are kept; 0: not at all */
    int timeout_ms;         /* of one question to one node, 0: 5000 */
    dstack_bytes ca_pem;    /* the only certificate authorities to trust; empty: the machine's */
    chain_block seen;       /* the newest block ever read at; number 0: none */
    /* Both may be NULL; called without locks held, `seen` only when it advanced. */
    void (*on_event)(void *user, chain_event event, const char *node, const char *text);
    void (*on_seen)(void *user, const chain_block *block);
    void *user;
} chain_reader_config;

/* DSTACK_E_ARGUMENT for what the comments above exclude. Nothing is asked yet. */
chain_reader *chain_reader_new(const chain_reader_config *config, dstack_error *err);
void chain_reader_free(chain_reader *reader);
DSTACK_AUTO_DEFINE(chain_reader, chain_reader, chain_reader_free)

typedef struct chain_call {
    const chain_address *to;
    dstack_bytes calldata;
} chain_call;

typedef struct chain_answers {
    dstack_buf results[CHAIN_CALLS_MAX];
    chain_block block; /* at which all of them were read */
} chain_answers;

void chain_answers_clear(chain_answers *answers);
DSTACK_AUTO_DEFINE_CLEAR(chain_answers, chain_answers, chain_answers_clear)

/* Makes up to CHAIN_CALLS_MAX calls at one block. `now` is trusted UNIX time. DSTACK_E_NETWORK: too
 * few nodes answered; DSTACK_E_PEER: they disagree, or the contract reverted; DSTACK_E_STATE: the
 * block is too old, ahead of time, behind one seen before, or a finalized one was replaced. */
int chain_reader_call(chain_reader *reader, const chain_call *calls, size_t count, int64_t now,
                      chain_answers *out, dstack_error *err);

typedef struct chain_reader_state {
    chain_block block; /* the last one read at; number 0: none yet */
    uint64_t reads;    /* answers given, those from the cache included */
    uint64_t refusals; /* errors instead of answers */
    uint64_t dissents;
    uint64_t reorgs;
    unsigned quorum;
    size_t node_count;
    struct {
        const char *name; /* the reader's */
        uint64_t head;    /* what it last said */
        uint64_t failures;
        char trouble[200]; /* "" while it answers */
    } nodes[CHAIN_NODES_MAX];
} chain_reader_state;

void chain_reader_get_state(chain_reader *reader, chain_reader_state *out);
/* Why the block cannot be relied on at `now`; 0 when it can. */
int chain_reader_check_age(const chain_reader *reader, const chain_block *block, int64_t now,
                           dstack_error *err);

#endif
