#include "service/collateral_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include <dstack/refresh.h>
#include <dstack/verifier.h>

#include "base/clock.h"
#include "base/error.h"
#include "service/log.h"

#define MAX_SECONDS ((int64_t)30 * 86400)

struct collateral_watch {
    collateral_fetcher *fetcher;
    dstack_verifier *verifier;
    dstack_refresher *refresher;
    metrics_series *renewed, *failed, *bundles, *until;
};

/* ---- what the refresher's thread calls ---- */

static int refetch(void *user, const dstack_collateral *old, dstack_collateral **fresh,
                   dstack_error *err) {
    const collateral_watch *w = user;
    return collateral_fetch_again(w->fetcher, w->verifier, old, fresh, err);
}

/* The status says which of the failures of one kind it is; the text, where and why. */
static void failed(void *user, const dstack_error *err) {
    const collateral_watch *w = user;
    int64_t until = 0;
    char left[32];
    (void)dstack_verifier_collateral_count(w->verifier, &until);
    until -= clock_unix();
    snprintf(left, sizeof left, "%lld", (long long)(until < 0 ? 0 : until));
    metrics_add(w->failed, 1);
    if (until < 0) {
        LOG_ERROR("collateral has ended and could not be renewed: quotes of its platforms are "
                  "refused",
                  "status", dstack_status_name(err->status), "reason", err->message);
    } else {
        LOG_WARN("collateral could not be renewed, the old one serves until it ends",
                 "seconds_left", left, "status", dstack_status_name(err->status), "reason",
                 err->message);
    }
}

static void looked(void *user, size_t renewed) {
    const collateral_watch *w = user;
    int64_t until = 0;
    char count[24];
    snprintf(count, sizeof count, "%zu", renewed);
    metrics_set(w->bundles, (int64_t)dstack_verifier_collateral_count(w->verifier, &until));
    metrics_set(w->until, until);
    metrics_add(w->renewed, (int64_t)renewed);
    if (renewed > 0) {
        LOG_INFO("collateral renewed", "bundles", count);
    }
}

/* ---- configuration, start and end ---- */

static int64_t seconds(const service_config *config, const char *prefix, const char *name) {
    char key[80];
    snprintf(key, sizeof key, "%s.%s", prefix, name);
    int64_t ms = config_duration_ms(config, key);
    return ms < 0 ? -1 : ms / 1000;
}

int config_collateral_renewal_check(const service_config *config, const char *prefix,
                                    dstack_error *err) {
    static const char *const names[] = {"ahead", "interval", "retry"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t value = seconds(config, prefix, names[i]);
        if (value < 1 || value > MAX_SECONDS) {
            return error_set(err, DSTACK_E_FORMAT, "%s.%s must be 1s to 720h", prefix, names[i]);
        }
    }
    return 0;
}

static bool open_series(collateral_watch *w, metrics *registry) {
    static const char *const name = "dstack_collateral_renewals_total";
    static const char *const help =
        "Bundles of collateral renewed, and rounds in which one could not be.";
    w->renewed = metrics_get(registry, METRICS_COUNTER, name, "outcome=\"renewed\"", help);
    w->failed = metrics_get(registry, METRICS_COUNTER, name, "outcome=\"failed\"", help);
    w->bundles = metrics_get(registry, METRICS_GAUGE, "dstack_collateral_bundles", "",
                             "Bundles of collateral kept.");
    w->until = metrics_get(registry, METRICS_GAUGE, "dstack_collateral_until_seconds", "",
                           "When the first bundle ends, UNIX time; 0: there is none.");
    return w->renewed != NULL && w->failed != NULL && w->bundles != NULL && w->until != NULL;
}

int collateral_watch_start(collateral_watch **out, collateral_fetcher *fetcher,
                           struct dstack_verifier *verifier, const service_config *config,
                           const char *prefix, metrics *registry, dstack_error *err) {
    DSTACK_AUTO(collateral_watch) collateral_watch *w = calloc(1, sizeof *w);
    if (w == NULL || !open_series(w, registry)) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    w->fetcher = fetcher;
    w->verifier = verifier;
    const dstack_refresher_options options = {
        .refetch = refetch,
        .failed = failed,
        .looked = looked,
        .user = w,
        .ahead_seconds = seconds(config, prefix, "ahead"),
        .interval_seconds = seconds(config, prefix, "interval"),
        .retry_seconds = seconds(config, prefix, "retry"),
    };
    int rc = dstack_refresher_start(&w->refresher, verifier, &options, err);
    if (rc == 0) {
        *out = w;
        w = NULL;
    }
    return rc;
}

void collateral_watch_stop(collateral_watch *w) {
    if (w != NULL) {
        dstack_refresher_stop(w->refresher);
        free(w);
    }
}
