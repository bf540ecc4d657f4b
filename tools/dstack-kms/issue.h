/* Certificates that the KMS issues. */
#ifndef KMS_ISSUE_H
#define KMS_ISSUE_H

#include <dstack/cert.h>

#include "signer.h"
#include "store.h"

typedef struct kms_authority {
    dstack_ca *root;
    dstack_buf root_pem; /* root-ca.crt */
    dstack_buf temp_pem; /* tmp-ca.crt */
    kms_signer *signer;  /* outlives us */
    bool insecure;       /* every subject carries the mark */
} kms_authority;

/* Loads or issues root-ca.crt and tmp-ca.crt; issues them again, with the same keys, when less than
 * a year is left. */
int kms_authority_open(kms_authority *authority, const kms_store *store, kms_signer *signer,
                       bool insecure, int64_t now, dstack_error *err);
void kms_authority_clear(kms_authority *authority);

/* Issues the server certificate (24 h) and writes rpc.crt. attestation: NULL for none. */
int kms_issue_rpc(const kms_authority *authority, const kms_store *store,
                  const dstack_attestation *attestation, int64_t now, dstack_buf *pem,
                  dstack_error *err);

/* Signs an app's request. Appends three PEM texts, one each: leaf, app CA, root CA. `verified` is
 * the identity at the time of the request, whose app id names the app. */
int kms_issue_app(const kms_authority *authority, const dstack_csr *csr,
                  const dstack_identity *verified, int64_t now, dstack_buf *leaf,
                  dstack_buf *app_ca, dstack_error *err);

/* Names that apps may not have: the KMS's own, and `reserved` with all below for everybody but the
 * gateway. */
int kms_issue_check_names(const dstack_csr_spec *spec, const char *kms_domain,
                          const char *const *reserved, size_t reserved_count, bool is_gateway,
                          dstack_error *err);

#endif
