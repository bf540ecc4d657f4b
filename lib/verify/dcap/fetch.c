/* Where collateral comes from, in which order: kept on disk, asked of servers in turn, taken from a
 * file. */
#include "verify/dcap/fetch.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/random.h"
#include "verify/dcap/cache.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/disk_cache.h"
#include "verify/dcap/fetch_bundle.h"
#include "verify/dcap/fetch_text.h"
#include "verify/dcap/pck.h"

#include <dstack/verifier.h>

#define DEFAULT_TIMEOUT_MS 30000
#define MAX_TIMEOUT_MS 3600000
#define DEFAULT_CACHE_AGE 86400

/* One fetch, for one quote or for the platforms of earlier collateral. */
typedef struct job {
    const dstack_collateral_servers *servers;
    const fetch_transport *transport;
    fetcher fetcher;
    const dstack_quote *quote; /* NULL: earlier collateral */
    const char *ca;            /* then, its PCK CA, FMSPC and chain */
    const uint8_t *fmspc;
    dstack_bytes chain;
    int64_t now;
    char update[24]; /* in names of records */
} job;

static int start(const job *j, fetch_bundle *platform, dstack_error *err) {
    if (j->quote != NULL) {
        return fetch_bundle_start(platform, j->quote, err);
    }
    platform->ca = j->ca;
    memcpy(platform->fmspc, j->fmspc, sizeof platform->fmspc);
    platform->knows_platform = true;
    buf_put_bytes(&platform->pck_chain, j->chain);
    return buf_check(&platform->pck_chain, err);
}

/* ---- what a source gave ---- */

/* Answers of no use are found here, while other sources are left to ask. */
static int accept(const job *j, const fetch_bundle *platform, dstack_collateral *collateral,
                  dstack_error *err) {
    dcap_purpose purpose;
    int rc = dcap_purpose_read(collateral, &purpose, err);
    if (rc != 0) {
        return rc;
    }
    if (purpose.tdx != (strcmp(j->fetcher.family, "tdx") == 0) ||
        memcmp(purpose.fmspc, platform->fmspc, sizeof purpose.fmspc) != 0) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "the collateral is for another kind of platform");
    }
    if (j->servers->eval_number != 0 && purpose.eval_number != j->servers->eval_number) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "the collateral has TCB evaluation data number %u, not %u",
                         purpose.eval_number, j->servers->eval_number);
    }
    if (j->now > purpose.until) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "the collateral served until %lld, now is %lld", (long long)purpose.until,
                         (long long)j->now);
    }
    return j->servers->verifier == NULL
               ? 0
               : dstack_verifier_check_collateral(j->servers->verifier, collateral, j->now, err);
}

/* The collateral with this platform's PCK chain: what the quote is verified with. */
static int finish(const fetch_bundle *platform, const dstack_collateral *collateral,
                  dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    dstack_collateral_parts parts;
    dstack_collateral_get(collateral, &parts);
    buf_put_bytes(&chain, bytes_of_buf(&platform->pck_chain));
    if (platform->chain_lacks_issuers) {
        buf_put_bytes(&chain, parts.pck_crl_issuer_chain);
    }
    parts.has_pck_certificate_chain = chain.len > 0;
    parts.pck_certificate_chain = bytes_of_buf(&chain);
    int rc = buf_check(&chain, err);
    return rc != 0 ? rc : dstack_collateral_new(out, &parts, err);
}

/* ---- kept on disk ---- */

static bool is_fresh(const job *j, int64_t fetched) {
    int64_t age = j->servers->cache_age == 0 ? DEFAULT_CACHE_AGE : j->servers->cache_age;
    return fetched <= j->now && j->now - fetched < age;
}

/* The chain of a platform whose quotes do not carry it. */
static void load_chain(const job *j, fetch_bundle *platform) {
    char name[DISK_CACHE_NAME_SIZE];
    int64_t fetched;
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    disk_cache_chain_name(name, j->quote->cert_data);
    if (disk_cache_load_pem(j->servers->cache, name, &chain, &fetched, NULL) == 0) {
        /* A chain that cannot be read is asked for anew. */
        (void)fetch_bundle_set_chain(platform, bytes_of_buf(&chain), NULL);
    }
}

