#include "chain/reader.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "chain/reader_internal.h"
#include "crypto/hash.h"

#define DEFAULT_MAX_AGE 1200

/* ---- making -----------------------------------------------------------------------------------
 */

static int check_config(const chain_reader_config *config, dstack_error *err) {
    const char *tag = config->tag != NULL ? config->tag : "finalized";
    if (config->url_count < 1 || config->url_count > CHAIN_NODES_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "1 to %d chain nodes are needed, not %zu",
                         CHAIN_NODES_MAX, config->url_count);
    }
    if (config->quorum > config->url_count ||
        (config->quorum != 0 && 2 * (size_t)config->quorum <= config->url_count)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a quorum of %u among %zu chain nodes is not more than half of them",
                         config->quorum, config->url_count);
    }
    if (strcmp(tag, "finalized") != 0 && strcmp(tag, "safe") != 0 && strcmp(tag, "latest") != 0) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "block tag must be finalized, safe or latest, not %.40s", tag);
    }
    if (config->chain_id == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "the chain id is not given");
    }
    return 0;
}

static int open_nodes(chain_reader *r, const chain_reader_config *config, dstack_error *err) {
    for (size_t i = 0; i < config->url_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(config->urls[i], config->urls[k]) == 0) {
                return error_set(err, DSTACK_E_ARGUMENT, "chain nodes %zu and %zu are the same",
                                 k + 1, i + 1);
            }
        }
        /* One that fails is made up for by another; where there is no other, it is asked again. */
        chain_node_config node = {.url = config->urls[i],
                                  .timeout_ms = config->timeout_ms,
                                  .attempts = config->url_count > 1 ? 1 : 2,
                                  .ca_pem = config->ca_pem};
        r->nodes[i] = chain_node_new(&node, err);
        if (r->nodes[i] == NULL) {
            return DSTACK_E_ARGUMENT;
        }
        r->state.nodes[i].name = chain_node_name(r->nodes[i]);
        r->count++;
    }
    return 0;
}

chain_reader *chain_reader_new(const chain_reader_config *config, dstack_error *err) {
    if (check_config(config, err) != 0) {
        return NULL;
    }
    chain_reader *r = calloc(1, sizeof *r);
    if (r == NULL) {
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&r->head_lock, NULL);
    pthread_mutex_init(&r->lock, NULL);
    r->quorum = config->quorum != 0 ? config->quorum : (unsigned)config->url_count;
    r->chain_id = config->chain_id;
    snprintf(r->tag, sizeof r->tag, "%s", config->tag != NULL ? config->tag : "finalized");
    r->confirmations = config->confirmations;
    r->max_age = config->max_age > 0 ? config->max_age : DEFAULT_MAX_AGE;
    r->cache_ms = config->cache_ms;
    r->seen = config->seen;
    r->on_event = config->on_event;
    r->on_seen = config->on_seen;
    r->user = config->user;
    if (open_nodes(r, config, err) != 0) {
        chain_reader_free(r);
        return NULL;
    }
    r->state.quorum = r->quorum;
    r->state.node_count = r->count;
    return r;
}

void chain_reader_free(chain_reader *r) {
    if (r != NULL) {
        for (size_t i = 0; i < r->count; i++) {
            chain_node_free(r->nodes[i]);
        }
        for (size_t i = 0; i < READER_CACHE; i++) {
            chain_answers_clear(&r->cache[i].answers);
        }
        pthread_mutex_destroy(&r->head_lock);
        pthread_mutex_destroy(&r->lock);
        free(r);
    }
}

void chain_answers_clear(chain_answers *answers) {
    for (size_t i = 0; i < CHAIN_CALLS_MAX; i++) {
        dstack_buf_clear(&answers->results[i]);
    }
    answers->block = (chain_block){0};
}

void chain_reader_get_state(chain_reader *r, chain_reader_state *out) {
    pthread_mutex_lock(&r->lock);
    *out = r->state;
    pthread_mutex_unlock(&r->lock);
}

/* ---- age --------------------------------------------------------------------------------------
 */

int chain_reader_check_age(const chain_reader *r, const chain_block *block, int64_t now,
                           dstack_error *err) {
    unsigned long long number = block->number;
    if (block->timestamp > INT64_MAX || (int64_t)block->timestamp > now + READER_FUTURE) {
        return error_set(err, DSTACK_E_STATE, "block %llu of the chain is ahead of time", number);
    }
    int64_t age = now - (int64_t)block->timestamp;
    if (age > r->max_age) {
        return error_set(err, DSTACK_E_STATE,
                         "the policy is stale: block %llu of the chain is %lld s old, more than "
                         "%lld s",
                         number, (long long)age, (long long)r->max_age);
    }
    return 0;
}

