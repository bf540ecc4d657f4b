/* All logs of a contract, from nodes that answer only so much at once. */
#ifndef DSTACK_CLI_CHAIN_LOGS_H
#define DSTACK_CLI_CHAIN_LOGS_H

#include "chain/chain.h"

/* Appends what chain_event_parse makes of every log of `contract` in blocks first to last, in the
 * order of the chain. A node that finds the range too large is asked for its halves. */
int chain_logs_read(chain_node *node, const chain_address *contract, uint64_t first, uint64_t last,
                    json_t *events, dstack_error *err);

/* Which entries are allowed after these events: an object with an array of values for each policy
 * that has any, for example {"compose-hash": ["0x…"]}. NULL when memory ran out. */
json_t *chain_logs_entries(const json_t *events);

#endif
