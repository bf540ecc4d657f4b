#include "service/snp_certs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "service/log.h"

/* Chips remembered, each with some five kilobytes. */
#define REMEMBERED 256
/* A list is looked at anew after this long. Verification holds every date against its own time. */
#define FRESH_MS ((int64_t)3600 * 1000)
#define PAUSE_AFTER_FAILURE_MS 5000
#define PAUSE_FOR_UNKNOWN_CHIP_MS 60000

typedef struct remembered {
    uint8_t key[HASH_SHA256_SIZE]; /* of chip, TCB and signing key as reported */
    dstack_snp_certs certs;        /* empty: nobody certifies this chip */
    int64_t until_ms;              /* monotonic; 0: an empty place */
} remembered;

struct snp_fetcher {
    pthread_mutex_t memory;   /* of known, next */
    pthread_mutex_t fetching; /* held while the network is asked */
    char **urls;
    size_t count;
    int64_t timeout_ms;
    char *folder;
    int64_t failed_ms; /* monotonic time of the last failure of the network; 0 for none */
    remembered known[REMEMBERED];
    size_t next;
};

snp_fetcher *snp_fetcher_new(const char *const *urls, size_t count, int64_t timeout_ms,
                             const char *cache) {
    snp_fetcher *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return NULL;
    }
    pthread_mutex_init(&f->memory, NULL);
    pthread_mutex_init(&f->fetching, NULL);
    f->timeout_ms = timeout_ms;
    f->urls = calloc(count + 1, sizeof *f->urls);
    f->folder = cache[0] == '\0' ? NULL : strdup(cache);
    bool whole = f->urls != NULL && (cache[0] == '\0' || f->folder != NULL);
    for (size_t i = 0; whole && i < count; i++) {
        f->urls[i] = strdup(urls[i]);
        whole = f->urls[i] != NULL;
        f->count += whole;
    }
    if (!whole) {
        snp_fetcher_free(f);
        return NULL;
    }
    return f;
}

void snp_fetcher_free(snp_fetcher *f) {
    if (f == NULL) {
        return;
    }
    for (size_t i = 0; i < f->count; i++) {
        free(f->urls[i]);
    }
    for (size_t i = 0; i < REMEMBERED; i++) {
        dstack_snp_certs_clear(&f->known[i].certs);
    }
    free(f->urls);
    free(f->folder);
    pthread_mutex_destroy(&f->memory);
    pthread_mutex_destroy(&f->fetching);
    free(f);
}

/* ---- memory ---- */

static int key_of(dstack_bytes raw, uint8_t key[HASH_SHA256_SIZE], dstack_error *err) {
    dstack_snp_report report;
    int rc = dstack_snp_report_parse(&report, raw, err);
    if (rc == 0) {
        const dstack_snp_tcb *tcb = &report.reported_tcb;
        const uint8_t short_ones[] = {report.cpuid_family,
                                      report.cpuid_model,
                                      (uint8_t)report.signing_key,
                                      tcb->has_fmc,
                                      tcb->fmc,
                                      tcb->boot_loader,
                                      tcb->tee,
                                      tcb->snp,
                                      tcb->microcode};
        const dstack_bytes parts[] = {bytes_of(short_ones, sizeof short_ones),
                                      bytes_of(report.chip_id, sizeof report.chip_id)};
        hash_parts(HASH_SHA256, parts, 2, key);
    }
    return rc;
}

