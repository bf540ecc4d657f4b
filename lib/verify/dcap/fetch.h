/* Fetching collateral over a transport that the caller chooses. */
#ifndef VERIFY_DCAP_FETCH_H
#define VERIFY_DCAP_FETCH_H

#include <dstack/collateral.h>

typedef struct fetch_request {
    const char *url;
    int64_t timeout_ms; /* for all of it, connecting included */
    size_t body_limit;  /* a longer body is DSTACK_E_LIMIT */
} fetch_request;

typedef struct fetch_answer {
    int status;
    dstack_buf headers; /* raw lines "Name: value\r\n" of the last answer, zero-terminated */
    dstack_buf body;
} fetch_answer;

void fetch_answer_clear(fetch_answer *answer);

/* Who carries the requests. One state serves one fetch, in one thread, and may keep connections
 * open. Redirects are followed, a few. */
typedef struct fetch_transport {
    int (*open)(const dstack_collateral_servers *servers, void **state, dstack_error *err);
    /* Any HTTP status is a success of the call. DSTACK_E_NETWORK, _TIMEOUT, _LIMIT or _FORMAT
     * otherwise. `answer` comes in empty. */
    int (*get)(void *state, const fetch_request *request, fetch_answer *answer, dstack_error *err);
    void (*close)(void *state); /* accepts NULL */
} fetch_transport;

/* libcurl: proxies, and whatever else it was built with. Absent from a build without it. */
extern const fetch_transport fetch_transport_curl;
/* The library's own HTTP client. For programs that shall not map libcurl; knows no proxy. */
extern const fetch_transport fetch_transport_http;

/* Spreads the machines that lost the same server at the same moment: 0.2 to 0.4 seconds, doubled
 * for each round. */
void fetch_pause_before(unsigned round);

/* dstack_collateral_fetch over this transport. */
int fetch_collateral(dstack_collateral **out, dstack_bytes quote,
                     const dstack_collateral_servers *servers, const fetch_transport *transport,
                     dstack_error *err);
/* dstack_collateral_refetch over this transport. */
int refetch_collateral(dstack_collateral **out, const dstack_collateral *old,
                       const dstack_collateral_servers *servers, const fetch_transport *transport,
                       dstack_error *err);

#endif
