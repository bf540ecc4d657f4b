/* Certificates and revocation lists of vTPM keys, from the addresses that the certificates name.
 *
 * Those addresses come with evidence that nobody has judged yet: only hosts of a list are asked, no
 * answer sends us elsewhere, everything has a size and a time, and what was fetched is kept for a
 * while, as is that it could not be had. What it is worth, its signatures decide later. */
#include <pthread.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_client.h"
#include "client/http_url.h"
#include "verify/tpm/tpm.h"

#define DEFAULT_TIMEOUT_MS 10000
#define CERT_MAX ((size_t)64 << 10)
#define CRL_MAX ((size_t)4 << 20)
#define URL_MAX 512
#define MAX_DEPTH 6
#define KEPT 16
#define KEPT_FOR_MS ((int64_t)3600 * 1000)
#define FAILURE_KEPT_FOR_MS ((int64_t)30 * 1000)

/* Where Google Cloud's certificate authorities publish. */
static const char *const default_hosts[] = {".storage.googleapis.com"};

typedef struct kept {
    char url[URL_MAX];
    dstack_buf body;
    int64_t until; /* of the monotonic clock, milliseconds; 0: empty place */
    bool failed;
} kept;

struct dstack_tpm_fetcher {
    pthread_mutex_t lock; /* of all below; held while fetching: one at a time */
    char **hosts;
    size_t host_count;
    int64_t timeout_ms;
    kept entries[KEPT];
};

DSTACK_AUTO_DEFINE(tpm_fetcher, dstack_tpm_fetcher, dstack_tpm_fetcher_free)

int dstack_tpm_fetcher_new(dstack_tpm_fetcher **out, const dstack_tpm_fetcher_options *options,
                           dstack_error *err) {
    const bool own = options != NULL && options->host_count > 0;
    const char *const *hosts = own ? options->hosts : default_hosts;
    const size_t count = own ? options->host_count : sizeof default_hosts / sizeof *default_hosts;
    DSTACK_AUTO(tpm_fetcher) dstack_tpm_fetcher *f = calloc(1, sizeof *f);
    *out = NULL;
    if (f == NULL || (f->hosts = calloc(count, sizeof *f->hosts)) == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a fetcher");
    }
    pthread_mutex_init(&f->lock, NULL);
    f->timeout_ms =
        options != NULL && options->timeout_ms > 0 ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    for (; f->host_count < count; f->host_count++) {
        f->hosts[f->host_count] = strdup(hosts[f->host_count]);
        if (f->hosts[f->host_count] == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "no memory for a fetcher");
        }
    }
    *out = f;
    f = NULL;
    return 0;
}

void dstack_tpm_fetcher_free(dstack_tpm_fetcher *f) {
    if (f == NULL) {
        return;
    }
    for (size_t i = 0; i < f->host_count; i++) {
        free(f->hosts[i]);
    }
    for (size_t i = 0; i < KEPT; i++) {
        dstack_buf_clear(&f->entries[i].body);
    }
    if (f->hosts != NULL) {
        pthread_mutex_destroy(&f->lock);
    }
    free(f->hosts);
    free(f);
}

/* ".name" stands for hosts below it at the scheme's own port, "host:port" for itself. */
static bool allowed(const dstack_tpm_fetcher *f, const http_url *url) {
    char place[300];
    snprintf(place, sizeof place, "%s:%s", url->host, url->port);
    const bool usual = strcmp(url->port, url->scheme == HTTP_SCHEME_HTTPS ? "443" : "80") == 0;
    const size_t len = strlen(url->host);
    for (size_t i = 0; i < f->host_count; i++) {
        const char *host = f->hosts[i];
        const size_t tail = strlen(host);
        if (host[0] == '.' ? usual && !url->host_is_ip && len > tail &&
                                 strcmp(url->host + len - tail, host) == 0
                           : strcmp(place, host) == 0) {
            return true;
        }
    }
    return false;
}

static int get(const dstack_tpm_fetcher *f, const char *text, size_t limit, dstack_buf *out,
               dstack_error *err) {
    http_url url;
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    const http_client_config config = {
        .url = text,
        .connect_timeout_ms = (int)f->timeout_ms,
        .total_timeout_ms = (int)f->timeout_ms,
        .attempts = 2,
        .body_limit = limit,
    };
    int rc = http_url_parse(text, &url, err);
    if (rc == 0 && (url.scheme == HTTP_SCHEME_UNIX || !allowed(f, &url))) {
        rc = error_set(err, DSTACK_E_REFUSED, "%.100s is not a host that is asked", url.host);
    }
    DSTACK_AUTO(http_client) http_client *client = rc == 0 ? http_client_new(&config, err) : NULL;
    if (client == NULL) {
        return rc != 0 ? rc : (int)err->status;
    }
    const http_client_request request = {.method = "GET", .path = ""};
    rc = http_client_send(client, &request, &response, err);
    if (rc == 0 && response.status != 200) {
        rc = error_set(err, DSTACK_E_PEER, "HTTP status %d", response.status);
    }
    buf_put_bytes(out, bytes_of_buf(&response.body));
    return rc == 0 ? buf_check(out, err) : rc;
}

