/* Evidence that callers share. A quote holds the device for milliseconds; those who ask for the same
 * report data within a short time get the same one, which says nothing else than a new one would:
 * registers and report data are all that a quote states. */
#ifndef AGENT_SERVE_SHARED_EVIDENCE_H
#define AGENT_SERVE_SHARED_EVIDENCE_H

#include "base/auto.h"
#include "serve/agent.h"

/* Read by several threads at once, never changed. */
typedef struct shared_evidence shared_evidence;

/* Waits for the device at most as long as those before take. Release what *out gets. */
int shared_evidence_get(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                        shared_evidence **out, dstack_error *err);
const dstack_attestation *shared_evidence_peek(const shared_evidence *evidence);
/* Accepts NULL. */
void shared_evidence_release(shared_evidence *evidence);

/* Whether one taken at `taken_ms` is given to those who ask at `now_ms`. */
bool shared_evidence_is_fresh(int64_t taken_ms, int64_t now_ms);

DSTACK_AUTO_DEFINE(shared_evidence, shared_evidence, shared_evidence_release)

#endif
