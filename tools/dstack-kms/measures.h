/* What the KMS counts. */
#ifndef KMS_MEASURES_H
#define KMS_MEASURES_H

#include "service/metrics.h"
#include "service/rpc.h"

/* The checks that a caller passes, in their order. */
typedef enum kms_check {
    KMS_CHECK_SELF,
    KMS_CHECK_EVIDENCE,
    KMS_CHECK_AGE,
    KMS_CHECK_POLICY,
    KMS_CHECK_IMAGE,
    KMS_CHECK_PLATFORM,
    KMS_CHECK_CONNECTION,
    KMS_CHECKS,
} kms_check;

#define MEASURES_METHODS_MAX 8

typedef struct measures {
    metrics *registry;
    metrics_series *attested, *attested_failed; /* the reference's */
    const rpc_service *service;
    metrics_series *requests[MEASURES_METHODS_MAX]; /* by the service's methods */
    metrics_series *failures[MEASURES_METHODS_MAX];
    metrics_series *microseconds[MEASURES_METHODS_MAX];
    metrics_series *refusals[KMS_CHECKS];
    metrics_series *certificate_expiry;
    metrics_series *log_entries;
} measures;

int measures_open(measures *m, const rpc_service *service, dstack_error *err);
void measures_close(measures *m);
/* An answer of the service. */
void measures_call(const measures *m, const rpc_method *method, int status, int64_t microseconds);
/* A caller that did not pass. Nothing where the registry is not open yet. */
void measures_refused(const measures *m, kms_check check);

#endif
