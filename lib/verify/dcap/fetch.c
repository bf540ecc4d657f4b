/* Fetching collateral: Intel SGX and TDX Provisioning Certification Service API, version 4, and the
 * caches that speak it. */
#include "verify/dcap/collateral.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/random.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/fetch_text.h"
#include "verify/dcap/pck.h"

#define MAX_BODY ((size_t)8 << 20)
#define MAX_REDIRECTS 5
#define DEFAULT_TIMEOUT_MS 30000
#define CONNECT_TIMEOUT_MS 10000

DSTACK_AUTO_DEFINE(curl, CURL, curl_easy_cleanup)

/* Everything a bundle is made of, as it comes in. */
typedef struct bundle {
    dstack_buf pck_chain; /* PEM */
    bool has_pck_chain;
    const char *ca;
    uint8_t fmspc[6];
    dstack_buf pck_crl_chain, pck_crl, root_crl;
    dstack_buf tcb_chain, tcb_body, tcb_signature;
    dstack_buf qe_chain, qe_body, qe_signature;
    dstack_bytes tcb_info, qe_identity; /* within the bodies */
} bundle;

static void bundle_clear(bundle *b) {
    dstack_buf *const all[] = {&b->pck_chain, &b->pck_crl_chain, &b->pck_crl,       &b->root_crl,
                               &b->tcb_chain, &b->tcb_body,      &b->tcb_signature, &b->qe_chain,
                               &b->qe_body,   &b->qe_signature};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dstack_buf_clear(all[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(bundle, bundle, bundle_clear)

typedef struct fetcher {
    CURL *curl;
    const char *base;
    const char *family; /* "tdx" or "sgx" */
    const char *update;
} fetcher;

/* ---- one request ---- */

static size_t take_body(char *data, size_t size, size_t count, void *user) {
    dstack_buf *body = user;
    if (size * count > MAX_BODY - body->len) {
        return 0;
    }
    buf_put(body, data, size * count);
    return body->failed ? 0 : size * count;
}

static int transport_error(CURLcode code, const char *url, dstack_error *err) {
    dstack_status status = code == CURLE_OPERATION_TIMEDOUT ? DSTACK_E_TIMEOUT
                           : code == CURLE_WRITE_ERROR      ? DSTACK_E_LIMIT
                                                            : DSTACK_E_NETWORK;
    return error_set(err, status, "%.200s: %s", url, curl_easy_strerror(code));
}

/* GET; the body is replaced. Answers outside 200 to 299 are DSTACK_E_DCAP_COLLATERAL_FETCH. */
static int get(const fetcher *f, const char *url, dstack_buf *body, dstack_error *err) {
    long status = 0;
    buf_reset(body);
    curl_easy_setopt(f->curl, CURLOPT_URL, url);
    curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, body);
    CURLcode code = curl_easy_perform(f->curl);
    if (code != CURLE_OK) {
        return transport_error(code, url, err);
    }
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) {
        return error_set(err, status >= 500 ? DSTACK_E_NETWORK : DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "%.200s: HTTP status %ld", url, status);
    }
    return 0;
}

/* GET base/path?query. */
static int get_path(const fetcher *f, const char *path, dstack_buf *body, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf url = {0};
    buf_put_fmt(&url, "%s%s", f->base, path);
    const char *text = buf_text(&url);
    return text == NULL ? buf_check(&url, err) : get(f, text, body, err);
}

/* A certificate chain in a header of the last answer, under any of the names. */
static int chain_header(const fetcher *f, const char *const *names, dstack_buf *out,
                        dstack_error *err) {
    struct curl_header *header = NULL;
    for (const char *const *name = names; *name != NULL; name++) {
        if (curl_easy_header(f->curl, *name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
            return fetch_percent_decode(header->value, out, err);
        }
    }
    return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH, "collateral server: header %s is missing",
                     names[0]);
}

/* ---- the requests, in their order ---- */

/* The PCK certificate of a quote that names its platform by encrypted PPID only. */
static int get_pck_cert(const fetcher *f, const dstack_quote *quote, bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-PCK-Certificate-Issuer-Chain", NULL};
    DSTACK_AUTO(buf) dstack_buf query = {0}, path = {0}, issuers = {0};
    struct curl_header *tcbm = NULL;
    char want[37];
    int rc = fetch_pck_query(quote, &query, want, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_fmt(&path, "/sgx/certification/v4/pckcert?%s", buf_text(&query));
    rc = get_path(f, buf_text(&path), &b->pck_chain, err);
    if (rc == 0) {
        rc = chain_header(f, names, &issuers, err);
    }
    if (rc == 0 && curl_easy_header(f->curl, "SGX-TCBm", 0, CURLH_HEADER, -1, &tcbm) == CURLHE_OK &&
        strcasecmp(tcbm->value, want) != 0) {
        rc = error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                       "the server has a PCK certificate for TCB %.40s, the platform is at %s: "
                       "register the platform anew",
                       tcbm->value, want);
    }
    buf_put_str(&b->pck_chain, "\n");
    buf_put_bytes(&b->pck_chain, bytes_of_buf(&issuers));
    b->has_pck_chain = true;
    return rc != 0 ? rc : buf_check(&b->pck_chain, err);
}

static int take_pck_chain(const fetcher *f, const dstack_quote *quote, bundle *b,
                          dstack_error *err) {
    if (quote->cert_type == DSTACK_QUOTE_CERT_PPID_RSA2048 ||
        quote->cert_type == DSTACK_QUOTE_CERT_PPID_RSA3072) {
        return get_pck_cert(f, quote, b, err);
    }
    if (quote->cert_type != DSTACK_QUOTE_CERT_PCK_CHAIN) {
        return error_set(err, DSTACK_E_DCAP_CERT_DATA_TYPE,
                         "collateral for certification data of type %u cannot be fetched",
                         quote->cert_type);
    }
    b->has_pck_chain = true;
    buf_put_bytes(&b->pck_chain, quote->cert_data);
    return buf_check(&b->pck_chain, err);
}

/* What the PCK certificate says about which collateral it needs. */
static int read_pck(bundle *b, dstack_error *err) {
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    dstack_pck_info pck;
    int rc = dcap_chain_load(&chain, bytes_of_buf(&b->pck_chain), NULL,
                             DSTACK_E_DCAP_PCK_CHAIN_FORMAT, "PCK chain", err);
    if (rc == 0) {
        rc = dcap_pck_parse(&pck, &chain.certs[0].x509, err);
    }
    if (rc == 0) {
        memcpy(b->fmspc, pck.fmspc, sizeof b->fmspc);
        b->ca = dcap_pck_ca_kind(&chain.certs[0].x509);
    }
    return rc;
}

static int get_pck_crl(const fetcher *f, bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-PCK-CRL-Issuer-Chain", NULL};
    char path[96];
    snprintf(path, sizeof path, "/sgx/certification/v4/pckcrl?ca=%s&encoding=der", b->ca);
    DSTACK_AUTO(buf) dstack_buf body = {0};
    int rc = get_path(f, path, &body, err);
    if (rc == 0) {
        rc = chain_header(f, names, &b->pck_crl_chain, err);
    }
    return rc != 0 ? rc : fetch_hex_or_der(bytes_of_buf(&body), false, &b->pck_crl, err);
}

static int get_tcb_info(const fetcher *f, bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-TCB-Info-Issuer-Chain", "TCB-Info-Issuer-Chain", NULL};
    char path[128];
    snprintf(path, sizeof path, "/%s/certification/v4/tcb?fmspc=%02X%02X%02X%02X%02X%02X%s",
             f->family, b->fmspc[0], b->fmspc[1], b->fmspc[2], b->fmspc[3], b->fmspc[4],
             b->fmspc[5], strcmp(f->update, "early") == 0 ? "&update=early" : "");
    int rc = get_path(f, path, &b->tcb_body, err);
    if (rc == 0) {
        rc = chain_header(f, names, &b->tcb_chain, err);
    }
    return rc != 0 ? rc
                   : fetch_signed_text(bytes_of_buf(&b->tcb_body), "tcbInfo", &b->tcb_info,
                                       &b->tcb_signature, err);
}

static int get_qe_identity(const fetcher *f, bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-Enclave-Identity-Issuer-Chain", NULL};
    char path[96];
    snprintf(path, sizeof path, "/%s/certification/v4/qe/identity?update=%s", f->family, f->update);
    int rc = get_path(f, path, &b->qe_body, err);
    if (rc == 0) {
        rc = chain_header(f, names, &b->qe_chain, err);
    }
    return rc != 0 ? rc
                   : fetch_signed_text(bytes_of_buf(&b->qe_body), "enclaveIdentity",
                                       &b->qe_identity, &b->qe_signature, err);
}

/* Where the root says its list is. */
static int get_root_crl_from_point(const fetcher *f, bundle *b, dstack_error *err) {
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    DSTACK_AUTO(buf) dstack_buf url = {0};
    int rc = dcap_chain_load(&chain, bytes_of_buf(&b->qe_chain), NULL,
                             DSTACK_E_DCAP_QE_IDENTITY_CHAIN, "QE identity issuer chain", err);
    if (rc != 0) {
        return rc;
    }
    dstack_bytes uri = dcap_cert_crl_uri(&chain.certs[chain.count - 1].x509);
    if (uri.len == 0 || memchr(uri.data, 0, uri.len) != NULL) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "the root certificate names no place for its revocation list");
    }
    buf_put_bytes(&url, uri);
    const char *text = buf_text(&url);
    return text == NULL ? buf_check(&url, err) : get(f, text, &b->root_crl, err);
}

