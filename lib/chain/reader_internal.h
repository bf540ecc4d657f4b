/* What the files of the reader share. */
#ifndef CHAIN_READER_INTERNAL_H
#define CHAIN_READER_INTERNAL_H

#include <pthread.h>

#include "chain/reader.h"

#define READER_CACHE 64
#define READER_REST_MS 60000
#define READER_FUTURE 120 /* seconds that a block may be ahead of us */

typedef uint32_t node_set; /* bit i: node i */

/* Questions to one node, and its answers. */
typedef struct node_task {
    chain_node *node;
    chain_question questions[CHAIN_CALLS_MAX];
    size_t count;
    json_t *results[CHAIN_CALLS_MAX];
    int rc;
    dstack_error err;
} node_task;

typedef struct node_tasks {
    node_task of[CHAIN_NODES_MAX];
} node_tasks;

typedef struct reader_head {
    chain_block block;
    node_set nodes;  /* those that have it */
    int64_t expires; /* clock_monotonic_ms() */
    bool known;
} reader_head;

typedef struct cached_answer {
    chain_word key; /* hash of the calls */
    chain_word block;
    chain_answers answers;
    bool used;
} cached_answer;

struct chain_reader {
    chain_node *nodes[CHAIN_NODES_MAX];
    size_t count;
    unsigned quorum;
    uint64_t chain_id;
    char tag[12];
    unsigned confirmations;
    int64_t max_age;
    int cache_ms;
    void (*on_event)(void *user, chain_event event, const char *node, const char *text);
    void (*on_seen)(void *user, const chain_block *block);
    void *user;
    pthread_mutex_t head_lock; /* one thread at a time looks for the head */
    pthread_mutex_t lock;      /* what follows */
    reader_head head;
    chain_block seen;
    int64_t rest_until[CHAIN_NODES_MAX]; /* nodes that failed are left alone for a while */
    cached_answer cache[READER_CACHE];
    size_t cache_next;
    chain_reader_state state;
};

/* ---- reader_nodes.c ---------------------------------------------------------------------------
 */

unsigned reader_set_size(node_set set);
node_set reader_all_nodes(const chain_reader *r);
/* Those of `from` that are not at rest, or all of `from` where they would be too few. */
node_set reader_awake(chain_reader *r, node_set from);
void reader_tasks_clear(node_tasks *tasks);
DSTACK_AUTO_DEFINE_CLEAR(node_tasks, node_tasks, reader_tasks_clear)
/* Asks all nodes of the set at once; returns those that answered. */
node_set reader_ask(chain_reader *r, node_tasks *tasks, node_set set);
/* Takes a node out of the set for how it answered, and leaves it alone for a while. */
void reader_drop(chain_reader *r, node_set *set, size_t index, const dstack_error *why);
/* These nodes answered as they should. */
void reader_fine(chain_reader *r, node_set set);
void reader_event(chain_reader *r, chain_event event, size_t index, const char *text);
/* "2 of 3 nodes are needed, 1 answered: <why the first other one did not>" */
int reader_too_few(const chain_reader *r, const node_tasks *tasks, node_set good,
                   dstack_error *err);

/* ---- reader_head.c ----------------------------------------------------------------------------
 */

/* The block to read at, from the cache unless `anew`. */
int reader_find_head(chain_reader *r, bool anew, reader_head *out, dstack_error *err);

#endif
