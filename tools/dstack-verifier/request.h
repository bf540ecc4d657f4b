/* The body of POST /verify, and of the file that --verify reads. */
#ifndef VERIFIER_REQUEST_H
#define VERIFIER_REQUEST_H

#include <dstack/attestation.h>

#include "base/auto.h"

/* Longest body: what the reference's service takes. */
#define REQUEST_MAX ((size_t)1 << 20)

typedef struct verify_request {
    bool has_attestation, has_quote;
    dstack_buf attestation; /* used alone when given: nothing beside it counts */
    dstack_buf quote;
    char *event_log; /* JSON text; NULL: not given */
    char *vm_config; /* JSON text; NULL: not given */
    bool debug;
    bool bound; /* the evidence must bind report_data */
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    dstack_buf nonce; /* what report_data was given as, when it was given as a nonce */
} verify_request;

/* DSTACK_E_FORMAT: not one JSON document. DSTACK_E_ARGUMENT: a member of the wrong type or form.
 * Unknown members are ignored, null stands for absence. */
int request_parse(dstack_bytes text, verify_request *out, dstack_error *err);
void request_clear(verify_request *request);
DSTACK_AUTO_DEFINE_CLEAR(request, verify_request, request_clear)

/* The attestation of a request. The message is what the service answers after "Internal error: ". */
int request_attestation(const verify_request *request, dstack_attestation **out, dstack_error *err);

#endif