static int get_root_crl(const fetcher *f, bundle *b, dstack_error *err) {
    if (!fetch_is_intel(f->base)) {
        DSTACK_AUTO(buf) dstack_buf body = {0};
        if (get_path(f, "/sgx/certification/v4/rootcacrl", &body, err) == 0) {
            return fetch_hex_or_der(bytes_of_buf(&body), true, &b->root_crl, err);
        }
    }
    return get_root_crl_from_point(f, b, err);
}

/* ---- putting it together ---- */

static int collect(const fetcher *f, const dstack_quote *quote, bundle *b, dstack_error *err) {
    int rc = take_pck_chain(f, quote, b, err);
    if (rc == 0) {
        rc = read_pck(b, err);
    }
    if (rc == 0) {
        rc = get_pck_crl(f, b, err);
    }
    if (rc == 0) {
        rc = get_tcb_info(f, b, err);
    }
    if (rc == 0) {
        rc = get_qe_identity(f, b, err);
    }
    return rc != 0 ? rc : get_root_crl(f, b, err);
}

static int fetch_from(CURL *curl, const char *url, const dstack_quote *quote,
                      const dstack_collateral_servers *servers, dstack_collateral **out,
                      dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf base = {0};
    DSTACK_AUTO(bundle) bundle b = {0};
    fetch_base_url(url, &base);
    const fetcher f = {
        .curl = curl,
        .base = buf_text(&base),
        .family = quote->tee_type == DSTACK_QUOTE_TEE_TDX ? "tdx" : "sgx",
        .update = servers->early ? "early" : "standard",
    };
    if (f.base == NULL) {
        return buf_check(&base, err);
    }
    int rc = collect(&f, quote, &b, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_collateral_parts parts = {
        .pck_crl_issuer_chain = bytes_of_buf(&b.pck_crl_chain),
        .root_ca_crl = bytes_of_buf(&b.root_crl),
        .pck_crl = bytes_of_buf(&b.pck_crl),
        .tcb_info_issuer_chain = bytes_of_buf(&b.tcb_chain),
        .tcb_info = b.tcb_info,
        .tcb_info_signature = bytes_of_buf(&b.tcb_signature),
        .qe_identity_issuer_chain = bytes_of_buf(&b.qe_chain),
        .qe_identity = b.qe_identity,
        .qe_identity_signature = bytes_of_buf(&b.qe_signature),
        .has_pck_certificate_chain = b.has_pck_chain,
        .pck_certificate_chain = bytes_of_buf(&b.pck_chain),
    };
    return dstack_collateral_new(out, &parts, err);
}

static CURL *open_curl(const dstack_collateral_servers *servers) {
    CURL *curl = curl_easy_init();
    if (curl != NULL) {
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_PROXY, servers->proxy == NULL ? "" : servers->proxy);
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
        curl_easy_setopt(
            curl, CURLOPT_TIMEOUT_MS,
            (long)(servers->timeout_ms > 0 ? servers->timeout_ms : DEFAULT_TIMEOUT_MS));
    }
    return curl;
}

