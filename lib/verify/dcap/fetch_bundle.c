/* One server's answers: Intel SGX and TDX Provisioning Certification Service API, version 4, and the
 * caches that speak it. */
#include "verify/dcap/fetch_bundle.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "client/http_message.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/fetch_text.h"
#include "verify/dcap/pck.h"
#include "x509/pem.h"

#define MAX_BODY ((size_t)8 << 20)

DSTACK_AUTO_DEFINE_CLEAR(fetch_answer, fetch_answer, fetch_answer_clear)

void fetch_bundle_clear(fetch_bundle *b) {
    dstack_buf *const all[] = {&b->pck_chain, &b->pck_crl_chain, &b->pck_crl,  &b->root_crl,
                               &b->tcb_chain, &b->tcb_signature, &b->qe_chain, &b->qe_signature};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dstack_buf_clear(all[i]);
    }
    fetch_answer_clear(&b->tcb_answer);
    fetch_answer_clear(&b->qe_answer);
    *b = (fetch_bundle){0};
}

/* ---- one request ---- */

void fetch_answer_clear(fetch_answer *answer) {
    dstack_buf_clear(&answer->headers);
    dstack_buf_clear(&answer->body);
    answer->status = 0;
}

/* GET. Answers outside 200 to 299 are DSTACK_E_DCAP_COLLATERAL_FETCH. */
static int get(const fetcher *f, const char *url, fetch_answer *answer, dstack_error *err) {
    const fetch_request request = {.url = url, .timeout_ms = f->timeout_ms, .body_limit = MAX_BODY};
    fetch_answer_clear(answer);
    int rc = f->transport->get(f->state, &request, answer, err);
    if (rc == 0 && (answer->status < 200 || answer->status > 299)) {
        /* its own fault or its load: another time may be better */
        bool later = answer->status >= 500 || answer->status == 429;
        rc = error_set(err, later ? DSTACK_E_NETWORK : DSTACK_E_DCAP_COLLATERAL_FETCH,
                       "%.200s: HTTP status %d", url, answer->status);
    }
    return rc;
}

/* GET base/path?query. */
static int get_path(const fetcher *f, const char *path, fetch_answer *answer, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf url = {0};
    buf_put_fmt(&url, "%s%s", f->base, path);
    const char *text = buf_text(&url);
    return text == NULL ? buf_check(&url, err) : get(f, text, answer, err);
}

static dstack_bytes header(fetch_answer *answer, const char *name) {
    size_t len;
    const char *lines = buf_text(&answer->headers);
    const char *value = lines == NULL ? NULL : http_headers_find(lines, name, &len);
    return value == NULL ? (dstack_bytes){0} : bytes_of(value, len);
}

/* A certificate chain in a header, under any of the names. */
static int chain_header(fetch_answer *answer, const char *const *names, dstack_buf *out,
                        dstack_error *err) {
    for (const char *const *name = names; *name != NULL; name++) {
        dstack_bytes value = header(answer, *name);
        if (value.data != NULL) {
            return fetch_percent_decode(value, out, err);
        }
    }
    return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH, "collateral server: header %s is missing",
                     names[0]);
}

/* ---- the requests, in their order ---- */

/* What the PCK certificate says about which collateral it needs. */
static int read_pck(fetch_bundle *b, dstack_error *err) {
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
        b->knows_platform = true;
    }
    return rc;
}

/* The PCK certificate of a quote that names its platform by encrypted PPID only. */
static int get_pck_cert(const fetcher *f, const dstack_quote *quote, fetch_bundle *b,
                        dstack_error *err) {
    static const char *const names[] = {"SGX-PCK-Certificate-Issuer-Chain", NULL};
    DSTACK_AUTO(buf) dstack_buf query = {0}, path = {0};
    DSTACK_AUTO(fetch_answer) fetch_answer answer = {0};
    char want[37];
    int rc = fetch_pck_query(quote, &query, want, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_fmt(&path, "/sgx/certification/v4/pckcert?%s", buf_text(&query));
    rc = get_path(f, buf_text(&path), &answer, err);
    if (rc != 0) {
        return rc;
    }
    dstack_bytes tcbm = header(&answer, "SGX-TCBm");
    if (tcbm.data != NULL &&
        (tcbm.len != strlen(want) || strncasecmp((const char *)tcbm.data, want, tcbm.len) != 0)) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "the server has a PCK certificate for TCB %.*s, the platform is at %s: "
                         "register the platform anew",
                         (int)(tcbm.len < 40 ? tcbm.len : 40), (const char *)tcbm.data, want);
    }
    buf_put_bytes(&b->pck_chain, bytes_of_buf(&answer.body));
    buf_put_str(&b->pck_chain, "\n");
    rc = chain_header(&answer, names, &b->pck_chain, err);
    rc = rc != 0 ? rc : buf_check(&b->pck_chain, err);
    return rc != 0 ? rc : read_pck(b, err);
}

/* The leaf alone, in DER or PEM; its issuers come with the revocation list. */
static int take_leaf(dstack_bytes leaf, fetch_bundle *b, dstack_error *err) {
    b->chain_lacks_issuers = true;
    if (pem_looks_like(leaf)) {
        buf_put_bytes(&b->pck_chain, leaf);
        buf_put_str(&b->pck_chain, "\n");
    } else {
        return pem_append(&b->pck_chain, "CERTIFICATE", leaf, err);
    }
    return buf_check(&b->pck_chain, err);
}

