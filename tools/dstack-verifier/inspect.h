/* One piece of evidence of any kind, judged for people: what the page asks for. */
#ifndef VERIFIER_INSPECT_H
#define VERIFIER_INSPECT_H

#include "engine.h"

typedef enum inspect_addresses {
    INSPECT_NO_ADDRESS,
    INSPECT_PUBLIC_ADDRESS, /* of the public internet */
    INSPECT_ANY_ADDRESS,
} inspect_addresses;

typedef struct inspect_options {
    inspect_addresses addresses;
    int timeout_ms; /* of each exchange with an address */
    bool insecure;
} inspect_options;

/* `content` is a quote, an attestation (binary, hex or base64), a certificate (PEM or DER), the JSON
 * of a verification request, or an https address. The answer:
 *
 *     {"kind": "quote"|"attestation"|"certificate"|"address", "verdict": "verified"|"refused",
 *      "reason", "insecure_dev", "time": {"unix","source"},
 *      "claims": [{"name","value","anchor"}],
 *      "steps": [{"id","parent","title","status","anchor","detail","caveat","optional","inputs"}]}
 *
 * `status` is "ok", "failed", "not-reached", or "group" for a heading. NULL when the content is none
 * of these (DSTACK_E_FORMAT), an address may not be asked (DSTACK_E_REFUSED) or does not answer. */
json_t *inspect(engine *e, const inspect_options *options, dstack_bytes content, int64_t now,
                dstack_error *err);

#endif
