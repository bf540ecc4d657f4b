/* The log of what this guest measured into RTMR3. Root-only; this program alone appends.
 *
 * Files: runtime_events.log (one JSON object per line), runtime_event_version (1 or 2, written
 * once), runtime_event.lock (held over extension and append). A line is written only after the
 * register took its digest. */
#ifndef AGENT_BOOT_RUNTIME_LOG_H
#define AGENT_BOOT_RUNTIME_LOG_H

#include <dstack/attestation.h>
#include <dstack/tee.h>

#define RUNTIME_LOG_MAX ((size_t)4 << 20)

/* Fixes the event format of this boot. Another version than the one that stands is refused. */
int runtime_log_set_version(const char *dir, uint32_t version, dstack_error *err);
/* Extends RTMR3 and appends the event. DSTACK_E_STATE before a version is set. */
int runtime_log_emit(const char *dir, dstack_tee *tee, const char *name, dstack_bytes payload,
                     dstack_error *err);
/* All events so far; an absent file gives an empty log. */
int runtime_log_load(const char *dir, dstack_event_log **out, dstack_error *err);

#endif
