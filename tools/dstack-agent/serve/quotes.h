/* Quotes for callers. */
#ifndef AGENT_SERVE_QUOTES_H
#define AGENT_SERVE_QUOTES_H

#include "guest_v0.pb-c.h"
#include "serve/agent.h"

/* Fills a GetQuote answer with evidence over the 64 bytes. */
int quote_answer(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                 DstackGuest__GetQuoteResponse *out, dstack_error *err);

#endif