static int copy(const dstack_snp_certs *from, dstack_snp_certs *to, dstack_error *err) {
    dstack_snp_certs_clear(to);
    buf_put_bytes(&to->ask, bytes_of_buf(&from->ask));
    buf_put_bytes(&to->vcek, bytes_of_buf(&from->vcek));
    buf_put_bytes(&to->crl, bytes_of_buf(&from->crl));
    to->is_vlek = from->is_vlek;
    bool failed = to->ask.failed || to->vcek.failed || to->crl.failed;
    return failed ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

/* 0: copied. DSTACK_E_NOT_FOUND: known to have none. 1: not known. */
static int recall(snp_fetcher *f, const uint8_t key[HASH_SHA256_SIZE], dstack_snp_certs *certs,
                  dstack_error *err) {
    int64_t now_ms = clock_monotonic_ms();
    int rc = 1;
    pthread_mutex_lock(&f->memory);
    for (size_t i = 0; rc == 1 && i < REMEMBERED; i++) {
        const remembered *known = &f->known[i];
        if (known->until_ms <= now_ms || memcmp(known->key, key, sizeof known->key) != 0) {
            continue;
        }
        rc = known->certs.vcek.len > 0
                 ? copy(&known->certs, certs, err)
                 : error_set(err, DSTACK_E_NOT_FOUND,
                             "no certificate for this chip at this TCB was found a moment ago");
    }
    pthread_mutex_unlock(&f->memory);
    return rc;
}

/* certs NULL: nobody certifies this chip. */
static void remember(snp_fetcher *f, const uint8_t key[HASH_SHA256_SIZE],
                     const dstack_snp_certs *certs, int64_t for_ms) {
    pthread_mutex_lock(&f->memory);
    remembered *place = &f->known[f->next];
    f->next = (f->next + 1) % REMEMBERED;
    dstack_snp_certs_clear(&place->certs);
    memcpy(place->key, key, sizeof place->key);
    bool whole = certs == NULL || copy(certs, &place->certs, NULL) == 0;
    place->until_ms = whole ? clock_monotonic_ms() + for_ms : 0;
    pthread_mutex_unlock(&f->memory);
}

/* ---- fetching ---- */

/* With `fetching` held. */
static int fetch(snp_fetcher *f, dstack_bytes report, const dstack_snp_options *options,
                 dstack_snp_certs *certs, dstack_error *err) {
    int64_t now_ms = clock_monotonic_ms();
    if (f->failed_ms != 0 && now_ms - f->failed_ms < PAUSE_AFTER_FAILURE_MS) {
        return error_set(err, DSTACK_E_NETWORK, "the last fetch failed a moment ago");
    }
    const dstack_snp_servers servers = {.urls = (const char *const *)f->urls,
                                        .url_count = f->count,
                                        .timeout_ms = f->timeout_ms,
                                        .cache = f->folder};
    int rc = dstack_snp_certs_fetch(report, options, &servers, certs, err);
    bool network = rc == DSTACK_E_NETWORK || rc == DSTACK_E_TIMEOUT;
    f->failed_ms = network ? clock_monotonic_ms() : 0;
    if (rc == 0) {
        LOG_INFO("certificates of an SEV-SNP chip fetched");
    }
    return rc;
}

/* Somebody before us in the queue may have brought them. */
static int recall_or_fetch(snp_fetcher *f, const uint8_t key[HASH_SHA256_SIZE], dstack_bytes report,
                           const dstack_snp_options *options, dstack_snp_certs *certs,
                           dstack_error *err) {
    int rc = recall(f, key, certs, err);
    if (rc <= 0) {
        return rc;
    }
    rc = fetch(f, report, options, certs, err);
    if (rc == 0) {
        remember(f, key, certs, FRESH_MS);
    } else if (rc == DSTACK_E_NOT_FOUND) {
        remember(f, key, NULL, PAUSE_FOR_UNKNOWN_CHIP_MS);
    }
    return rc;
}

int snp_fetch_for(void *user, dstack_bytes report, const struct dstack_snp_options *options,
                  struct dstack_snp_certs *certs, dstack_error *err) {
    snp_fetcher *f = user;
    uint8_t key[HASH_SHA256_SIZE];
    /* What came with the evidence is its own, and nothing to remember. */
    bool bare = certs->vcek.len == 0 && certs->ask.len == 0;
    if (f->count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         bare ? "amd sev-snp evidence carries no certificates (ASK and VCEK), and "
                                "there is no server to ask for them"
                              : "amd sev-snp evidence carries no revocation list, and there is no "
                                "server to ask for one");
    }
    int rc = key_of(report, key, err);
    rc = rc == 0 && bare ? recall(f, key, certs, err) : rc;
    if (rc < 0 || (rc == 0 && bare)) {
        return rc;
    }
    pthread_mutex_lock(&f->fetching);
    rc = bare ? recall_or_fetch(f, key, report, options, certs, err)
              : fetch(f, report, options, certs, err);
    pthread_mutex_unlock(&f->fetching);
    return rc;
}
