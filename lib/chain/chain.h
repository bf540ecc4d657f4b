/* What is common to everything that speaks to an EVM chain: its values and their text forms.
 * abi.h encodes calls and reads answers, node.h asks one RPC node, reader.h several of them. */
#ifndef CHAIN_CHAIN_H
#define CHAIN_CHAIN_H

#include "chain/abi.h"
#include "chain/node.h"
#include "chain/value.h"

#endif
