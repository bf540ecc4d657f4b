/* Which block to read at.
 *
 * Every node names the block of the tag. The newest number that a quorum has reached is the one to
 * read at: nodes behind it lag and do not count, those ahead of it are asked for that very number. A
 * quorum must name the same block there, time included, and must still have the newest block that
 * was ever read from: a chain that goes back, or whose finalized past changes, is not believed. */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "chain/reader_internal.h"

typedef struct node_view {
    chain_block head;
    chain_block target;
    chain_word seen; /* hash at the number of the newest block seen */
} node_view;

typedef struct head_search {
    node_tasks tasks;
    node_view views[CHAIN_NODES_MAX];
    node_set nodes; /* that still count */
    chain_block seen;
    uint64_t target;
} head_search;

static void question_block(node_task *task, const char *tag) {
    task->questions[task->count++] =
        (chain_question){"eth_getBlockByNumber", json_pack("[s,b]", tag, 0)};
}

static void question_number(node_task *task, uint64_t number) {
    char text[24];
    snprintf(text, sizeof text, "0x%llx", (unsigned long long)number);
    question_block(task, text);
}

static int parse_head(const chain_reader *r, const node_task *task, chain_block *out,
                      dstack_error *err) {
    uint64_t chain_id = 0;
    const char *text = json_string_value(task->results[0]);
    int rc = text != NULL ? chain_quantity_parse(text, &chain_id, err)
                          : error_set(err, DSTACK_E_FORMAT, "chain id is not text");
    if (rc == 0 && chain_id != r->chain_id) {
        rc = error_set(err, DSTACK_E_PEER, "is on chain %llu, not %llu",
                       (unsigned long long)chain_id, (unsigned long long)r->chain_id);
    }
    rc = rc != 0 ? rc : chain_block_parse(task->results[1], out, err);
    return rc != 0 ? error_prefix(err, rc, "%s", chain_node_name(task->node)) : 0;
}