/* ---- what is kept ---- */

static kept *find(dstack_tpm_fetcher *f, const char *url, int64_t now) {
    for (size_t i = 0; i < KEPT; i++) {
        if (f->entries[i].until > now && strcmp(f->entries[i].url, url) == 0) {
            return &f->entries[i];
        }
    }
    return NULL;
}

/* The place of what ends first. */
static kept *place(dstack_tpm_fetcher *f) {
    kept *first = &f->entries[0];
    for (size_t i = 1; i < KEPT; i++) {
        first = f->entries[i].until < first->until ? &f->entries[i] : first;
    }
    dstack_buf_clear(&first->body);
    *first = (kept){0};
    return first;
}

static int load(dstack_tpm_fetcher *f, dstack_bytes url, size_t limit, dstack_buf *out,
                dstack_error *err) {
    char text[URL_MAX];
    dstack_error own = {0};
    if (url.len == 0 || url.len >= sizeof text || memchr(url.data, 0, url.len) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "an address of %zu bytes", url.len);
    }
    memcpy(text, url.data, url.len);
    text[url.len] = '\0';
    const int64_t now = clock_monotonic_ms();
    kept *entry = find(f, text, now);
    if (entry == NULL) {
        entry = place(f);
        entry->failed = get(f, text, limit, &entry->body, err != NULL ? err : &own) != 0;
        entry->until = clock_monotonic_ms() + (entry->failed ? FAILURE_KEPT_FOR_MS : KEPT_FOR_MS);
        memcpy(entry->url, text, url.len + 1);
        if (entry->failed) {
            return error_prefix(err, err != NULL ? (int)err->status : (int)own.status, "%.200s",
                                text);
        }
    }
    if (entry->failed) {
        return error_set(err, DSTACK_E_NETWORK, "%.200s could not be had a moment ago", text);
    }
    buf_put_bytes(out, bytes_of_buf(&entry->body));
    return buf_check(out, err);
}

/* ---- a path ---- */

/* Any one of the addresses is enough. */
static int load_any(dstack_tpm_fetcher *f, const dstack_bytes *urls, size_t count, size_t limit,
                    dstack_buf *out, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        buf_reset(out);
        rc = load(f, urls[i], limit, out, err);
        if (rc == 0) {
            break;
        }
    }
    return rc;
}

static int fetch_crl(dstack_tpm_fetcher *f, const x509_cert *cert, dstack_tpm_collateral *out,
                     dstack_error *err) {
    dstack_bytes urls[TPM_MAX_URLS];
    const size_t count = tpm_crl_urls(cert, urls);
    return count == 0
               ? 0
               : error_prefix(err,
                              load_any(f, urls, count, CRL_MAX, &out->crls[out->crl_count++], err),
                              "revocation list");
}

/* From the leaf up, to a certificate that names no issuer, or whose issuer is a root. */
static int fetch_path(dstack_tpm_fetcher *f, dstack_bytes ak_cert, dstack_tpm_collateral *out,
                      dstack_error *err) {
    x509_cert cert;
    int rc = error_prefix(err, x509_cert_parse(&cert, ak_cert, err), "AK");
    for (size_t depth = 0; rc == 0; depth++) {
        dstack_bytes urls[TPM_MAX_URLS];
        rc = fetch_crl(f, &cert, out, err);
        const size_t count = tpm_issuer_urls(&cert, urls);
        if (rc != 0 || count == 0) {
            break;
        }
        if (depth == MAX_DEPTH) {
            return error_set(err, DSTACK_E_LIMIT, "a path of more than %d intermediates",
                             MAX_DEPTH);
        }
        dstack_buf *der = &out->chain[out->chain_count];
        rc = error_prefix(err, load_any(f, urls, count, CERT_MAX, der, err), "issuer");
        rc = rc == 0 ? error_prefix(err, x509_cert_parse(&cert, bytes_of_buf(der), err), "issuer")
                     : rc;
        if (rc == 0 && bytes_equal(cert.subject, cert.issuer)) {
            break; /* a root is the relying party's to choose */
        }
        out->chain_count += rc == 0;
    }
    return rc;
}

int dstack_tpm_collateral_fetch(void *fetcher, dstack_bytes ak_cert, dstack_tpm_collateral *out,
                                dstack_error *err) {
    dstack_tpm_fetcher *f = fetcher;
    pthread_mutex_lock(&f->lock);
    const int rc = fetch_path(f, ak_cert, out, err);
    pthread_mutex_unlock(&f->lock);
    return rc;
}
