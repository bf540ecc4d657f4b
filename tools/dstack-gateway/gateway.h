/* The gateway's one application object, and what its parts do with it. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <pthread.h>

#include <dstack/acme.h>
#include <dstack/kms.h>

#include "certs.h"
#include "proxy.h"
#include "registry.h"
#include "service/daemon.h"
#include "service/http.h"
#include "service/rpc.h"
#include "service/trust.h"
#include "service/workload.h"
#include "wireguard.h"

/* Evidence for one public key, as third parties fetch it. */
typedef struct quoted_key {
    dstack_buf spki;
    char *quote;       /* JSON text, see evidence.h */
    char *attestation; /* JSON text */
    int64_t made;
} quoted_key;

#define QUOTED_KEYS_MAX 256

/* Everything that certificate issuance and its evidence share; behind one lock. */
typedef struct zt_state {
    pthread_mutex_t lock;
    char *account_url;
    quoted_key account; /* spki unused */
    quoted_key keys[QUOTED_KEYS_MAX];
    size_t key_count;
} zt_state;

typedef struct gateway {
    service_config *config;
    trust trust;
    workload *workload;
    dstack_kms *kms;
    dstack_secret *store_key; /* seals certificate keys at rest */
    registry *instances;
    cert_store *certificates;
    wireguard *tunnel;
    proxy *proxy;
    http_server *http;
    http_tls *rpc_tls;
    char *inner_socket; /* where connections for gateway.<base> are served */
    char *state_dir;
    zt_state zt;
    pthread_t issuer, keeper;
    bool issuer_running, keeper_running;
    pthread_mutex_t stop_lock;
    pthread_cond_t stop_signal;
    bool stopping;
    int64_t rpc_not_after;
} gateway;

extern const config_key gateway_keys[];
extern const size_t gateway_key_count;
int gateway_check_config(const service_config *config, bool insecure_dev, dstack_error *err);

/* self.c: the gateway's own keys and RPC certificate, from the KMS. */
int gateway_obtain_keys(gateway *g, dstack_error *err);
int gateway_renew_rpc_certificate(gateway *g, dstack_error *err);

/* route.c: the data plane's decisions. */
int gateway_route(void *user, const char *sni, proxy_plan *plan, dstack_error *err);

/* issue.c: certificates of the base domains. Loads what is stored, then issues and renews in a
 * thread of its own. */
int gateway_start_issuer(gateway *g, dstack_error *err);

/* zt_store.c: certificates and account keys at rest, sealed. */
int zt_store_save(const gateway *g, const char *name, dstack_bytes plain, dstack_error *err);
/* DSTACK_E_NOT_FOUND when nothing is stored under that name. */
int zt_store_load(const gateway *g, const char *name, dstack_secret **plain, dstack_error *err);

/* evidence.c: attestations over account and keys. */
int gateway_quote_key(gateway *g, dstack_bytes spki, dstack_error *err);
int gateway_quote_account(gateway *g, const char *account_url, dstack_error *err);

/* rpc_service.c and pages.c. */
extern const rpc_service gateway_service;
int gateway_start_listeners(gateway *g, dstack_error *err);
void gateway_acme_info_json(gateway *g, dstack_buf *out);

/* True when the process is to end within the wait; false when the time passed. */
bool gateway_wait_stop(gateway *g, int64_t milliseconds);

#endif
