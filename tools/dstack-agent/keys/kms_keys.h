/* Getting the app's keys from one of several KMSs: evidence goes up, keys come down. */
#ifndef AGENT_KEYS_KMS_KEYS_H
#define AGENT_KEYS_KMS_KEYS_H

#include <dstack/kms.h>

#include "keys/app_keys.h"

typedef struct kms_keys_request {
    const char *const *urls;
    size_t url_count;
    const char *vm_config;
    dstack_kms_options options; /* all but url */
    int retry_ms;               /* unreachable KMSs are tried again for this long */
} kms_keys_request;

/* Asks the URLs in order; the first that gives keys wins. Unreachable ones are tried again with
 * back-off; a refusal is final. `image_hash` is what the KMS says this guest's image is, appended.
 * When all fail, the first URL's error is reported. */
int kms_keys_fetch(const kms_keys_request *request, app_keys *out, dstack_buf *image_hash,
                   dstack_error *err);
/* Whether a failure may go away by itself. */
bool kms_failure_is_transient(int rc);

#endif