static void ask_heads(chain_reader *r, head_search *s) {
    for (size_t i = 0; i < r->count; i++) {
        node_task *task = &s->tasks.of[i];
        if (s->nodes >> i & 1) {
            task->questions[task->count++] = (chain_question){"eth_chainId", NULL};
            question_block(task, r->tag);
        }
    }
    s->nodes = reader_ask(r, &s->tasks, s->nodes);
    for (size_t i = 0; i < r->count; i++) {
        node_task *task = &s->tasks.of[i];
        if (s->nodes >> i & 1) {
            task->rc = parse_head(r, task, &s->views[i].head, &task->err);
            if (task->rc != 0) {
                reader_drop(r, &s->nodes, i, &task->err);
            }
        }
    }
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        if (s->nodes >> i & 1) {
            r->state.nodes[i].head = s->views[i].head.number;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

/* The newest number that at least `quorum` nodes have. */
static uint64_t reached_by_quorum(const chain_reader *r, const head_search *s) {
    uint64_t best = 0;
    for (size_t i = 0; i < r->count; i++) {
        unsigned have = 0;
        for (size_t k = 0; s->nodes >> i & 1 && k < r->count; k++) {
            have += s->nodes >> k & 1 && s->views[k].head.number >= s->views[i].head.number;
        }
        best = have >= r->quorum && s->views[i].head.number > best ? s->views[i].head.number : best;
    }
    return best;
}

static bool same_block(const chain_block *a, const chain_block *b) {
    return a->number == b->number && a->timestamp == b->timestamp &&
           memcmp(a->hash.bytes, b->hash.bytes, CHAIN_WORD_SIZE) == 0;
}

/* Asks each node that has it for the target, and for the block seen before. */
static void ask_target(chain_reader *r, head_search *s) {
    for (size_t i = 0; i < r->count; i++) {
        if (s->nodes >> i & 1 && s->views[i].head.number < s->target) {
            s->nodes &= ~((node_set)1 << i); /* it lags */
        }
    }
    reader_tasks_clear(&s->tasks);
    for (size_t i = 0; i < r->count; i++) {
        if (s->nodes >> i & 1) {
            question_number(&s->tasks.of[i], s->target);
            question_number(&s->tasks.of[i], s->seen.number);
        }
    }
    s->nodes = reader_ask(r, &s->tasks, s->nodes);
    for (size_t i = 0; i < r->count; i++) {
        node_task *task = &s->tasks.of[i];
        chain_block seen = {0};
        if (s->nodes >> i & 1) {
            task->rc = chain_block_parse(task->results[0], &s->views[i].target, &task->err);
            task->rc =
                task->rc != 0 ? task->rc : chain_block_parse(task->results[1], &seen, &task->err);
            bool as_asked = s->views[i].target.number == s->target && seen.number == s->seen.number;
            if (task->rc == 0 && !as_asked) {
                task->rc = error_set(&task->err, DSTACK_E_FORMAT, "%s: not the block asked for",
                                     chain_node_name(task->node));
            }
            s->views[i].seen = seen.hash;
            if (task->rc != 0) {
                reader_drop(r, &s->nodes, i, &task->err);
            }
        }
    }
    reader_fine(r, s->nodes);
}

static bool same_view(const node_view *a, const node_view *b) {
    return same_block(&a->target, &b->target) &&
           memcmp(a->seen.bytes, b->seen.bytes, CHAIN_WORD_SIZE) == 0;
}

/* The nodes that see the same as node i. */
static node_set agreeing(const chain_reader *r, const head_search *s, size_t i) {
    node_set set = 0;
    for (size_t k = 0; k < r->count; k++) {
        if (s->nodes >> k & 1 && same_view(&s->views[i], &s->views[k])) {
            set |= (node_set)1 << k;
        }
    }
    return set;
}

static int settle(chain_reader *r, head_search *s, size_t *index, dstack_error *err) {
    for (size_t i = 0; i < r->count; i++) {
        node_set same = s->nodes >> i & 1 ? agreeing(r, s, i) : 0;
        if (reader_set_size(same) >= r->quorum) {
            for (size_t k = 0; k < r->count; k++) {
                if (s->nodes >> k & 1 && !(same >> k & 1)) {
                    pthread_mutex_lock(&r->lock);
                    r->state.dissents++;
                    pthread_mutex_unlock(&r->lock);
                    reader_event(r, CHAIN_EVENT_DISSENT, k, "has another block than the quorum");
                }
            }
            s->nodes = same;
            *index = i;
            return 0;
        }
    }
    if (reader_set_size(s->nodes) < r->quorum) {
        return reader_too_few(r, &s->tasks, s->nodes, err);
    }
    return error_set(err, DSTACK_E_PEER, "the chain nodes disagree about block %llu",
                     (unsigned long long)s->target);
}

/* A replaced block is normal before it is final, and never after. */
static int check_past(chain_reader *r, const head_search *s, size_t index, dstack_error *err) {
    const chain_word *is = &s->views[index].seen;
    if (memcmp(is->bytes, s->seen.hash.bytes, CHAIN_WORD_SIZE) == 0) {
        return 0;
    }
    char was[CHAIN_WORD_TEXT], now[CHAIN_WORD_TEXT], text[250];
    chain_word_text(&s->seen.hash, was);
    chain_word_text(is, now);
    snprintf(text, sizeof text, "%s block %llu was %s, and is %s now", r->tag,
             (unsigned long long)s->seen.number, was, now);
    pthread_mutex_lock(&r->lock);
    r->state.reorgs++;
    pthread_mutex_unlock(&r->lock);
    reader_event(r, CHAIN_EVENT_REORG, index, text);
    return strcmp(r->tag, "finalized") == 0 ? error_set(err, DSTACK_E_STATE, "%s", text) : 0;
}

static int search(chain_reader *r, head_search *s, size_t *index, dstack_error *err) {
    ask_heads(r, s);
    if (reader_set_size(s->nodes) < r->quorum) {
        return reader_too_few(r, &s->tasks, s->nodes, err);
    }
    uint64_t reached = reached_by_quorum(r, s);
    s->target = reached > r->confirmations ? reached - r->confirmations : 0;
    bool first = s->seen.number == 0;
    if (first) {
        s->seen.number = s->target;
    } else if (s->target < s->seen.number) {
        return error_set(err, DSTACK_E_STATE,
                         "the chain is at block %llu, behind block %llu seen before",
                         (unsigned long long)s->target, (unsigned long long)s->seen.number);
    }
    ask_target(r, s);
    int rc = settle(r, s, index, err);
    return rc != 0 || first ? rc : check_past(r, s, *index, err);
}

static int search_in(chain_reader *r, node_set nodes, reader_head *out, dstack_error *err) {
    head_search *s = calloc(1, sizeof *s);
    size_t index = 0;
    if (s == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_mutex_lock(&r->lock);
    s->seen = r->seen;
    pthread_mutex_unlock(&r->lock);
    s->nodes = nodes;
    int rc = search(r, s, &index, err);
    if (rc == 0) {
        *out = (reader_head){.block = s->views[index].target,
                             .nodes = s->nodes,
                             .expires = clock_monotonic_ms() + r->cache_ms,
                             .known = true};
    }
    reader_tasks_clear(&s->tasks);
    free(s);
    return rc;
}

/* With head_lock held. */
static int refresh(chain_reader *r, reader_head *out, dstack_error *err) {
    node_set all = reader_all_nodes(r), first = reader_awake(r, all);
    int rc = search_in(r, first, out, err);
    if (rc != 0 && first != all) {
        rc = search_in(r, all, out, err);
    }
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&r->lock);
    bool advanced = out->block.number > r->seen.number;
    r->seen = out->block;
    r->state.block = out->block;
    r->head = *out;
    pthread_mutex_unlock(&r->lock);
    if (advanced && r->on_seen != NULL) {
        r->on_seen(r->user, &out->block);
    }
    return 0;
}

static bool cached(chain_reader *r, reader_head *out) {
    pthread_mutex_lock(&r->lock);
    *out = r->head;
    pthread_mutex_unlock(&r->lock);
    return out->known && clock_monotonic_ms() < out->expires;
}

int reader_find_head(chain_reader *r, bool anew, reader_head *out, dstack_error *err) {
    if (!anew && cached(r, out)) {
        return 0;
    }
    int rc = 0;
    pthread_mutex_lock(&r->head_lock);
    /* Another thread may have looked while this one waited. */
    if (anew || !cached(r, out)) {
        rc = refresh(r, out, err);
    }
    pthread_mutex_unlock(&r->head_lock);
    return rc;
}