/* ---- cache ------------------------------------------------------------------------------------
 */

static void hash_calls(const chain_call *calls, size_t count, chain_word *out) {
    DSTACK_AUTO(buf) dstack_buf all = {0};
    for (size_t i = 0; i < count; i++) {
        buf_put(&all, calls[i].to->bytes, CHAIN_ADDRESS_SIZE);
        buf_put_u64be(&all, calls[i].calldata.len);
        buf_put_bytes(&all, calls[i].calldata);
    }
    hash_sha256(bytes_of_buf(&all), out->bytes);
}

static bool same_word(const chain_word *a, const chain_word *b) {
    return memcmp(a->bytes, b->bytes, CHAIN_WORD_SIZE) == 0;
}

static int copy_answers(const chain_answers *from, size_t count, chain_answers *to,
                        dstack_error *err) {
    int rc = 0;
    chain_answers_clear(to);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        buf_put_bytes(&to->results[i], bytes_of_buf(&from->results[i]));
        rc = buf_check(&to->results[i], err);
    }
    to->block = from->block;
    return rc;
}

static bool recall(chain_reader *r, const chain_word *key, const reader_head *head, size_t count,
                   chain_answers *out) {
    bool found = false;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; !found && i < READER_CACHE; i++) {
        const cached_answer *entry = &r->cache[i];
        found = entry->used && same_word(&entry->key, key) &&
                same_word(&entry->block, &head->block.hash) &&
                copy_answers(&entry->answers, count, out, NULL) == 0;
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

static void keep(chain_reader *r, const chain_word *key, const reader_head *head, size_t count,
                 const chain_answers *answers) {
    if (r->cache_ms > 0) {
        pthread_mutex_lock(&r->lock);
        cached_answer *entry = &r->cache[r->cache_next++ % READER_CACHE];
        entry->used = copy_answers(answers, count, &entry->answers, NULL) == 0;
        entry->key = *key;
        entry->block = head->block.hash;
        pthread_mutex_unlock(&r->lock);
    }
}

/* ---- calls ------------------------------------------------------------------------------------
 */

/* eth_call at a block named by its hash, which must be on the node's chain (EIP-1898). */
static json_t *call_params(const chain_call *call, const chain_block *block) {
    DSTACK_AUTO(buf) dstack_buf data = {0};
    char to[CHAIN_ADDRESS_TEXT], hash[CHAIN_WORD_TEXT];
    chain_address_text(call->to, to);
    chain_word_text(&block->hash, hash);
    chain_data_put(&data, call->calldata);
    return json_pack("[{s:s,s:s},{s:s,s:b}]", "to", to, "data", buf_text(&data), "blockHash", hash,
                     "requireCanonical", 1);
}

static int parse_results(const node_task *task, chain_answers *out, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < task->count; i++) {
        const char *text = json_string_value(task->results[i]);
        rc = text != NULL ? chain_data_parse(text, &out->results[i], err)
                          : error_set(err, DSTACK_E_FORMAT, "result of a call is not text");
    }
    return rc != 0 ? error_prefix(err, rc, "%s", chain_node_name(task->node)) : 0;
}

static bool same_answers(const chain_answers *a, const chain_answers *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!bytes_equal(bytes_of_buf(&a->results[i]), bytes_of_buf(&b->results[i]))) {
            return false;
        }
    }
    return true;
}

typedef struct polling {
    node_tasks tasks;
    chain_answers answers[CHAIN_NODES_MAX];
    node_set nodes;
} polling;

static node_set with_same_answers(const chain_reader *r, const polling *p, size_t index,
                                  size_t count) {
    node_set set = 0;
    for (size_t k = 0; k < r->count; k++) {
        if (p->nodes >> k & 1 && same_answers(&p->answers[index], &p->answers[k], count)) {
            set |= (node_set)1 << k;
        }
    }
    return set;
}

/* A quorum of nodes that all say that the contract reverts, in the same words, is an answer too:
 * one that is no answer of the contract. */
