/* Getting the app's keys from a KMS: evidence goes up, keys come down. */
#ifndef AGENT_KEYS_KMS_KEYS_H
#define AGENT_KEYS_KMS_KEYS_H

#include "keys/app_keys.h"
#include "keys/kms_call.h"

typedef struct kms_keys_request {
    const char *const *urls;
    size_t url_count;
    const char *vm_config;
    bool insecure_dev;
    kms_trust trust; /* root is taken from the KMS itself and becomes the measured provider id */
    int (*attest)(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err);
    void *user;
    int retry_ms; /* unreachable KMSs are tried again for this long */
} kms_keys_request;

/* Asks the URLs in order; the first that gives keys wins. Unreachable ones are tried again with
 * back-off; a refusal is final (DSTACK_E_REFUSED or DSTACK_E_PEER). `image_hash` is what the KMS
 * says this guest's image is, appended. When all fail, the first URL's error is reported. */
int kms_keys_fetch(const kms_keys_request *request, app_keys *out, dstack_buf *image_hash,
                   dstack_error *err);
/* The answer of GetAppKey to keys; exposed for tests. */
int kms_keys_parse(const json_t *answer, app_keys *out, dstack_buf *image_hash, dstack_error *err);

#endif
