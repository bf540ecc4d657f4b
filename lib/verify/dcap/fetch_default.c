/* Which transport collateral comes over when nobody chose one. A file of its own, so that a program
 * that chooses is not linked with libcurl. */
#include <dstack/collateral.h>

#include "config.h"
#include "verify/dcap/fetch.h"

int dstack_collateral_fetch(dstack_collateral **out, dstack_bytes quote,
                            const dstack_collateral_servers *servers, dstack_error *err) {
    const fetch_transport *transport =
        DSTACK_HAVE_CURL ? &fetch_transport_curl : &fetch_transport_http;
    return fetch_collateral(out, quote, servers, transport, err);
}

int dstack_collateral_refetch(void *servers, const dstack_collateral *old, dstack_collateral **out,
                              dstack_error *err) {
    const fetch_transport *transport =
        DSTACK_HAVE_CURL ? &fetch_transport_curl : &fetch_transport_http;
    return refetch_collateral(out, old, servers, transport, err);
}