/* *fresh tells whether servers need not be asked. */
static void load_kept(const job *j, fetch_bundle *platform, dstack_collateral **out, bool *fresh) {
    char name[DISK_CACHE_NAME_SIZE];
    int64_t fetched = 0;
    *fresh = false;
    if (j->servers->cache == NULL) {
        return;
    }
    if (!platform->knows_platform) {
        load_chain(j, platform);
    }
    if (!platform->knows_platform) {
        return;
    }
    disk_cache_bundle_name(name, j->fetcher.family, platform->fmspc, platform->ca, j->update);
    if (disk_cache_load(j->servers->cache, name, j->now, out, &fetched, NULL) != 0) {
        return;
    }
    if (accept(j, platform, *out, NULL) != 0) {
        dstack_collateral_free(*out);
        *out = NULL;
        return;
    }
    *fresh = is_fresh(j, fetched);
}

/* Best effort: a full disk must not keep a good quote from being verified. */
static void keep(const job *j, const fetch_bundle *platform, const dstack_collateral *collateral) {
    char name[DISK_CACHE_NAME_SIZE];
    if (j->servers->cache == NULL) {
        return;
    }
    disk_cache_bundle_name(name, j->fetcher.family, platform->fmspc, platform->ca, j->update);
    (void)disk_cache_store(j->servers->cache, name, collateral, j->now, NULL);
    if (j->quote != NULL && j->quote->cert_type != DSTACK_QUOTE_CERT_PCK_CHAIN &&
        j->quote->cert_type != DSTACK_QUOTE_CERT_PCK_LEAF) {
        disk_cache_chain_name(name, j->quote->cert_data);
        (void)disk_cache_store_pem(j->servers->cache, name, bytes_of_buf(&platform->pck_chain),
                                   j->now, NULL);
    }
}

/* ---- servers and files ---- */

static int from_file(const job *j, const char *path, dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(collateral) dstack_collateral *bundle = NULL;
    DSTACK_AUTO(fetch_bundle) fetch_bundle platform = {0};
    dstack_collateral_parts parts;
    int rc = file_read(path, DSTACK_COLLATERAL_MAX_SIZE, &text, err);
    rc = rc != 0 ? rc : dstack_collateral_parse(&bundle, bytes_of_buf(&text), err);
    rc = rc != 0 ? rc : start(j, &platform, err);
    if (rc != 0) {
        return rc;
    }
    dstack_collateral_get(bundle, &parts);
    if (!platform.knows_platform && parts.has_pck_certificate_chain) {
        rc = fetch_bundle_set_chain(&platform, parts.pck_certificate_chain, err);
    }
    if (rc == 0 && !platform.knows_platform) {
        rc = error_set(err, DSTACK_E_DCAP_CERT_DATA_TYPE,
                       "neither the quote nor the bundle has a PCK chain");
    }
    rc = rc != 0 ? rc : accept(j, &platform, bundle, err);
    return rc != 0 ? rc : finish(&platform, bundle, out, err);
}

static int from_server(const job *j, const char *url, dstack_collateral **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf base = {0};
    DSTACK_AUTO(fetch_bundle) fetch_bundle platform = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    fetcher f = j->fetcher;
    fetch_base_url(url, &base);
    f.base = buf_text(&base);
    int rc = f.base == NULL ? buf_check(&base, err) : 0;
    rc = rc != 0 ? rc : start(j, &platform, err);
    rc = rc != 0 ? rc : fetch_bundle_fill(&f, &platform, err);
    rc = rc != 0 ? rc : fetch_bundle_make(&platform, &collateral, err);
    rc = rc != 0 ? rc : accept(j, &platform, collateral, err);
    if (rc == 0) {
        keep(j, &platform, collateral);
        rc = finish(&platform, collateral, out, err);
    }
    return rc;
}

/* Every source once, in order, until one gives everything. DSTACK_E_NETWORK when any of them might
 * do better at another time. */
static int fetch_round(const job *j, dstack_collateral **out, dstack_error *err) {
    static const char file[] = "file:";
    bool again = false;
    dstack_error last = {0};
    for (size_t i = 0; i < j->servers->url_count; i++) {
        const char *url = j->servers->urls[i];
        int rc = strncmp(url, file, sizeof file - 1) == 0
                     ? from_file(j, url + sizeof file - 1, out, &last)
                     : from_server(j, url, out, &last);
        if (rc == 0) {
            return 0;
        }
        again = again || rc == DSTACK_E_NETWORK || rc == DSTACK_E_TIMEOUT;
    }
    bool network = last.status == DSTACK_E_NETWORK || last.status == DSTACK_E_TIMEOUT;
    return again && !network
               ? error_set(err, last.status, "%s (and other servers could not be reached)",
                           last.message)
               : error_set(err, last.status, "%s", last.message);
}

