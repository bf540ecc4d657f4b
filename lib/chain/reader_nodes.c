#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "chain/reader_internal.h"

unsigned reader_set_size(node_set set) {
    return (unsigned)__builtin_popcount(set);
}

node_set reader_all_nodes(const chain_reader *r) {
    return ((node_set)1 << r->count) - 1;
}

node_set reader_awake(chain_reader *r, node_set from) {
    node_set awake = 0;
    int64_t now = clock_monotonic_ms();
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        awake |= r->rest_until[i] <= now ? (node_set)1 << i : 0;
    }
    pthread_mutex_unlock(&r->lock);
    return reader_set_size(awake & from) >= r->quorum ? awake & from : from;
}

void reader_tasks_clear(node_tasks *tasks) {
    for (size_t i = 0; i < CHAIN_NODES_MAX; i++) {
        for (size_t k = 0; k < CHAIN_CALLS_MAX; k++) {
            json_decref(tasks->of[i].results[k]);
        }
    }
    memset(tasks, 0, sizeof *tasks);
}

void reader_event(chain_reader *r, chain_event event, size_t index, const char *text) {
    if (r->on_event != NULL) {
        r->on_event(r->user, event, index < r->count ? chain_node_name(r->nodes[index]) : "", text);
    }
}

void reader_fine(chain_reader *r, node_set set) {
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
        if (set >> i & 1) {
            r->state.nodes[i].trouble[0] = 0;
            r->rest_until[i] = 0;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

/* Told only when it is news. */
void reader_drop(chain_reader *r, node_set *set, size_t index, const dstack_error *why) {
    *set &= ~((node_set)1 << index);
    pthread_mutex_lock(&r->lock);
    bool news = r->state.nodes[index].trouble[0] == 0;
    r->state.nodes[index].failures++;
    snprintf(r->state.nodes[index].trouble, sizeof r->state.nodes[index].trouble, "%.199s",
             why->message);
    r->rest_until[index] = clock_monotonic_ms() + READER_REST_MS;
    pthread_mutex_unlock(&r->lock);
    if (news) {
        reader_event(r, CHAIN_EVENT_NODE, index, why->message);
    }
}

static void *run(void *user) {
    node_task *task = user;
    task->rc =
        chain_node_ask_all(task->node, task->questions, task->count, task->results, &task->err);
    return NULL;
}

/* A node that answers with an error of its own (a revert, a block that it lacks) is well. */
static bool is_unwell(int rc) {
    return rc != 0 && rc != DSTACK_E_PEER;
}

node_set reader_ask(chain_reader *r, node_tasks *tasks, node_set set) {
    pthread_t threads[CHAIN_NODES_MAX];
    node_set running = 0, answered = 0;
    size_t last = 0;
    for (size_t i = 0; i < r->count; i++) {
        last = set >> i & 1 ? i : last;
    }
    for (size_t i = 0; i < r->count; i++) {
        tasks->of[i].node = r->nodes[i];
        /* The last one in this thread; so also any for which there is no other. */
        if (set >> i & 1) {
            if (i != last && pthread_create(&threads[i], NULL, run, &tasks->of[i]) == 0) {
                running |= (node_set)1 << i;
            } else {
                run(&tasks->of[i]);
            }
        }
    }
    for (size_t i = 0; i < r->count; i++) {
        if (running >> i & 1) {
            pthread_join(threads[i], NULL);
        }
        if (set >> i & 1 && tasks->of[i].rc == 0) {
            answered |= (node_set)1 << i;
        } else if (set >> i & 1 && is_unwell(tasks->of[i].rc)) {
            reader_drop(r, &set, i, &tasks->of[i].err);
        }
    }
    return answered;
}

int reader_too_few(const chain_reader *r, const node_tasks *tasks, node_set good,
                   dstack_error *err) {
    const char *why = "the others were not asked";
    for (size_t i = 0; i < r->count; i++) {
        if (tasks->of[i].rc != 0) {
            why = tasks->of[i].err.message;
            break;
        }
    }
    return error_set(err, DSTACK_E_NETWORK, "%u of %zu chain nodes are needed, %u can be used: %s",
                     r->quorum, r->count, reader_set_size(good), why);
}
