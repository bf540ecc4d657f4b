/* Where AMD's certificates come from, in which order: the evidence, a folder, servers in turn. */
#include "verify/snp/kds.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "verify/dcap/disk_cache.h"
#include "x509/pem.h"

#define DEFAULT_TIMEOUT_MS 30000
#define MAX_TIMEOUT_MS 3600000
#define DEFAULT_CACHE_AGE 86400
/* AMD's answers have a few kilobytes; its lists, some hundred bytes. */
#define MAX_CERTIFICATES ((size_t)64 << 10)
#define MAX_LIST ((size_t)1 << 20)

_Static_assert(KDS_NAME_SIZE <= DISK_CACHE_NAME_SIZE, "names of records");
DSTACK_AUTO_DEFINE_CLEAR(fetch_answer, fetch_answer, fetch_answer_clear)

/* DER of each piece; nothing for what is not there. */
typedef struct kds_set {
    dstack_buf der[KDS_PIECES];
} kds_set;

static void kds_set_clear(kds_set *set) {
    for (size_t i = 0; i < KDS_PIECES; i++) {
        dstack_buf_clear(&set->der[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(kds_set, kds_set, kds_set_clear)

/* One fetch for one report under one product. */
typedef struct job {
    const dstack_snp_options *options;
    const dstack_snp_servers *servers;
    const fetch_transport *transport;
    void *state;
    const dstack_snp_report *report;
    const dstack_snp_certs *given; /* with the evidence */
    dstack_snp_product product;
    kds_set kept;
    bool fresh[KDS_PIECES]; /* of what is kept: serves without asking */
} job;

static const dstack_buf *given_piece(const dstack_snp_certs *certs, size_t piece) {
    const dstack_buf *const pieces[KDS_PIECES] = {&certs->vcek, &certs->ask, &certs->crl};
    return pieces[piece];
}

static bool is_whole(const kds_set *set) {
    return set->der[KDS_LEAF].len > 0 && set->der[KDS_ASK].len > 0 && set->der[KDS_CRL].len > 0;
}

/* ---- what a source gave ---- */

static void to_certs(kds_set *set, const job *j, dstack_snp_certs *out) {
    *out = (dstack_snp_certs){.ask = set->der[KDS_ASK],
                              .vcek = set->der[KDS_LEAF],
                              .crl = set->der[KDS_CRL],
                              .is_vlek = j->report->signing_key == DSTACK_SNP_KEY_VLEK};
    *set = (kds_set){0};
}

/* The set with what the evidence brought, as certificates that hold; otherwise nothing. */
static int finish(const job *j, kds_set *set, dstack_snp_certs *out, dstack_error *err) {
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    to_certs(set, j, &certs);
    int rc = snp_certs_check(j->report, &certs, j->product, j->options, err);
    if (rc == 0) {
        *out = certs;
        certs = (dstack_snp_certs){0};
    }
    return rc;
}

static int copy(dstack_buf *to, const dstack_buf *from, dstack_error *err) {
    buf_reset(to);
    buf_put_bytes(to, bytes_of_buf(from));
    return buf_check(to, err);
}

/* ---- kept on disk ---- */

static const char *label_of(size_t piece) {
    return piece == KDS_CRL ? "X509 CRL" : "CERTIFICATE";
}

static bool is_fresh(const job *j, size_t piece, int64_t fetched) {
    int64_t age = j->servers->cache_age == 0 ? DEFAULT_CACHE_AGE : j->servers->cache_age;
    int64_t now = j->options->now;
    return piece == KDS_LEAF || (fetched <= now && now - fetched < age);
}

static void load_kept(job *j) {
    for (size_t i = 0; j->servers->cache != NULL && i < KDS_PIECES; i++) {
        DSTACK_AUTO(buf) dstack_buf pem = {0};
        char name[KDS_NAME_SIZE];
        int64_t fetched = 0;
        kds_record_name((kds_piece)i, j->product, j->report, name);
        if (disk_cache_load_pem(j->servers->cache, name, &pem, &fetched, NULL) == 0 &&
            kds_read((kds_piece)i, bytes_of_buf(&pem), &j->kept.der[i], NULL) == 0) {
            j->fresh[i] = is_fresh(j, i, fetched);
        } else {
            buf_reset(&j->kept.der[i]); /* a damaged record is as good as none */
        }
    }
}

/* Best effort: a full disk must not keep a good report from being verified. */
static void keep(const job *j, size_t piece, const dstack_buf *der) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    char name[KDS_NAME_SIZE];
    if (j->servers->cache != NULL &&
        pem_append(&pem, label_of(piece), bytes_of_buf(der), NULL) == 0) {
        kds_record_name((kds_piece)piece, j->product, j->report, name);
        (void)disk_cache_store_pem(j->servers->cache, name, bytes_of_buf(&pem), j->options->now,
                                   NULL);
    }
}

/* What the evidence and the folder have; for the rest an empty place. `stale` lets pieces in that
 * should be asked for again. */
static int from_kept(const job *j, bool stale, kds_set *out, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < KDS_PIECES; i++) {
        const dstack_buf *given = given_piece(j->given, i);
        if (given->len > 0) {
            rc = copy(&out->der[i], given, err);
        } else if (j->kept.der[i].len > 0 && (stale || j->fresh[i])) {
            rc = copy(&out->der[i], &j->kept.der[i], err);
        }
    }
    return rc;
}

/* ---- servers ---- */

static int get(const job *j, size_t piece, const char *base, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf url = {0};
    DSTACK_AUTO(fetch_answer) fetch_answer answer = {0};
    int64_t ms = j->servers->timeout_ms > 0 ? j->servers->timeout_ms : DEFAULT_TIMEOUT_MS;
    if (piece == KDS_LEAF && j->report->signing_key != DSTACK_SNP_KEY_VCEK) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         "the report is not signed by a VCEK: its certificate is not published and "
                         "must come with it");
    }
    int rc = kds_url((kds_piece)piece, base, j->product, j->report, &url, err);
    if (rc != 0) {
        return rc;
    }
    const fetch_request request = {.url = buf_text(&url),
                                   .timeout_ms = ms < MAX_TIMEOUT_MS ? ms : MAX_TIMEOUT_MS,
                                   .body_limit = piece == KDS_CRL ? MAX_LIST : MAX_CERTIFICATES};
    rc = j->transport->get(j->state, &request, &answer, err);
    if (rc == 0 && (answer.status < 200 || answer.status > 299)) {
        bool later = answer.status >= 500 || answer.status == 429;
        rc = error_set(err, later ? DSTACK_E_NETWORK : DSTACK_E_NOT_FOUND, "%.300s: HTTP status %d",
                       request.url, answer.status);
    }
    if (rc == 0) {
        rc = error_prefix(err, kds_read((kds_piece)piece, bytes_of_buf(&answer.body), out, err),
                          "%.300s", request.url);
    }
    return rc;
}

