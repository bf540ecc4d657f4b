#include "chain_logs.h"

#include <inttypes.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "chain/event.h"

#define LOGS_MAX 1000000
#define SPANS_MAX 80 /* halving 2^64 blocks leaves fewer than this waiting */

static int ask(chain_node *node, const char *address, uint64_t first, uint64_t last, json_t **out,
               dstack_error *err) {
    char from[20], to[20];
    snprintf(from, sizeof from, "0x%" PRIx64, first);
    snprintf(to, sizeof to, "0x%" PRIx64, last);
    return chain_node_ask(
        node, "eth_getLogs",
        json_pack("[{s:s, s:s, s:s}]", "address", address, "fromBlock", from, "toBlock", to), out,
        err);
}

/* A log from elsewhere, or out of order, would make the trail say what the chain doesn't. */
static int take(const json_t *logs, const char *address, uint64_t first, uint64_t last,
                json_t *events, dstack_error *err) {
    const json_t *log;
    size_t i;
    int rc = json_is_array(logs) ? 0 : error_set(err, DSTACK_E_FORMAT, "logs are no array");
    int64_t before = -1;
    json_array_foreach(logs, i, log) {
        json_t *event = NULL;
        rc = rc != 0 ? rc : chain_event_parse(log, &event, err);
        if (rc != 0) {
            break;
        }
        json_array_append_new(events, event);
        int64_t block = json_integer_value(json_object_get(event, "block"));
        if (strcmp(json_string_value(json_object_get(event, "contract")), address) != 0 ||
            block < before || (uint64_t)block < first || (uint64_t)block > last) {
            rc = error_set(err, DSTACK_E_FORMAT, "a log that was not asked for");
        }
        before = block;
    }
    if (rc == 0 && json_array_size(events) > LOGS_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "more than %d events: name a later --from-block",
                       LOGS_MAX);
    }
    return rc;
}

int chain_logs_read(chain_node *node, const chain_address *contract, uint64_t first, uint64_t last,
                    json_t *events, dstack_error *err) {
    struct {
        uint64_t first, last;
    } spans[SPANS_MAX] = {{first, last}};
    char address[CHAIN_ADDRESS_TEXT];
    size_t count = first <= last ? 1 : 0;
    int rc = 0;
    chain_address_text(contract, address);
    while (rc == 0 && count > 0) {
        DSTACK_AUTO(json) json_t *logs = NULL;
        uint64_t from = spans[count - 1].first, to = spans[count - 1].last;
        count--;
        rc = ask(node, address, from, to, &logs, err);
        bool too_much = rc == DSTACK_E_PEER || rc == DSTACK_E_LIMIT;
        if (too_much && from < to && count + 2 <= SPANS_MAX) {
            uint64_t middle = from + (to - from) / 2;
            spans[count].first = middle + 1;
            spans[count++].last = to;
            spans[count].first = from;
            spans[count++].last = middle;
            rc = 0;
        } else if (rc == 0) {
            rc = take(logs, address, from, to, events, err);
        }
    }
    return rc;
}

/* Policies whose values are settings, not entries of a list. */
static bool is_list(const char *policy) {
    static const char *const lists[] = {"os-image",       "kms-aggregated-mr", "kms-device",
                                        "registered-app", "approved-app",      "compose-hash",
                                        "device",         "refused-advisory"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(policy, lists[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void apply(json_t *sets, const json_t *values) {
    const char *policy = json_string_value(json_object_get(values, "policy"));
    const char *value = json_string_value(json_object_get(values, "value"));
    json_t *set = json_object_get(sets, policy);
    if (!is_list(policy)) {
        return;
    }
    if (set == NULL) {
        set = json_object();
        json_object_set_new(sets, policy, set);
    }
    if (json_is_true(json_object_get(values, "enabled"))) {
        json_object_set_new(set, value, json_true());
    } else {
        json_object_del(set, value);
    }
}

json_t *chain_logs_entries(const json_t *events) {
    DSTACK_AUTO(json) json_t *sets = json_object();
    json_t *out = json_object(), *set;
    const json_t *event;
    const char *policy;
    size_t i;
    json_array_foreach(events, i, event) {
        if (strcmp(json_string_value(json_object_get(event, "event")), "PolicyChanged") == 0) {
            apply(sets, json_object_get(event, "values"));
        }
    }
    json_object_foreach(sets, policy, set) {
        json_t *list = json_array(), *unused;
        const char *value;
        json_object_foreach(set, value, unused) {
            json_array_append_new(list, json_string(value));
        }
        if (json_array_size(list) > 0) {
            json_object_set(out, policy, list);
        }
        json_decref(list);
    }
    return out;
}