int fetch_bundle_set_chain(fetch_bundle *b, dstack_bytes pem, dstack_error *err) {
    buf_reset(&b->pck_chain);
    buf_put_bytes(&b->pck_chain, pem);
    int rc = buf_check(&b->pck_chain, err);
    return rc != 0 ? rc : read_pck(b, err);
}

int fetch_bundle_start(fetch_bundle *b, const dstack_quote *quote, dstack_error *err) {
    b->quote = quote;
    if (quote->cert_type == DSTACK_QUOTE_CERT_PCK_CHAIN) {
        return fetch_bundle_set_chain(b, quote->cert_data, err);
    }
    if (quote->cert_type == DSTACK_QUOTE_CERT_PCK_LEAF) {
        int rc = take_leaf(quote->cert_data, b, err);
        return rc != 0 ? rc : read_pck(b, err);
    }
    if (quote->cert_type > DSTACK_QUOTE_CERT_PPID_RSA3072 ||
        quote->cert_type < DSTACK_QUOTE_CERT_PPID_PLAIN) {
        return error_set(err, DSTACK_E_DCAP_CERT_DATA_TYPE,
                         "collateral for certification data of type %u cannot be fetched",
                         quote->cert_type);
    }
    return 0;
}

static int get_pck_crl(const fetcher *f, fetch_bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-PCK-CRL-Issuer-Chain", NULL};
    char path[96];
    snprintf(path, sizeof path, "/sgx/certification/v4/pckcrl?ca=%s&encoding=der", b->ca);
    DSTACK_AUTO(fetch_answer) fetch_answer answer = {0};
    int rc = get_path(f, path, &answer, err);
    if (rc == 0) {
        rc = chain_header(&answer, names, &b->pck_crl_chain, err);
    }
    return rc != 0 ? rc : fetch_hex_or_der(bytes_of_buf(&answer.body), false, &b->pck_crl, err);
}

static int get_tcb_info(const fetcher *f, fetch_bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-TCB-Info-Issuer-Chain", "TCB-Info-Issuer-Chain", NULL};
    char path[128];
    snprintf(path, sizeof path, "/%s/certification/v4/tcb?fmspc=%02X%02X%02X%02X%02X%02X%s",
             f->family, b->fmspc[0], b->fmspc[1], b->fmspc[2], b->fmspc[3], b->fmspc[4],
             b->fmspc[5], f->tcb_query);
    int rc = get_path(f, path, &b->tcb_answer, err);
    if (rc == 0) {
        rc = chain_header(&b->tcb_answer, names, &b->tcb_chain, err);
    }
    return rc != 0 ? rc
                   : fetch_signed_text(bytes_of_buf(&b->tcb_answer.body), "tcbInfo", &b->tcb_info,
                                       &b->tcb_signature, err);
}

static int get_qe_identity(const fetcher *f, fetch_bundle *b, dstack_error *err) {
    static const char *const names[] = {"SGX-Enclave-Identity-Issuer-Chain", NULL};
    char path[96];
    snprintf(path, sizeof path, "/%s/certification/v4/qe/identity?%s", f->family, f->qe_query);
    int rc = get_path(f, path, &b->qe_answer, err);
    if (rc == 0) {
        rc = chain_header(&b->qe_answer, names, &b->qe_chain, err);
    }
    return rc != 0 ? rc
                   : fetch_signed_text(bytes_of_buf(&b->qe_answer.body), "enclaveIdentity",
                                       &b->qe_identity, &b->qe_signature, err);
}

/* Where the root says its list is. */
static int get_root_crl_from_point(const fetcher *f, fetch_bundle *b, dstack_error *err) {
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
    DSTACK_AUTO(fetch_answer) fetch_answer answer = {0};
    buf_put_bytes(&url, uri);
    const char *text = buf_text(&url);
    rc = text == NULL ? buf_check(&url, err) : get(f, text, &answer, err);
    buf_put_bytes(&b->root_crl, bytes_of_buf(&answer.body));
    return rc != 0 ? rc : buf_check(&b->root_crl, err);
}

static int get_root_crl(const fetcher *f, fetch_bundle *b, dstack_error *err) {
    if (!fetch_is_intel(f->base)) {
        DSTACK_AUTO(fetch_answer) fetch_answer answer = {0};
        if (get_path(f, "/sgx/certification/v4/rootcacrl", &answer, err) == 0) {
            return fetch_hex_or_der(bytes_of_buf(&answer.body), true, &b->root_crl, err);
        }
    }
    return get_root_crl_from_point(f, b, err);
}

/* ---- putting it together ---- */

int fetch_bundle_fill(const fetcher *f, fetch_bundle *b, dstack_error *err) {
    int rc = b->knows_platform ? 0 : get_pck_cert(f, b->quote, b, err);
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

int fetch_bundle_make(const fetch_bundle *b, dstack_collateral **out, dstack_error *err) {
    const dstack_collateral_parts parts = {
        .pck_crl_issuer_chain = bytes_of_buf(&b->pck_crl_chain),
        .root_ca_crl = bytes_of_buf(&b->root_crl),
        .pck_crl = bytes_of_buf(&b->pck_crl),
        .tcb_info_issuer_chain = bytes_of_buf(&b->tcb_chain),
        .tcb_info = b->tcb_info,
        .tcb_info_signature = bytes_of_buf(&b->tcb_signature),
        .qe_identity_issuer_chain = bytes_of_buf(&b->qe_chain),
        .qe_identity = b->qe_identity,
        .qe_identity_signature = bytes_of_buf(&b->qe_signature),
    };
    return dstack_collateral_new(out, &parts, err);
}
