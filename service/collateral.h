/* Fetches collateral for quotes of platforms that the verifier does not know yet. One fetch at a
 * time, and none for a moment after a failure: anybody who can show evidence can ask for one. */
#ifndef SERVICE_COLLATERAL_H
#define SERVICE_COLLATERAL_H

#include <dstack/attestation.h>
#include <dstack/collateral.h>

#include "base/auto.h"

typedef struct collateral_fetcher collateral_fetcher;

/* urls: servers in order, copied; none gives a fetcher that refuses. NULL when memory ran out. */
collateral_fetcher *collateral_fetcher_new(const char *const *urls, size_t count,
                                           int64_t timeout_ms);
/* Keeps what was fetched in a folder; "" for none. Before the first fetch. False when memory ran
 * out. */
bool collateral_fetcher_keep_in(collateral_fetcher *fetcher, const char *folder);
void collateral_fetcher_free(collateral_fetcher *fetcher);
/* A dstack_collateral_source whose user is the fetcher. Thread-safe. */
int collateral_fetch_for(void *fetcher, struct dstack_verifier *verifier, dstack_bytes quote,
                         dstack_error *err);
/* Fetches what shall follow `old`, checked by the verifier but not added to it. Thread-safe. */
int collateral_fetch_again(const collateral_fetcher *fetcher, struct dstack_verifier *verifier,
                           const dstack_collateral *old, dstack_collateral **fresh,
                           dstack_error *err);

#endif
