/* Which transport certificates come over when nobody chose one. A file of its own, so that a program
 * that chooses is not linked with libcurl. */
#include "config.h"
#include "verify/snp/kds.h"

int dstack_snp_certs_fetch(dstack_bytes report, const dstack_snp_options *options,
                           const dstack_snp_servers *servers, dstack_snp_certs *certs,
                           dstack_error *err) {
    const fetch_transport *transport =
        DSTACK_HAVE_CURL ? &fetch_transport_curl : &fetch_transport_http;
    return kds_fetch(report, options, servers, transport, certs, err);
}
