/* Certificates for this app's keys: signed by the KMS, or by the app's own CA without one. */
#ifndef AGENT_KEYS_CERT_CLIENT_H
#define AGENT_KEYS_CERT_CLIENT_H

#include <dstack/cert.h>

#include "keys/app_keys.h"

#define CERT_CHAIN_MAX 4

/* PEM texts, leaf first, root last; each is freed by cert_chain_clear. */
typedef struct cert_chain {
    char *pem[CERT_CHAIN_MAX];
    size_t count;
} cert_chain;

typedef struct cert_client {
    const app_keys *keys;
    const char *vm_config;
    bool insecure_dev;
    const dstack_ca
        *ca; /* the app's own CA where it signs; NULL: it is read from the keys each time */
} cert_client;

void cert_chain_clear(cert_chain *chain);
/* All blocks in one text. */
int cert_chain_join(const cert_chain *chain, dstack_buf *out, dstack_error *err);
/* Signs what `spec` asks for. `spki` is the key's public part, to which `attestation` must be bound.
 * `now` is UNIX seconds. */
int cert_client_sign(const cert_client *client, const dstack_csr_spec *spec,
                     const dstack_secret *key, dstack_bytes spki,
                     const dstack_attestation *attestation, dstack_attestation_form form,
                     int64_t now, cert_chain *out, dstack_error *err);

DSTACK_AUTO_DEFINE_CLEAR(cert_chain, cert_chain, cert_chain_clear)

#endif
