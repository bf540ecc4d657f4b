#include "service/collateral.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/verifier.h>

#include "base/clock.h"
#include "base/error.h"
#include "service/log.h"

#define PAUSE_AFTER_FAILURE_MS 5000
/* Nobody waits for a renewal. */
#define RETRIES_AGAIN 2

struct collateral_fetcher {
    pthread_mutex_t lock;
    char **urls;
    size_t count;
    int64_t timeout_ms;
    char *folder;      /* NULL: nothing is kept */
    int64_t failed_ms; /* monotonic time of the last failure; 0 for none */
};

collateral_fetcher *collateral_fetcher_new(const char *const *urls, size_t count,
                                           int64_t timeout_ms) {
    collateral_fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (fetcher == NULL || (fetcher->urls = calloc(count + 1, sizeof *fetcher->urls)) == NULL) {
        free(fetcher);
        return NULL;
    }
    pthread_mutex_init(&fetcher->lock, NULL);
    fetcher->timeout_ms = timeout_ms;
    for (size_t i = 0; i < count; i++) {
        fetcher->urls[i] = strdup(urls[i]);
        if (fetcher->urls[i] == NULL) {
            collateral_fetcher_free(fetcher);
            return NULL;
        }
        fetcher->count++;
    }
    return fetcher;
}

bool collateral_fetcher_keep_in(collateral_fetcher *fetcher, const char *folder) {
    free(fetcher->folder);
    fetcher->folder = folder[0] == '\0' ? NULL : strdup(folder);
    return folder[0] == '\0' || fetcher->folder != NULL;
}

void collateral_fetcher_free(collateral_fetcher *fetcher) {
    if (fetcher != NULL) {
        for (size_t i = 0; i < fetcher->count; i++) {
            free(fetcher->urls[i]);
        }
        free(fetcher->urls);
        free(fetcher->folder);
        pthread_mutex_destroy(&fetcher->lock);
        free(fetcher);
    }
}

/* What never changes after the first fetch: no lock is needed. */
static dstack_collateral_servers servers_of(const collateral_fetcher *fetcher,
                                            dstack_verifier *verifier) {
    return (dstack_collateral_servers){.urls = (const char *const *)fetcher->urls,
                                       .url_count = fetcher->count,
                                       .timeout_ms = fetcher->timeout_ms,
                                       .cache = fetcher->folder,
                                       .verifier = verifier};
}

/* With the lock held. */
static int fetch(collateral_fetcher *fetcher, dstack_verifier *verifier, dstack_bytes quote,
                 dstack_error *err) {
    /* Somebody before us in the queue may have brought it. */
    if (dstack_verifier_has_collateral(verifier, quote, clock_unix())) {
        return 0;
    }
    int64_t now = clock_monotonic_ms();
    if (fetcher->failed_ms != 0 && now - fetcher->failed_ms < PAUSE_AFTER_FAILURE_MS) {
        return error_set(err, DSTACK_E_NETWORK, "the last fetch failed a moment ago");
    }
    const dstack_collateral_servers servers = servers_of(fetcher, verifier);
    dstack_collateral *collateral = NULL;
    int rc = dstack_collateral_fetch(&collateral, quote, &servers, err);
    rc = rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
    dstack_collateral_free(collateral);
    fetcher->failed_ms = rc != 0 ? clock_monotonic_ms() : 0;
    if (rc == 0) {
        LOG_INFO("collateral fetched");
    }
    return rc;
}

int collateral_fetch_for(void *user, struct dstack_verifier *verifier, dstack_bytes quote,
                         dstack_error *err) {
    collateral_fetcher *fetcher = user;
    if (fetcher->count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         "no collateral for this platform, and no server to ask for it");
    }
    pthread_mutex_lock(&fetcher->lock);
    int rc = fetch(fetcher, verifier, quote, err);
    pthread_mutex_unlock(&fetcher->lock);
    return rc;
}

int collateral_fetch_again(const collateral_fetcher *fetcher, struct dstack_verifier *verifier,
                           const dstack_collateral *old, dstack_collateral **fresh,
                           dstack_error *err) {
    if (fetcher->count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "there is no server to ask for newer collateral");
    }
    dstack_collateral_servers servers = servers_of(fetcher, verifier);
    servers.retries = RETRIES_AGAIN;
    return dstack_collateral_refetch(&servers, old, fresh, err);
}