/* Every server once, in order, until one gives everything. */
static int fetch_round(CURL *curl, const dstack_quote *quote,
                       const dstack_collateral_servers *servers, dstack_collateral **out,
                       dstack_error *err) {
    int rc = DSTACK_E_NETWORK;
    for (size_t i = 0; rc != 0 && i < servers->url_count; i++) {
        rc = fetch_from(curl, servers->urls[i], quote, servers, out, err);
    }
    return rc;
}

/* Spreads the machines that lost the same server at the same moment. */
static void pause_before(unsigned round) {
    uint8_t jitter;
    random_fill(&jitter, sizeof jitter);
    long ms = (200 + 200 * jitter / 256) << (round < 6 ? round : 6);
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

int dstack_collateral_fetch(dstack_collateral **out, dstack_bytes raw,
                            const dstack_collateral_servers *servers, dstack_error *err) {
    static const char *const default_urls[] = {DSTACK_COLLATERAL_DEFAULT_SERVER};
    dstack_collateral_servers chosen = servers == NULL ? (dstack_collateral_servers){0} : *servers;
    if (chosen.url_count == 0) {
        chosen.urls = default_urls;
        chosen.url_count = 1;
    }
    dstack_quote quote;
    int rc = dstack_quote_parse(&quote, raw, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(curl) CURL *curl = open_curl(&chosen);
    if (curl == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a network client");
    }
    for (unsigned round = 0;; round++) {
        rc = fetch_round(curl, &quote, &chosen, out, err);
        if ((rc != DSTACK_E_NETWORK && rc != DSTACK_E_TIMEOUT) || round >= chosen.retries) {
            return rc;
        }
        pause_before(round);
    }
}
