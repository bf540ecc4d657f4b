/* A verdict as the JSON that the reference's clients read, and the chain of trust beside it. */
#ifndef VERIFIER_ANSWER_H
#define VERIFIER_ANSWER_H

#include "engine.h"

/* {"is_valid", "details", "reason"} with every key of the reference's answer in its order; when
 * evidence was decoded, "trust" (trust.h); `insecure` adds "insecure_dev": true. NULL when memory
 * ran out. */
json_t *answer_json(const verdict *v, bool insecure);

/* "trust": time and its source, where the image came from, every claim with its anchor, and the
 * steps of the chain, each {"id", "parent", "title", "status", "anchor", "detail", "inputs"}. */
json_t *trust_json(const verdict *v);

#endif