/* Everything that `have` does not bring, from one server; kept once it holds together. */
static int complete(const job *j, const char *base, kds_set *have, dstack_snp_certs *out,
                    dstack_error *err) {
    bool fetched[KDS_PIECES] = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < KDS_PIECES; i++) {
        if (have->der[i].len == 0) {
            rc = get(j, i, base, &have->der[i], err);
            fetched[i] = rc == 0;
            rc = rc == DSTACK_E_NOT_FOUND && i == KDS_CRL && j->servers->optional_crl ? 0 : rc;
        }
    }
    rc = rc != 0 ? rc : finish(j, have, out, err);
    for (size_t i = 0; rc == 0 && i < KDS_PIECES; i++) {
        if (fetched[i]) {
            keep(j, i, given_piece(out, i));
        }
    }
    return rc;
}

static bool is_network(int rc) {
    return rc == DSTACK_E_NETWORK || rc == DSTACK_E_TIMEOUT;
}

/* Pieces kept and fetched may be of different times, and not belong together: then all are fetched.
 */
static int from_server(const job *j, const char *base, dstack_snp_certs *out, dstack_error *err) {
    DSTACK_AUTO(kds_set) kds_set some = {0}, none = {0};
    dstack_error own = {0};
    int rc = from_kept(j, false, &some, err);
    rc = rc != 0 ? rc : complete(j, base, &some, out, &own);
    if (rc == 0) {
        return 0;
    }
    bool mixed = j->kept.der[KDS_LEAF].len > 0 || j->kept.der[KDS_ASK].len > 0 ||
                 j->kept.der[KDS_CRL].len > 0;
    if (is_network(rc) || !mixed) {
        return error_set(err, (dstack_status)rc, "%s", own.message);
    }
    for (size_t i = 0; i < KDS_PIECES; i++) {
        const dstack_buf *given = given_piece(j->given, i);
        rc = given->len > 0 ? copy(&none.der[i], given, err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return complete(j, base, &none, out, err);
}

/* Every server once. DSTACK_E_NETWORK when any of them might do better at another time. */
static int ask_round(const job *j, dstack_snp_certs *out, dstack_error *err) {
    static const char *const default_urls[] = {DSTACK_SNP_DEFAULT_SERVER};
    bool chosen = j->servers->url_count > 0;
    const char *const *urls = chosen ? j->servers->urls : default_urls;
    size_t count = chosen ? j->servers->url_count : 1;
    dstack_error last = {0};
    bool again = false;
    for (size_t i = 0; i < count; i++) {
        int rc = from_server(j, urls[i], out, &last);
        if (rc == 0) {
            return 0;
        }
        again = again || is_network(rc);
    }
    return error_set(err, again && !is_network(last.status) ? DSTACK_E_NETWORK : last.status, "%s",
                     last.message);
}

static int ask(job *j, dstack_snp_certs *out, dstack_error *err) {
    const dstack_collateral_servers how = {.proxy = j->servers->proxy};
    int rc = j->transport->open(&how, &j->state, err);
    if (rc != 0) {
        return rc;
    }
    for (unsigned round = 0;; round++) {
        rc = ask_round(j, out, err);
        if (!is_network(rc) || round >= j->servers->retries) {
            break;
        }
        fetch_pause_before(round);
    }
    j->transport->close(j->state);
    return rc;
}

/* ---- the whole ---- */

static int fetch_product(job *j, dstack_snp_certs *out, dstack_error *err) {
    DSTACK_AUTO(kds_set) kds_set fresh = {0}, stale = {0};
    load_kept(j);
    int rc = from_kept(j, j->servers->offline, &fresh, err);
    if (rc == 0 && is_whole(&fresh) && finish(j, &fresh, out, NULL) == 0) {
        return 0;
    }
    rc = rc != 0 ? rc : from_kept(j, true, &stale, err);
    bool whole = rc == 0 && is_whole(&stale);
    if (j->servers->offline) {
        return rc != 0 ? rc
               : whole ? finish(j, &stale, out, err)
                       : error_set(err, DSTACK_E_NOT_FOUND,
                                   "no certificates for this chip at this TCB are kept, and no "
                                   "server may be asked");
    }
    rc = rc != 0 ? rc : ask(j, out, err);
    /* What was kept still holds: a server that is away takes nothing away. */
    return rc != 0 && whole && is_network(rc) && finish(j, &stale, out, NULL) == 0 ? 0 : rc;
}

/* The products whose chips sign such a report. Version 2 does not tell, and is older than Turin. */
static size_t candidates(const dstack_snp_report *report, dstack_snp_product out[2]) {
    if (report->product != DSTACK_SNP_PRODUCTS) {
        out[0] = report->product;
        return 1;
    }
    out[0] = DSTACK_SNP_GENOA;
    out[1] = DSTACK_SNP_MILAN;
    return 2;
}

static int check_askable(const dstack_snp_report *report, dstack_error *err) {
    if (report->mask_chip_key || report->signing_key == DSTACK_SNP_KEY_NONE ||
        (report->signing_key == DSTACK_SNP_KEY_VCEK &&
         bytes_are_zero(bytes_of(report->chip_id, sizeof report->chip_id)))) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the report hides its chip: there is no certificate to ask for");
    }
    return 0;
}

/* Of several failures the first that is more than "no such certificate" is told. */
static int fetch_products(job *j, dstack_snp_certs *out, dstack_error *err) {
    dstack_snp_product products[2];
    size_t count = candidates(j->report, products);
    dstack_error told = {0};
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        dstack_error own = {0};
        j->product = products[i];
        rc = error_prefix(&own, fetch_product(j, out, &own), "%s",
                          dstack_snp_product_name(products[i]));
        kds_set_clear(&j->kept);
        if (rc == 0) {
            return 0;
        }
        if (i == 0 || told.status == DSTACK_E_NOT_FOUND) {
            told = own;
        }
    }
    return error_set(err, told.status, "amd sev-snp certificates: %s", told.message);
}

int kds_fetch(dstack_bytes report, const dstack_snp_options *options,
              const dstack_snp_servers *servers, const fetch_transport *transport,
              dstack_snp_certs *certs, dstack_error *err) {
    dstack_snp_report parsed;
    dstack_snp_certs fetched = {0};
    if (certs->ask.len > 0 && certs->vcek.len > 0 && certs->crl.len > 0) {
        return 0;
    }
    int rc = dstack_snp_report_parse(&parsed, report, err);
    rc = rc != 0 ? rc : check_askable(&parsed, err);
    if (rc != 0) {
        return rc;
    }
    job j = {.options = options,
             .servers = servers,
             .transport = transport,
             .report = &parsed,
             .given = certs};
    rc = fetch_products(&j, &fetched, err);
    if (rc == 0) {
        dstack_snp_certs_clear(certs);
        *certs = fetched;
    }
    return rc;
}
