/* Renews the collateral of a service's verifier before it ends, in the background, and says how that
 * goes: in the log, and as metrics
 *
 *     dstack_collateral_renewals_total{outcome="renewed"}  bundles that were replaced
 *     dstack_collateral_renewals_total{outcome="failed"}   rounds in which one could not be
 *     dstack_collateral_bundles                            bundles kept
 *     dstack_collateral_until_seconds                      when the first of them ends; 0: there is
 *                                                          none
 *
 * What could not be renewed serves until its own dates end, and not a second longer: the verifier
 * sees to that, whether or not anybody watches. */
#ifndef SERVICE_COLLATERAL_WATCH_H
#define SERVICE_COLLATERAL_WATCH_H

#include "service/collateral.h"
#include "service/config.h"
#include "service/metrics.h"

typedef struct collateral_watch collateral_watch;

/* The keys that say when: PREFIX.ahead, PREFIX.interval, PREFIX.retry. */
#define CONFIG_COLLATERAL_RENEWAL(PREFIX)                                                          \
    {PREFIX ".ahead", CONFIG_DURATION, "24h",                                                      \
     "fetched collateral is renewed this long before its "                                         \
     "end"},                                                                                       \
        {PREFIX ".interval", CONFIG_DURATION, "1h", "between two looks whether any ends"}, {       \
        PREFIX ".retry", CONFIG_DURATION, "5m", "the same after one that failed"                   \
    }

/* All of them 1 s to 30 days. */
int config_collateral_renewal_check(const service_config *config, const char *prefix,
                                    dstack_error *err);

/* fetcher, verifier and registry outlive the watch. A fetcher without servers renews nothing, but
 * is told of: what ends soon and cannot be renewed is a warning either way. */
int collateral_watch_start(collateral_watch **out, collateral_fetcher *fetcher,
                           struct dstack_verifier *verifier, const service_config *config,
                           const char *prefix, metrics *registry, dstack_error *err);
/* Waits for a fetch under way. Accepts NULL. */
void collateral_watch_stop(collateral_watch *watch);
DSTACK_AUTO_DEFINE(collateral_watch, collateral_watch, collateral_watch_stop)

#endif
