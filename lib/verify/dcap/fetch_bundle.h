/* The requests that a bundle of collateral is made of, to one server. */
#ifndef VERIFY_DCAP_FETCH_BUNDLE_H
#define VERIFY_DCAP_FETCH_BUNDLE_H

#include <dstack/quote.h>

#include "base/auto.h"
#include "verify/dcap/fetch.h"

/* Everything a bundle is made of, as it comes in. */
typedef struct fetch_bundle {
    const dstack_quote *quote;
    dstack_buf pck_chain;     /* PEM */
    bool chain_lacks_issuers; /* only the leaf is at hand */
    bool knows_platform;      /* the two members after this one are set */
    const char *ca;           /* "processor" or "platform" */
    uint8_t fmspc[6];
    dstack_buf pck_crl_chain, pck_crl, root_crl;
    dstack_buf tcb_chain, tcb_signature;
    dstack_buf qe_chain, qe_signature;
    fetch_answer tcb_answer, qe_answer;
    dstack_bytes tcb_info, qe_identity; /* within the answers */
} fetch_bundle;

typedef struct fetcher {
    const fetch_transport *transport;
    void *state;
    const char *base;   /* of the server's URLs */
    const char *family; /* "tdx" or "sgx" */
    char tcb_query[56]; /* "&update=early", or "" */
    char qe_query[48];  /* "update=standard" */
    int64_t timeout_ms; /* of one request */
} fetcher;

/* Takes from the quote what it has: mostly its PCK chain, and with it the platform. */
int fetch_bundle_start(fetch_bundle *bundle, const dstack_quote *quote, dstack_error *err);
/* A PCK chain from elsewhere, for a quote without one. */
int fetch_bundle_set_chain(fetch_bundle *bundle, dstack_bytes pem, dstack_error *err);
/* The requests. A server that cannot be reached or is overloaded is DSTACK_E_NETWORK or _TIMEOUT;
 * answers of no use are DSTACK_E_DCAP_COLLATERAL_FETCH. */
int fetch_bundle_fill(const fetcher *f, fetch_bundle *bundle, dstack_error *err);
/* The collateral, without a PCK chain: it serves every platform of its kind. */
int fetch_bundle_make(const fetch_bundle *bundle, dstack_collateral **out, dstack_error *err);
void fetch_bundle_clear(fetch_bundle *bundle);
DSTACK_AUTO_DEFINE_CLEAR(fetch_bundle, fetch_bundle, fetch_bundle_clear)

#endif
