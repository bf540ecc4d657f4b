/* Whether the KMS lives, and whether it would release anything now. */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "kms.h"

void kms_serve_health(http_request *request, http_response *response, void *user) {
    (void)request;
    (void)user;
    http_response_text(response, 200, "OK");
}

/* Ready: its own policy allows it. Asking may cost a question to the policy's server, so it counts
 * against the asker's rate like the public methods. */
void kms_serve_ready(http_request *request, http_response *response, void *user) {
    kms *k = user;
    dstack_error err = {0};
    if (!rate_limit_take(k->rate, http_request_peer(request), clock_monotonic_ms())) {
        http_response_text(response, 429, "too many requests\n");
        return;
    }
    if (kms_authorize_self(k, &err) != 0) {
        char text[DSTACK_ERROR_MESSAGE_SIZE + 16];
        snprintf(text, sizeof text, "not ready: %s\n", err.message);
        http_response_text(response, 503, text);
        return;
    }
    http_response_text(response, 200, "ready\n");
}
