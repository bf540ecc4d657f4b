/* The verifier as an HTTP service. */
#ifndef VERIFIER_SERVICE_H
#define VERIFIER_SERVICE_H

#include <stdatomic.h>

#include <dstack/ear.h>

#include "inspect.h"
#include "service/config.h"
#include "service/http.h"
#include "service/metrics.h"
#include "service/rate.h"

#define SERVICE_ROUTES_MAX 16

typedef struct verifier_service {
    engine *engine; /* borrowed */
    bool insecure;
    http_server *server;
    http_route routes[SERVICE_ROUTES_MAX];
    metrics *metrics;
    metrics_series *valid, *invalid, *malformed, *limited;
    rate_limit *rate;
    inspect_options inspect;
    atomic_int inspect_slots; /* looks that may still begin */
    dstack_ear_signer *signer;
    const char *issuer; /* NULL: not told */
    int64_t lifetime_s; /* of a token */
    dstack_ear_form form;
} verifier_service;

/* Starts listening. */
int service_open(verifier_service *s, const service_config *config, engine *e, bool insecure,
                 dstack_error *err);
void service_close(verifier_service *s);
DSTACK_AUTO_DEFINE_CLEAR(service, verifier_service, service_close)

/* The handler of POST /ear and GET /.well-known/jwks.json, and their key. */
int service_ear_open(verifier_service *s, const service_config *config, dstack_error *err);
void service_ear(http_request *request, http_response *response, void *user);
void service_jwks(http_request *request, http_response *response, void *user);

/* The page: GET /, GET /page/<file>, POST /inspect. */
int service_page_open(verifier_service *s, const service_config *config, dstack_error *err);
void service_page(http_request *request, http_response *response, void *user);
void service_page_file(http_request *request, http_response *response, void *user);
void service_inspect(http_request *request, http_response *response, void *user);

/* Whether the request may be worked on; otherwise it is answered. */
bool service_admit(verifier_service *s, http_request *request, http_response *response);
/* Reads a request and judges it, or answers why not: false then. */
bool service_judge(verifier_service *s, http_request *request, http_response *response,
                   verify_request *body, verdict *out);

/* An error page: HTML, or JSON when the Accept header prefers it. */
void service_error(http_request *request, http_response *response, int status,
                   const char *description);

#endif