static int agreed_revert(const chain_reader *r, const polling *p, node_set asked,
                         dstack_error *err) {
    static const char words[] = "execution reverted";
    for (size_t i = 0; i < r->count; i++) {
        const char *text = strstr(p->tasks.of[i].err.message, words);
        unsigned same = 0;
        for (size_t k = 0; text != NULL && asked >> i & 1 && k < r->count; k++) {
            const char *other = strstr(p->tasks.of[k].err.message, words);
            same += asked >> k & 1 && other != NULL && strcmp(text, other) == 0;
        }
        if (same >= r->quorum) {
            return error_set(err, DSTACK_E_PEER, "the contract gave no answer: %s", text);
        }
    }
    return 0;
}

static int count_votes(chain_reader *r, const polling *p, size_t count, size_t *index,
                       dstack_error *err) {
    for (size_t i = 0; i < r->count; i++) {
        node_set same = p->nodes >> i & 1 ? with_same_answers(r, p, i, count) : 0;
        if (reader_set_size(same) >= r->quorum) {
            for (size_t k = 0; k < r->count; k++) {
                if (p->nodes >> k & 1 && !(same >> k & 1)) {
                    pthread_mutex_lock(&r->lock);
                    r->state.dissents++;
                    pthread_mutex_unlock(&r->lock);
                    reader_event(r, CHAIN_EVENT_DISSENT, k, "gave another answer than the quorum");
                }
            }
            *index = i;
            return 0;
        }
    }
    if (reader_set_size(p->nodes) < r->quorum) {
        return reader_too_few(r, &p->tasks, p->nodes, err);
    }
    return error_set(err, DSTACK_E_PEER, "the chain nodes disagree about what the contract says");
}

static int poll_nodes(chain_reader *r, polling *p, const chain_call *calls, size_t count,
                      const reader_head *head, chain_answers *out, dstack_error *err) {
    node_set asked = reader_awake(r, head->nodes);
    size_t index = 0;
    for (size_t i = 0; i < r->count; i++) {
        for (size_t k = 0; asked >> i & 1 && k < count; k++) {
            p->tasks.of[i].questions[p->tasks.of[i].count++] =
                (chain_question){"eth_call", call_params(&calls[k], &head->block)};
        }
    }
    p->nodes = reader_ask(r, &p->tasks, asked);
    for (size_t i = 0; i < r->count; i++) {
        node_task *task = &p->tasks.of[i];
        if (p->nodes >> i & 1) {
            task->rc = parse_results(task, &p->answers[i], &task->err);
            if (task->rc != 0) {
                reader_drop(r, &p->nodes, i, &task->err);
            }
        }
    }
    reader_fine(r, p->nodes);
    int rc = agreed_revert(r, p, asked, err);
    rc = rc != 0 ? rc : count_votes(r, p, count, &index, err);
    if (rc == 0) {
        p->answers[index].block = head->block;
        rc = copy_answers(&p->answers[index], count, out, err);
    }
    return rc;
}

static int call_at(chain_reader *r, const chain_call *calls, size_t count, const reader_head *head,
                   chain_answers *out, dstack_error *err) {
    polling *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = poll_nodes(r, p, calls, count, head, out, err);
    for (size_t i = 0; i < CHAIN_NODES_MAX; i++) {
        chain_answers_clear(&p->answers[i]);
    }
    reader_tasks_clear(&p->tasks);
    free(p);
    return rc;
}

static int call(chain_reader *r, const chain_call *calls, size_t count, int64_t now,
                chain_answers *out, dstack_error *err) {
    chain_word key;
    hash_calls(calls, count, &key);
    for (unsigned round = 0;; round++) {
        reader_head head;
        int rc = reader_find_head(r, round > 0, &head, err);
        rc = rc != 0 ? rc : chain_reader_check_age(r, &head.block, now, err);
        if (rc != 0 || recall(r, &key, &head, count, out)) {
            return rc;
        }
        rc = call_at(r, calls, count, &head, out, err);
        if (rc == 0) {
            keep(r, &key, &head, count, out);
        }
        /* The block may have been replaced, or its nodes gone, since it was looked up. */
        if (rc == 0 || round > 0) {
            return rc;
        }
    }
}

int chain_reader_call(chain_reader *r, const chain_call *calls, size_t count, int64_t now,
                      chain_answers *out, dstack_error *err) {
    chain_answers_clear(out);
    if (count < 1 || count > CHAIN_CALLS_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "%zu calls at once", count);
    }
    int rc = call(r, calls, count, now, out, err);
    pthread_mutex_lock(&r->lock);
    r->state.reads += rc == 0;
    r->state.refusals += rc != 0;
    pthread_mutex_unlock(&r->lock);
    return rc;
}
