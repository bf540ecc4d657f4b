/* Calls to a KMS over TLS. A KMS is known by its root CA and the usage in its certificate, and by
 * its evidence; its URL and name mean nothing. */
#ifndef AGENT_KEYS_KMS_CALL_H
#define AGENT_KEYS_KMS_CALL_H

#include <dstack/cert.h>
#include <dstack/verifier.h>

#include "base/auto.h"

/* How the evidence in the KMS's certificate is judged. */
typedef struct kms_trust {
    dstack_bytes root;                     /* PEM of its root CA */
    dstack_verifier *verifier;             /* NULL: evidence is not looked at */
    dstack_collateral_source collateral;   /* may be NULL */
    void *collateral_user;
    bool require_attestation;
} kms_trust;

typedef struct kms_call {
    const char *url;         /* with or without /prpc at its end */
    const kms_trust *trust;  /* NULL: anybody; only for what is proved otherwise */
    dstack_bytes client_chain; /* PEM, or empty */
    const dstack_secret *client_key;
} kms_call;

/* POST <url>/<method>?json. `request` NULL: no arguments. The caller owns `*answer`. */
int kms_call_run(const kms_call *call, const char *method, const json_t *request, json_t **answer,
                 dstack_error *err);
/* The URL ending in /prpc, to be freed. */
char *kms_call_base(const char *url);

#endif
