#include "measures.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const char *const check_names[KMS_CHECKS] = {[KMS_CHECK_SELF] = "self",
                                                    [KMS_CHECK_EVIDENCE] = "evidence",
                                                    [KMS_CHECK_AGE] = "age",
                                                    [KMS_CHECK_POLICY] = "policy",
                                                    [KMS_CHECK_IMAGE] = "image",
                                                    [KMS_CHECK_PLATFORM] = "platform",
                                                    [KMS_CHECK_CONNECTION] = "connection"};

static void add_methods(measures *m) {
    for (size_t i = 0; i < m->service->method_count && i < MEASURES_METHODS_MAX; i++) {
        char labels[80];
        snprintf(labels, sizeof labels, "method=\"%s\"", m->service->methods[i].name);
        m->requests[i] = metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_requests_total",
                                     labels, "Requests answered.");
        m->failures[i] = metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_failures_total",
                                     labels, "Requests answered with a status of 400 or more.");
        m->microseconds[i] =
            metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_request_microseconds_total",
                        labels, "Time from a request's arrival to its answer.");
    }
}

int measures_open(measures *m, const rpc_service *service, dstack_error *err) {
    *m = (measures){.registry = metrics_new(), .service = service};
    if (m->registry == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    m->attested = metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_attestation_requests_total",
                              "", "Total number of KMS attestation requests.");
    m->attested_failed =
        metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_attestation_failures_total", "",
                    "Total number of failed KMS attestation requests.");
    add_methods(m);
    for (size_t i = 0; i < KMS_CHECKS; i++) {
        char labels[40];
        snprintf(labels, sizeof labels, "check=\"%s\"", check_names[i]);
        m->refusals[i] = metrics_get(m->registry, METRICS_COUNTER, "dstack_kms_refusals_total",
                                     labels, "Callers refused, by the check that they failed.");
    }
    m->certificate_expiry =
        metrics_get(m->registry, METRICS_GAUGE, "dstack_kms_certificate_expiry_timestamp_seconds",
                    "", "When the server certificate ends.");
    m->log_entries = metrics_get(m->registry, METRICS_GAUGE, "dstack_kms_log_entries", "",
                                 "Entries in the transparency log.");
    return 0;
}

void measures_close(measures *m) {
    metrics_free(m->registry);
    *m = (measures){0};
}

void measures_call(const measures *m, const rpc_method *method, int status, int64_t microseconds) {
    size_t i = (size_t)(method - m->service->methods);
    if (strcmp(method->name, "GetAppKey") == 0 || strcmp(method->name, "GetKmsKey") == 0 ||
        strcmp(method->name, "SignCert") == 0) {
        metrics_add(m->attested, 1);
        metrics_add(m->attested_failed, status >= 400);
    }
    if (i < MEASURES_METHODS_MAX) {
        metrics_add(m->requests[i], 1);
        metrics_add(m->failures[i], status >= 400);
        metrics_add(m->microseconds[i], microseconds);
    }
}

void measures_refused(const measures *m, kms_check check) {
    if (m->registry != NULL) {
        metrics_add(m->refusals[check], 1);
    }
}
