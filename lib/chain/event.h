/* What the logs of the contracts say. */
#ifndef CHAIN_EVENT_H
#define CHAIN_EVENT_H

#include <jansson.h>

#include "chain/value.h"

/* Reads one log as JSON-RPC gives it (eth_getLogs, receipts). *out is the caller's:
 * {"block": 7, "index": 0, "transaction": "0x…", "contract": "0x…", "event": "ComposeHashAdded",
 *  "values": {"composeHash": "0x…"}}. Names of policies appear in place of their hashes. Logs of
 * other contracts' events have the event "unknown" with topics and data as values. DSTACK_E_FORMAT
 * for what is no log, or a known event with values of another form. */
int chain_event_parse(const json_t *log, json_t **out, dstack_error *err);

/* The hash by which contracts name a policy ("compose-hash", ...). */
void chain_policy_hash(const char *name, chain_word *out);

#endif
