/* Making attestations in the guest: quote, boot log and runtime log put together and re-checked
 * against the registers of that very quote. */
#ifndef AGENT_EVIDENCE_H
#define AGENT_EVIDENCE_H

#include <dstack/attestation.h>
#include <dstack/tee.h>

#include "base/auto.h"

DSTACK_AUTO_DEFINE(event_log, dstack_event_log, dstack_event_log_free)
DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)
DSTACK_AUTO_DEFINE_CLEAR(tee_report, dstack_tee_report, dstack_tee_report_clear)

/* Takes one piece of evidence over 64 bytes. `event_dir` holds the runtime log, `config` is the
 * vm_config text. DSTACK_E_STATE when a log does not replay to its register: something else than
 * this program extended it, or changed the log. */
int evidence_take(dstack_tee *tee, const char *event_dir, const char *config,
                  const uint8_t report_data[DSTACK_REPORT_DATA_SIZE], dstack_attestation **out,
                  dstack_error *err);

#endif
