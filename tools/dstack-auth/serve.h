/* The webhook that a KMS asks: a policy behind HTTP. */
#ifndef AUTH_SERVE_H
#define AUTH_SERVE_H

#include "auth.h"
#include "service/http.h"
#include "service/metrics.h"
#include "service/rate.h"

typedef struct auth_service {
    const service_config *config;
    kms_auth *policy;
    http_tls *tls; /* NULL: plain */
    http_server *server;
    rate_limit *rate;
    metrics *metrics;
    http_route routes[8];
} auth_service;

int auth_service_open(auth_service *s, const service_config *config, dstack_error *err);
/* Takes the certificate from its files again. */
int auth_service_reload(auth_service *s, dstack_error *err);
void auth_service_close(auth_service *s);
DSTACK_AUTO_DEFINE_CLEAR(auth_service, auth_service, auth_service_close)

#endif
