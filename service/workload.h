/* A service that has a TEE of its own (KMS, gateway): measures its manifest into RTMR3 once and
 * makes attestations over report data. Shared among threads; the TEE is asked by one at a time.
 *
 * The runtime event log is a file in the state folder, so that a service that restarts while its
 * TEE lives on goes on with what was measured. An event is written to the file before the register
 * is extended; after a crash between the two, the register tells which of them happened. */
#ifndef SERVICE_WORKLOAD_H
#define SERVICE_WORKLOAD_H

#include <dstack/attestation.h>
#include <dstack/tee.h>

#include "base/auto.h"

typedef struct workload workload;

typedef struct workload_options {
    const char *tee_url;   /* dstack_tee_open() */
    dstack_bytes sim_root; /* DER of a pinned simulation root, or empty */
    dstack_bytes manifest; /* the app-compose.json that is measured */
    const char *vm_config; /* vm_config text that goes into attestations; "" when there is none */
    const char *state_dir; /* holds runtime_events.jsonl (0600) and instance_id_seed */
    int64_t timeout_ms;    /* of one answer of the TEE; 0: its default */
} workload_options;

/* Opens the TEE and measures, or goes on with what a run before measured. DSTACK_E_STATE when RTMR3
 * holds something else: then the TEE must be started afresh. */
int workload_open(workload **out, const workload_options *options, dstack_error *err);
void workload_free(workload *w);
DSTACK_AUTO_DEFINE(workload, workload, workload_free)

/* An attestation that binds 64 bytes; the caller frees it. */
int workload_attest(workload *w, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                    dstack_attestation **out, dstack_error *err);
/* True under a simulated TEE: what the service issues carries the insecure mark. */
bool workload_is_simulated(const workload *w);
/* 20 bytes, borrowed. */
dstack_bytes workload_app_id(const workload *w);
const char *workload_vm_config(const workload *w);

#endif