void fetch_pause_before(unsigned round) {
    uint8_t jitter;
    random_fill(&jitter, sizeof jitter);
    long ms = (200 + 200 * jitter / 256) << (round < 6 ? round : 6);
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static int ask(job *j, dstack_collateral **out, dstack_error *err) {
    int rc = j->transport->open(j->servers, &j->fetcher.state, err);
    if (rc != 0) {
        return rc;
    }
    for (unsigned round = 0;; round++) {
        rc = fetch_round(j, out, err);
        if ((rc != DSTACK_E_NETWORK && rc != DSTACK_E_TIMEOUT) || round >= j->servers->retries) {
            break;
        }
        fetch_pause_before(round);
    }
    j->transport->close(j->fetcher.state);
    return rc;
}

static void job_init(job *j, const dstack_collateral_servers *servers,
                     const fetch_transport *transport, bool tdx) {
    fetcher *f = &j->fetcher;
    int64_t ms = servers->timeout_ms > 0 ? servers->timeout_ms : DEFAULT_TIMEOUT_MS;
    *j = (job){
        .servers = servers,
        .transport = transport,
        .now = servers->now != 0 ? servers->now : clock_unix(),
    };
    f->transport = transport;
    f->family = tdx ? "tdx" : "sgx";
    f->timeout_ms = ms < MAX_TIMEOUT_MS ? ms : MAX_TIMEOUT_MS;
    if (servers->eval_number != 0) {
        snprintf(j->update, sizeof j->update, "n%u", servers->eval_number);
        snprintf(f->qe_query, sizeof f->qe_query, "tcbEvaluationDataNumber=%u",
                 servers->eval_number);
        snprintf(f->tcb_query, sizeof f->tcb_query, "&%s", f->qe_query);
    } else {
        snprintf(j->update, sizeof j->update, "%s", servers->early ? "early" : "standard");
        snprintf(f->qe_query, sizeof f->qe_query, "update=%s", j->update);
        snprintf(f->tcb_query, sizeof f->tcb_query, "%s", servers->early ? "&update=early" : "");
    }
}

static dstack_collateral_servers choose(const dstack_collateral_servers *servers) {
    static const char *const default_urls[] = {DSTACK_COLLATERAL_DEFAULT_SERVER};
    dstack_collateral_servers chosen = servers == NULL ? (dstack_collateral_servers){0} : *servers;
    if (chosen.url_count == 0) {
        chosen.urls = default_urls;
        chosen.url_count = 1;
    }
    return chosen;
}

int fetch_collateral(dstack_collateral **out, dstack_bytes raw,
                     const dstack_collateral_servers *servers, const fetch_transport *transport,
                     dstack_error *err) {
    const dstack_collateral_servers chosen = choose(servers);
    DSTACK_AUTO(fetch_bundle) fetch_bundle platform = {0};
    DSTACK_AUTO(collateral) dstack_collateral *kept = NULL;
    dstack_quote quote;
    job j;
    bool fresh;
    int rc = dstack_quote_parse(&quote, raw, err);
    rc = rc != 0 ? rc : fetch_bundle_start(&platform, &quote, err);
    if (rc != 0) {
        return rc;
    }
    job_init(&j, &chosen, transport, quote.tee_type == DSTACK_QUOTE_TEE_TDX);
    j.quote = &quote;
    load_kept(&j, &platform, &kept, &fresh);
    if (fresh) {
        return finish(&platform, kept, out, err);
    }
    rc = ask(&j, out, err);
    /* What was kept still holds: a server that is away takes nothing away. */
    return rc != 0 && kept != NULL ? finish(&platform, kept, out, err) : rc;
}

/* What is kept on disk is not looked at: it may be the very collateral that is to be renewed. */
int refetch_collateral(dstack_collateral **out, const dstack_collateral *old,
                       const dstack_collateral_servers *servers, const fetch_transport *transport,
                       dstack_error *err) {
    const dstack_collateral_servers chosen = choose(servers);
    dstack_collateral_parts parts;
    dcap_purpose purpose;
    x509_crl crl;
    job j;
    dstack_collateral_get(old, &parts);
    int rc = dcap_purpose_read(old, &purpose, err);
    rc = rc != 0 ? rc : dcap_crl_parse(&crl, parts.pck_crl, "PCK CRL", err);
    if (rc != 0) {
        return rc;
    }
    const x509_cert issued = {.issuer = crl.issuer};
    job_init(&j, &chosen, transport, purpose.tdx);
    j.ca = dcap_pck_ca_kind(&issued);
    j.fmspc = purpose.fmspc;
    j.chain = parts.has_pck_certificate_chain ? parts.pck_certificate_chain : (dstack_bytes){0};
    return ask(&j, out, err);
}
