/* Keys of an app without a KMS: everything from one seed. */
#ifndef AGENT_KEYS_LOCAL_KEYS_H
#define AGENT_KEYS_LOCAL_KEYS_H

#include "keys/app_keys.h"

/* Makes an attestation over the app CA's key for the CA certificate; NULL: without one. */
typedef int local_keys_attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                              dstack_attestation **out, dstack_error *err);

/* Fills `out` as provider "none" from a 32-byte seed: disk and k256 keys, and a self-signed CA "App
 * Root Cert" valid ten years from `now` (UNIX seconds). */
int local_keys_make(const dstack_secret *seed, int64_t now, bool insecure_dev,
                    local_keys_attest *attest, void *user, app_keys *out, dstack_error *err);

#endif
